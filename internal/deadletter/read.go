package deadletter

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Report tells what Read found.
type Report struct {
	Points   int64
	Bytes    int64 // of all files
	Damaged  int64 // lines that were passed over
	Torn     int64 // bytes of a last line that a crash cut short, or that is being written
	SetAside int64 // of the points, those that a replay which did not end has set aside
	Places   []Place
}

// Place is a line that cannot be read.
type Place struct {
	File   string
	Line   int64 // from 1 on
	Offset int64
	Err    error
}

const maxPlaces = 100 // of a Report: the first

// Read calls each with every point of the file at path, oldest first: those that a replay set aside and did not deliver,
// the older half, the file. An error of each ends it, and is returned. Damaged lines are passed over. It takes no lock:
// of a file that is appended to meanwhile it may miss what is new. The error wraps fs.ErrNotExist when there is no such
// file.
func Read(path string, each func(Entry) error) (Report, error) {
	var rep Report
	path, err := resolve(path)
	if err != nil {
		return rep, err
	}
	// What becomes the older half, or is set aside, between these steps is found twice and not missed.
	var now, aside opened
	defer now.close()
	defer aside.close()
	err = now.open(path, path+oldSuffix)
	if err == nil {
		var names []string
		if names, err = setAside(path); err == nil {
			aside.known = now.known
			err = aside.open(names...)
		}
	}
	if err != nil {
		return rep, err
	}
	if len(now.files)+len(aside.files) == 0 {
		return rep, notThere(path)
	}
	if err := aside.read(&rep, each); err != nil {
		return rep, err
	}
	rep.SetAside = rep.Points
	slices.Reverse(now.files)
	return rep, now.read(&rep, each)
}

// opened is files that are open for reading, each once.
type opened struct {
	files []*os.File
	known []os.FileInfo
}

// open opens those of the files that exist.
func (o *opened) open(paths ...string) error {
	for _, p := range paths {
		f, err := os.Open(p)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return fmt.Errorf("deadletter: %w", err)
		}
		st, err := f.Stat()
		if err != nil || slices.ContainsFunc(o.known, func(k os.FileInfo) bool { return os.SameFile(st, k) }) {
			f.Close()
			continue
		}
		o.files, o.known = append(o.files, f), append(o.known, st)
	}
	return nil
}

func (o *opened) close() {
	for _, f := range o.files {
		f.Close()
	}
}

func (o *opened) read(rep *Report, each func(Entry) error) error {
	for _, f := range o.files {
		if err := readFile(f, rep, each); err != nil {
			return err
		}
	}
	return nil
}

// setAside lists the files that replays have set aside, oldest first.
func setAside(path string) ([]string, error) {
	all, err := os.ReadDir(filepath.Dir(path))
	if err != nil {
		return nil, fmt.Errorf("deadletter: %w", err)
	}
	var numbers []int
	for _, e := range all {
		if n, ok := asideNumber(path, e.Name()); ok {
			numbers = append(numbers, n)
		}
	}
	slices.Sort(numbers)
	var paths []string
	for _, n := range numbers {
		paths = append(paths, asideName(path, n))
	}
	return paths, nil
}

func asideName(path string, n int) string { return path + replaySuffix + "." + strconv.Itoa(n) }

func asideNumber(path, name string) (n int, ok bool) {
	digits, ok := strings.CutPrefix(name, filepath.Base(path)+replaySuffix+".")
	if !ok {
		return 0, false
	}
	n, err := strconv.Atoi(digits)
	return n, err == nil && n > 0 && strconv.Itoa(n) == digits
}

// readFile adds what f holds to rep.
func readFile(f *os.File, rep *Report, each func(Entry) error) error {
	r := lineReader{in: bufio.NewReaderSize(f, 64<<10)}
	for n := int64(1); ; n++ {
		at := r.off
		b, whole, err := r.next()
		if err != nil && err != io.EOF {
			return fmt.Errorf("deadletter: %w", err)
		}
		rep.Bytes += r.off - at
		if err == io.EOF && r.off == at {
			return nil
		}
		e, bad := r.entry(b)
		switch {
		case bad == nil:
			rep.Points++
			if err := each(e); err != nil {
				return err
			}
		case !whole:
			rep.Torn += r.off - at
		default:
			rep.Damaged++
			if len(rep.Places) < maxPlaces {
				rep.Places = append(rep.Places, Place{File: f.Name(), Line: n, Offset: at, Err: bad})
			}
		}
	}
}

// lineReader gives lines, of which it keeps no more than maxLine bytes.
type lineReader struct {
	in   *bufio.Reader
	buf  []byte
	long bool // the line is longer than that
	off  int64
}

// next returns a line without its end. whole is false when it has none. The error is io.EOF behind the last.
func (r *lineReader) next() (b []byte, whole bool, err error) {
	r.buf, r.long = r.buf[:0], false
	for {
		part, err := r.in.ReadSlice('\n')
		r.off += int64(len(part))
		if r.long = r.long || len(r.buf)+len(part) > maxLine; !r.long {
			r.buf = append(r.buf, part...)
		}
		switch {
		case err == nil:
			return r.buf[:max(len(r.buf)-1, 0)], true, nil
		case !errors.Is(err, bufio.ErrBufferFull):
			return r.buf, false, err
		}
	}
}

func (r *lineReader) entry(b []byte) (Entry, error) {
	if r.long {
		return Entry{}, fmt.Errorf("longer than %d bytes", maxLine)
	}
	return parseLine(b)
}
