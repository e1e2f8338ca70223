package deadletter

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
)

const (
	replaySuffix  = ".replay"
	damagedSuffix = ".damaged"
)

// ErrInUse is wrapped by what SetAside returns while another replay is under way.
var ErrInUse = errors.New("deadletter: another replay is under way")

// Replay is what a dead-letter file held, set aside so that it can be delivered while whoever appends to the file goes on
// with a fresh one. What stands in it is not lost until Remove, however the process ends.
type Replay struct {
	path    string
	lock    *os.File
	files   []string
	damaged []string // those of the files in which Read found damage
}

// SetAside takes what the file at path holds, and what an earlier Replay did not come to remove. The error wraps
// ErrInUse while there is another Replay, of whatever process, and fs.ErrNotExist when there is nothing of that name.
func SetAside(path string) (*Replay, error) {
	path, err := resolve(path)
	if err != nil {
		return nil, err
	}
	if ok, err := exists(path); err != nil {
		return nil, err
	} else if !ok {
		return nil, notThere(path)
	}
	r := &Replay{path: path}
	r.lock, _, err = openLocked(path+replaySuffix, nil, false)
	if errors.Is(err, errLocked) {
		return nil, fmt.Errorf("%w: %s", ErrInUse, path)
	}
	if err == nil {
		err = r.take()
	}
	if err != nil {
		r.Close()
		return nil, fmt.Errorf("deadletter: %w", err)
	}
	return r, nil
}

// Exists reports whether there is a dead-letter file of that name: the file, its older half, or what a replay has set
// aside.
func Exists(path string) (bool, error) {
	path, err := resolve(path)
	if err != nil {
		return false, err
	}
	return exists(path)
}

func exists(path string) (bool, error) {
	aside, err := setAside(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	for _, p := range append([]string{path, path + oldSuffix}, aside...) {
		if _, err := os.Lstat(p); err == nil {
			return true, nil
		}
	}
	return false, nil
}

func notThere(path string) error {
	return fmt.Errorf("deadletter: %w", &os.PathError{Op: "open", Path: path, Err: fs.ErrNotExist})
}

// take renames the files. Those who wait for the lock of one of them find then that it has lost its name.
func (r *Replay) take() error {
	f, _, err := openLocked(r.path, nil, true)
	if err != nil {
		return err
	}
	defer f.Close()
	if r.files, err = setAside(r.path); err != nil {
		return err
	}
	number := 0
	if n := len(r.files); n > 0 {
		number, _ = asideNumber(r.path, filepath.Base(r.files[n-1]))
	}
	for _, from := range []string{r.path + oldSuffix, r.path} {
		number++
		to := asideName(r.path, number)
		err := os.Rename(from, to)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		r.files = append(r.files, to)
	}
	return syncDir(r.path)
}

// Read calls each with every point, oldest first, as the function Read does.
func (r *Replay) Read(each func(Entry) error) (Report, error) {
	var rep Report
	var files opened
	defer files.close()
	if err := files.open(r.files...); err != nil {
		return rep, err
	}
	r.damaged = nil
	for _, f := range files.files {
		before := rep.Damaged
		if err := readFile(f, &rep, each); err != nil {
			return rep, err
		}
		if rep.Damaged > before {
			r.damaged = append(r.damaged, f.Name())
		}
	}
	rep.SetAside = rep.Points
	return rep, nil
}

// Remove removes the files for good. One in which Read found damaged lines is renamed instead, so that somebody can look
// at them: its new name, PATH.damaged.N, is returned, and nothing reads it any more.
func (r *Replay) Remove() (kept []string, err error) {
	for _, f := range r.files {
		if slices.Contains(r.damaged, f) {
			to := freeName(r.path + damagedSuffix)
			err = os.Rename(f, to)
			kept = append(kept, to)
		} else {
			err = os.Remove(f)
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return kept, fmt.Errorf("deadletter: %w", err)
		}
	}
	r.files, r.damaged = nil, nil
	return kept, syncDir(r.path)
}

// freeName returns stem with the least number behind it that names nothing.
func freeName(stem string) string {
	for n := 1; ; n++ {
		name := stem + "." + strconv.Itoa(n)
		if _, err := os.Lstat(name); err != nil {
			return name
		}
	}
}

// Close ends the replay. What was not removed is kept for the next one.
func (r *Replay) Close() {
	if r.lock == nil {
		return
	}
	_ = os.Remove(r.path + replaySuffix) // while it is locked, so that it is this one
	r.lock.Close()
	r.lock = nil
}
