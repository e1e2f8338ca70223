package deadletter

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"
)

const (
	// DefaultMaxBytes bounds a file whose Options say nothing.
	DefaultMaxBytes = 64 << 20
	// MinMaxBytes is the least bound that Open accepts.
	MinMaxBytes = 64 << 10

	oldSuffix  = ".old"
	maxLine    = 16 << 20 // longer ones can be neither written nor read
	keptBuffer = 1 << 20  // a larger one is given back after use
	warnEvery  = time.Second
)

// ErrClosed is returned by Append once the file is closed.
var ErrClosed = errors.New("deadletter: closed")

// Options configure a File.
type Options struct {
	// Path is the file, created where it is missing; its folder must exist. Path.old is the older half.
	Path string
	// MaxBytes bounds both halves together. The oldest points are dropped first, half a file at a time, and counted.
	// Zero means DefaultMaxBytes, and math.MaxInt64 that nothing is dropped.
	MaxBytes int64
	Logger   *slog.Logger     // nil is silent
	Now      func() time.Time // nil means time.Now

	write func(f *os.File, b []byte) (int, error) // nil: (*os.File).Write
	sync  func(f *os.File) error                  // nil: datasync
}

func (o Options) withDefaults() (Options, error) {
	if o.MaxBytes == 0 {
		o.MaxBytes = DefaultMaxBytes
	}
	if o.MaxBytes < MinMaxBytes {
		return o, fmt.Errorf("deadletter: bound of %d bytes is less than the %d that a file needs", o.MaxBytes, MinMaxBytes)
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.write == nil {
		o.write = (*os.File).Write
	}
	if o.sync == nil {
		o.sync = datasync
	}
	var err error
	o.Path, err = resolve(o.Path)
	return o, err
}

// File is a dead-letter file that is open for appending. Its methods may be called from any goroutine, and several
// Files, of one process or more, may have the same path.
type File struct {
	opts Options
	half int64

	mu     sync.Mutex // held while the file is written
	file   *os.File   // nil: opened by the next Append
	named  bool       // its name is on disk
	size   int64      // up to which it is known to hold whole lines
	buf    []byte
	ends   []int // in buf, of each line
	closed bool

	counts counts
}

// Open opens a dead-letter file. The error says what cannot be used of the path or the bound.
func Open(o Options) (*File, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	f := &File{opts: o, half: o.MaxBytes / 2}
	f.counts.path = o.Path
	if err := f.acquire(); err != nil {
		return nil, fmt.Errorf("deadletter: %w", err)
	}
	unflock(f.file)
	return f, nil
}

// Append writes the entries, all or none, and returns once they are on disk. An entry without a time gets the present
// one. Those for which there is no room in the bound are dropped and counted: the oldest of the file, and of the
// entries if these alone are too many.
//
// The error wraps the cause, such as syscall.ENOSPC. The file has then been cut back to what it was before; where not
// even that worked, entries may stand in it all the same.
func (f *File) Append(entries []Entry) error {
	if len(entries) == 0 {
		return nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return ErrClosed
	}
	defer f.tidy()
	f.encode(entries)
	lines, unfit := f.fit()
	var lost int64
	if len(lines) > 0 {
		var err error
		if lost, err = f.place(lines); err != nil {
			f.drop(lost)
			return fmt.Errorf("deadletter: %w", err)
		}
	}
	f.counts.appended.Add(int64(len(entries)))
	f.drop(lost + int64(unfit))
	return nil
}

// encode puts the entries into buf. Those that are too long for any file are left empty.
func (f *File) encode(entries []Entry) {
	f.buf, f.ends = f.buf[:0], f.ends[:0]
	for i := range entries {
		e := entries[i]
		if e.At.IsZero() {
			e.At = f.opts.Now()
		}
		start := len(f.buf)
		if f.buf = appendLine(f.buf, &e); len(f.buf)-start > int(min(f.half, maxLine)) {
			f.buf = f.buf[:start]
		}
		f.ends = append(f.ends, len(f.buf))
	}
}

// fit returns the newest lines for which half a file has room, and how many entries are not among them.
func (f *File) fit() (lines []byte, unfit int) {
	from, start := 0, 0
	for ; int64(len(f.buf)-start) > f.half; from++ {
		start = f.ends[from]
		unfit++
	}
	for at := start; from < len(f.ends); from++ {
		if f.ends[from] == at {
			unfit++
		}
		at = f.ends[from]
	}
	return f.buf[start:], unfit
}

func (f *File) tidy() {
	if cap(f.buf) > keptBuffer {
		f.buf, f.ends = nil, nil
	}
}

// place writes the lines to a file that has room for them. It returns how many points went to make that.
func (f *File) place(lines []byte) (lost int64, err error) {
	for {
		if err := f.acquire(); err != nil {
			return lost, err
		}
		if f.size == 0 || f.size+int64(len(lines)) <= f.half {
			break
		}
		n, err := f.rotate()
		lost += n
		if err != nil {
			return lost, err
		}
	}
	defer func() {
		if f.file != nil {
			unflock(f.file)
		}
	}()
	if !f.named {
		if err := syncDir(f.opts.Path); err != nil {
			return lost, err
		}
		f.named = true
	}
	return lost, f.write(lines)
}

// acquire takes the lock of the file that has the path now, and makes it end with a whole line.
func (f *File) acquire() error {
	file, fresh, err := openLocked(f.opts.Path, f.file, true)
	f.file = file
	if err != nil {
		return err
	}
	if fresh {
		f.named, f.size = false, 0
		f.counts.reopened()
	}
	st, err := file.Stat()
	if err == nil && st.Size() != f.size {
		f.size, err = mend(file, st.Size())
	}
	if err != nil {
		f.abandon()
	}
	return err
}

// abandon closes the file, and with that gives up its lock.
func (f *File) abandon() {
	f.file.Close()
	f.file = nil
}

// rotate makes the file the older half. It returns how many points the former older half held.
func (f *File) rotate() (lost int64, err error) {
	old := f.opts.Path + oldSuffix
	lost, err = countFile(old)
	if err == nil {
		err = os.Rename(f.opts.Path, old)
	}
	f.abandon()
	if err != nil {
		return 0, err
	}
	return lost, nil
}

// write appends the lines and waits for the disk, or cuts the file back.
func (f *File) write(lines []byte) error {
	_, err := f.opts.write(f.file, lines)
	if err == nil {
		err = f.opts.sync(f.file)
	}
	if err == nil {
		f.size += int64(len(lines))
		return nil
	}
	if cut := f.file.Truncate(f.size); cut != nil {
		err = fmt.Errorf("%w; and the file could not be cut back: %w", err, cut)
	}
	f.abandon()
	return err
}

// drop counts points that were dropped, and tells of them.
func (f *File) drop(n int64) {
	if n == 0 && f.counts.untold == 0 {
		return
	}
	f.counts.dropped.Add(n)
	f.counts.untold += n
	now := f.opts.Now()
	if now.Sub(f.counts.told) < warnEvery && !f.counts.told.IsZero() {
		return
	}
	f.counts.told = now
	f.tell()
}

func (f *File) tell() {
	if f.counts.untold > 0 {
		f.opts.Logger.Warn("the dead-letter file has no room for more: the oldest points were dropped",
			"file", f.opts.Path, "points", f.counts.untold, "bound", f.opts.MaxBytes)
	}
	f.counts.untold = 0
}

// Close closes the file. A second call does nothing.
func (f *File) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return nil
	}
	f.closed = true
	f.tell()
	if f.file == nil {
		return nil
	}
	err := f.file.Close()
	f.file = nil
	return err
}
