package flux

import "github.com/fluxmetrics/fluxkit/internal/deadletter"

// letters puts the points that one client gives up on record, each once, however often the client tells of them. It is
// for the client's goroutine.
type letters struct {
	done    int // of the points that are being told of
	entries []deadletter.Entry
}

// lettersAtOnce bounds what is put on record with one write.
const lettersAtOnce = 1024

// record returns once n points are on record. What a call that failed has put there, the next one, which must be about
// the same points, leaves out: until settled. A nil keep keeps no record.
func (l *letters) record(keep func([]deadletter.Entry) error, n int, entry func(i int) deadletter.Entry) error {
	for keep != nil && l.done < n {
		l.entries = l.entries[:0]
		for i := l.done; i < min(n, l.done+lettersAtOnce); i++ {
			l.entries = append(l.entries, entry(i))
		}
		err := keep(l.entries)
		clear(l.entries)
		if err != nil {
			return err
		}
		l.done += len(l.entries)
	}
	return nil
}

// settled says that the points of the last record are done with.
func (l *letters) settled() { l.done = 0 }
