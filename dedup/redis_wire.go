package dedup

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"

	"github.com/gomodule/redigo/redis"
)

// wire is the connection beneath redigo's, which connects, logs in and runs rare
// commands. Marks are looked up and raised on wire itself: a request is built in
// one buffer and written at once, and replies are read in place, so that a metric
// costs no allocation. Between commands redigo has nothing buffered, so the two
// take turns.
type wire struct {
	net.Conn
	r       *bufio.Reader
	timeout time.Duration // of each wait
	out     []byte        // the request being built
	end     time.Time     // no deadline is later; zero: none
	err     error         // the connection is of no use any more
}

const (
	wireBuffer = 64 << 10 // a longer value than this is no mark
	keepBuffer = 256 << 10
)

// Read implements net.Conn for redigo.
func (w *wire) Read(p []byte) (int, error) { return w.r.Read(p) }

// SetReadDeadline implements net.Conn for redigo.
func (w *wire) SetReadDeadline(t time.Time) error { return w.Conn.SetReadDeadline(w.atMost(t)) }

// SetWriteDeadline implements net.Conn for redigo.
func (w *wire) SetWriteDeadline(t time.Time) error { return w.Conn.SetWriteDeadline(w.atMost(t)) }

func (w *wire) atMost(t time.Time) time.Time {
	if !w.end.IsZero() && (t.IsZero() || t.After(w.end)) {
		return w.end
	}
	return t
}

// command begins a command of n words, its name included.
func (w *wire) command(n int, name string) {
	w.head('*', n)
	bulk(w, name)
}

// bulk adds a word.
func bulk[T string | []byte](w *wire, word T) {
	w.head('$', len(word))
	w.out = append(w.out, word...)
	w.out = append(w.out, '\r', '\n')
}

// number adds a word that is a number.
func (w *wire) number(n int) {
	var digits [20]byte
	bulk(w, strconv.AppendInt(digits[:0], int64(n), 10))
}

func (w *wire) head(kind byte, n int) {
	if n < 100 && n >= 10 { // nearly all words
		w.out = append(w.out, kind, '0'+byte(n/10), '0'+byte(n%10), '\r', '\n')
		return
	}
	w.out = append(w.out, kind)
	w.out = strconv.AppendInt(w.out, int64(n), 10)
	w.out = append(w.out, '\r', '\n')
}

// flush sends what was built.
func (w *wire) flush() error {
	err := w.SetWriteDeadline(time.Now().Add(w.timeout))
	if err == nil {
		_, err = w.Conn.Write(w.out)
	}
	if w.out = w.out[:0]; cap(w.out) > keepBuffer {
		w.out = nil
	}
	if err != nil {
		return w.fail(err)
	}
	return nil
}

func (w *wire) fail(err error) error {
	w.err = err
	return err
}

var errReply = errors.New("a reply that does not fit the command")

// reply waits for a reply of some kind and returns the number on its first line.
// An error reply is a redis.Error.
func (w *wire) reply(kind byte) (int, error) {
	if err := w.SetReadDeadline(time.Now().Add(w.timeout)); err != nil {
		return 0, w.fail(err)
	}
	return w.line(kind)
}

func (w *wire) line(kind byte) (int, error) {
	text, err := w.r.ReadSlice('\n')
	if err != nil {
		return 0, w.fail(err)
	}
	if len(text) < 3 || text[len(text)-2] != '\r' {
		return 0, w.fail(errReply)
	}
	rest := text[1 : len(text)-2]
	if text[0] == '-' {
		return 0, redis.Error(rest)
	}
	n, err := strconv.Atoi(string(rest))
	if text[0] != kind || err != nil {
		return 0, w.fail(errReply)
	}
	return n, nil
}

// integer reads a reply that is a number.
func (w *wire) integer() (int, error) { return w.reply(':') }

// bulks reads a reply of n strings, and calls f for those that there are. The
// slice is valid within f.
func (w *wire) bulks(n int, f func(i int, b []byte)) error {
	got, err := w.reply('*')
	if err != nil {
		return err
	}
	if got != n {
		return w.fail(fmt.Errorf("%w: %d values for %d metrics", errReply, got, n))
	}
	for i := 0; i < n; i++ {
		if i = w.shortBulks(i, n, f); i == n {
			break
		}
		size, err := w.line('$')
		if err != nil {
			return w.fail(err)
		}
		if size < 0 {
			continue
		}
		if size+2 > wireBuffer {
			if _, err := w.r.Discard(size + 2); err != nil {
				return w.fail(err)
			}
			continue
		}
		b, err := w.r.Peek(size + 2)
		if err != nil {
			return w.fail(err)
		}
		f(i, b[:size])
		_, _ = w.r.Discard(size + 2)
	}
	return nil
}

// shortBulks is bulks for the strings from i on that are in the buffer whole and
// have up to 99 bytes, or are none. It returns the first that is not.
func (w *wire) shortBulks(i, n int, f func(i int, b []byte)) int {
	buf, _ := w.r.Peek(w.r.Buffered())
	at := 0
	for ; i < n && len(buf)-at >= 5 && buf[at] == '$'; i++ {
		b := buf[at:]
		tens, ones := b[1]-'0', b[2]-'0'
		switch {
		case b[1] == '-' && b[2] == '1' && b[3] == '\r' && b[4] == '\n':
			at += 5
			continue
		case tens > 9 || ones > 9 || b[3] != '\r' || b[4] != '\n':
		default:
			if size := int(tens)*10 + int(ones); len(b) >= 5+size+2 {
				f(i, b[5:5+size])
				at += 5 + size + 2
				continue
			}
		}
		break
	}
	_, _ = w.r.Discard(at)
	return i
}
