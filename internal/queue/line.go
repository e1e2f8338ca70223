package queue

import (
	"context"
	"sync"
)

// line holds those who wait for room, first come first served. Its owner's lock guards it.
type line struct {
	room []*waiter
	// grant reserves room, if it is there. It returns how much was reserved: zero, where the record is to be dropped
	// instead.
	grant func(w want) (held int64, ok bool)
}

// want is what somebody needs: so many bytes, and on a disk that with them no more than most are uncommitted.
type want struct{ need, most int64 }

type waiter struct {
	want
	held int64
	ok   bool          // room was granted
	turn chan struct{} // closed when it was, or nothing is to be waited for any more
}

// enter reserves room if nobody waits and it is there.
func (l *line) enter(w want) (held int64, ok bool) {
	if len(l.room) > 0 {
		return 0, false
	}
	return l.grant(w)
}

// wait returns with mu held as when it was called. ok is false when ctx ended before room was granted, or the line was
// dissolved.
func (l *line) wait(ctx context.Context, mu *sync.Mutex, wants want) (held int64, ok bool) {
	w := &waiter{want: wants, turn: make(chan struct{})}
	l.room = append(l.room, w)
	l.admit()
	mu.Unlock()
	select {
	case <-w.turn:
	case <-ctx.Done():
	}
	mu.Lock()
	for i := range l.room { // those who were granted room have left
		if l.room[i] == w {
			l.room = append(l.room[:i], l.room[i+1:]...)
			l.admit()
			break
		}
	}
	return w.held, w.ok
}

// admit grants room to those at the head of the line.
func (l *line) admit() {
	for len(l.room) > 0 {
		w := l.room[0]
		if w.held, w.ok = l.grant(w.want); !w.ok {
			return
		}
		l.room[0] = nil
		l.room = l.room[1:]
		close(w.turn)
	}
}

// dissolve sends everybody away.
func (l *line) dissolve() {
	for _, w := range l.room {
		close(w.turn)
	}
	l.room = nil
}
