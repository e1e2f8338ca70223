package deadletter

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// Stats is a dead-letter file's state.
type Stats struct {
	Points   int64 // that the file and its older half hold: lines
	Bytes    int64 // of both
	Appended int64 // points that Append was given and returned nil for, those it had to drop included
	Dropped  int64 // points that this File let go because of the bound
}

// counts is what a File knows of its points.
type counts struct {
	path     string
	appended atomic.Int64
	dropped  atomic.Int64
	untold   int64 // of the dropped; under File.mu
	told     time.Time

	mu       sync.Mutex
	cur, old tally
}

// reopened says that the path may name another file than before.
func (c *counts) reopened() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cur = tally{}
}

// Stats returns the file's state. What cannot be read counts as empty.
func (f *File) Stats() Stats {
	c := &f.counts
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cur.refresh(c.path, false)
	c.old.refresh(c.path+oldSuffix, true)
	return Stats{
		Points: c.cur.lines + c.old.lines, Bytes: c.cur.size + c.old.size,
		Appended: c.appended.Load(), Dropped: c.dropped.Load(),
	}
}

// tally remembers how many lines a file has, so that only what is new must be read.
type tally struct {
	info    os.FileInfo
	size    int64
	lines   int64
	counted int64 // the size up to the end of the last of them
}

// refresh brings the tally up to date. A file that is still has nothing appended: another time makes it another one.
func (t *tally) refresh(path string, still bool) {
	f, err := os.Open(path)
	if err != nil {
		*t = tally{}
		return
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		*t = tally{}
		return
	}
	known := t.info != nil && os.SameFile(t.info, st) && st.Size() >= t.counted
	if known && still {
		known = st.Size() == t.size && st.ModTime().Equal(t.info.ModTime())
	}
	if !known {
		*t = tally{}
	}
	lines, size, _ := countLines(io.NewSectionReader(f, t.counted, st.Size()-t.counted))
	*t = tally{info: st, size: st.Size(), lines: t.lines + lines, counted: t.counted + size}
}

// countFile returns how many lines a file has, none when it does not exist.
func countFile(path string) (int64, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	defer f.Close()
	lines, _, err := countLines(f)
	return lines, err
}

// countLines returns how many whole lines r gives, and their size.
func countLines(r io.Reader) (lines, size int64, err error) {
	buf := make([]byte, 64<<10)
	for at := int64(0); ; {
		n, err := r.Read(buf)
		if i := bytes.LastIndexByte(buf[:n], '\n'); i >= 0 {
			lines += int64(bytes.Count(buf[:i+1], []byte{'\n'}))
			size = at + int64(i) + 1
		}
		at += int64(n)
		if err == io.EOF {
			return lines, size, nil
		}
		if err != nil {
			return lines, size, err
		}
	}
}

// mend makes a file of the given size end with a whole line, and returns its new size: what a crash left of a line is
// cut off, and a line that lacks nothing but its end is given one.
func mend(f *os.File, size int64) (int64, error) {
	start, err := lastLine(f, size)
	if err != nil || start == size {
		return size, err
	}
	if size-start <= maxLine {
		tail := make([]byte, size-start)
		if _, err := f.ReadAt(tail, start); err != nil {
			return size, err
		}
		if _, err := parseLine(tail); err == nil {
			_, err := f.Write([]byte{'\n'})
			return size + 1, err
		}
	}
	return start, f.Truncate(start)
}

// lastLine returns where the line that lacks its end begins, the size when there is none.
func lastLine(f io.ReaderAt, size int64) (int64, error) {
	buf := make([]byte, 4<<10)
	for end := size; end > 0; {
		b := buf[:min(int64(len(buf)), end)]
		if _, err := f.ReadAt(b, end-int64(len(b))); err != nil {
			return 0, err
		}
		if i := bytes.LastIndexByte(b, '\n'); i >= 0 {
			return end - int64(len(b)) + int64(i) + 1, nil
		}
		end -= int64(len(b))
		if len(buf) < 256<<10 {
			buf = make([]byte, 4*len(buf))
		}
	}
	return 0, nil
}
