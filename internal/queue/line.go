package queue

import (
	"context"
	"sync"
)

// line holds the appenders that wait for room, first come first served. Its owner's lock guards it.
type line struct {
	room []*waiter
	free func(head int64) int64 // the bytes that may be appended now, when the first in line wants head of them
}

type waiter struct {
	need int64
	turn chan struct{} // closed when it is this appender's turn to look again
}

func (w *waiter) called() bool {
	select {
	case <-w.turn:
		return true
	default:
		return false
	}
}

// wait returns true, with mu held as when it was called, when need bytes are free and it is the caller's turn, or the
// line was dissolved. It returns false when ctx ends first.
func (l *line) wait(ctx context.Context, mu *sync.Mutex, need int64) bool {
	w := &waiter{need: need, turn: make(chan struct{})}
	l.room = append(l.room, w)
	l.admit(0)
	mu.Unlock()
	select {
	case <-w.turn:
	case <-ctx.Done():
	}
	mu.Lock()
	called := w.called()
	for i := range l.room {
		if l.room[i] == w {
			l.room = append(l.room[:i], l.room[i+1:]...)
			break
		}
	}
	if called { // the caller is about to append
		l.admit(need)
	} else {
		l.admit(0)
	}
	return called
}

// admit calls those at the head of the line for whom the free bytes, less the reserved, suffice.
func (l *line) admit(reserved int64) {
	if len(l.room) == 0 {
		return
	}
	free := l.free(l.room[0].need) - reserved
	for _, w := range l.room {
		if w.need > free {
			return
		}
		free -= w.need
		if !w.called() {
			close(w.turn)
		}
	}
}

// dissolve calls everybody.
func (l *line) dissolve() {
	for _, w := range l.room {
		if !w.called() {
			close(w.turn)
		}
	}
}
