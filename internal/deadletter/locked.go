package deadletter

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

var errLocked = errors.New("deadletter: another holds the lock")

// openLocked opens the file that path names, created where it is missing, and takes its lock. f, unless nil, is tried
// first; it is closed when path names another file by now. fresh is true when the returned file is not f.
func openLocked(path string, f *os.File, wait bool) (locked *os.File, fresh bool, err error) {
	for {
		if f == nil {
			fresh = true
			if f, err = os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o640); err != nil {
				return nil, false, err
			}
		}
		if err := flock(f, wait); err != nil {
			f.Close()
			return nil, false, err
		}
		same, err := names(path, f)
		if same {
			return f, fresh, nil
		}
		f.Close()
		f = nil
		if err != nil {
			return nil, false, err
		}
	}
}

// names reports whether path names the open file f.
func names(path string, f *os.File) (bool, error) {
	here, err := f.Stat()
	if err != nil {
		return false, err
	}
	there, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil && os.SameFile(here, there), err
}

func syncDir(path string) error {
	d, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// resolve follows links, even to what does not exist, so that a rename does not take a link for the file. What exists
// must be a regular file.
func resolve(path string) (string, error) {
	if path == "" {
		return "", errors.New("deadletter: the path is empty")
	}
	for range 40 {
		target, err := os.Readlink(path)
		if err != nil { // not a link
			break
		}
		if !filepath.IsAbs(target) {
			target = filepath.Join(filepath.Dir(path), target)
		}
		path = target
	}
	st, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return path, nil
	case err != nil:
		return "", fmt.Errorf("deadletter: %w", err)
	case !st.Mode().IsRegular():
		return "", fmt.Errorf("deadletter: %s is not a regular file", path)
	}
	return path, nil
}
