package queue

import (
	"io"
	"os"
	"path/filepath"
)

// fileSystem is what the queue needs of one. Tests put failing and forgetting ones in its place.
type fileSystem interface {
	MkdirAll(dir string) error           // makes the directory itself lasting
	Lock(path string) (io.Closer, error) // errLocked when another holds it
	Create(path string) (file, error)    // for writing; fails when the file exists
	Open(path string) (file, error)      // for reading and syncing
	OpenWrite(path string) (file, error) // for writing over; creates what is missing
	Remove(path string) error
	ReadDir(dir string) ([]string, error) // names
	SyncDir(dir string) error             // makes creations and removals in dir lasting
}

type file interface {
	io.Writer
	io.ReaderAt
	io.WriterAt
	io.Closer
	Sync() error // makes what was written lasting, with the size
	Truncate(size int64) error
	Size() (int64, error)
}

// osFS is the operating system's file system.
type osFS struct{}

func (osFS) Remove(path string) error { return os.Remove(path) }

// MkdirAll makes lasting what it creates.
func (osFS) MkdirAll(dir string) error {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	var created []string
	for p := dir; ; p = filepath.Dir(p) {
		if _, err := os.Stat(p); !missing(err) {
			break
		}
		created = append(created, p)
	}
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return err
	}
	for _, p := range created {
		if err := (osFS{}).SyncDir(filepath.Dir(p)); err != nil {
			return err
		}
	}
	return nil
}

func (osFS) Create(path string) (file, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o640)
	if err != nil {
		return nil, err
	}
	return osFile{f}, nil
}

func (osFS) Open(path string) (file, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	return osFile{f}, nil
}

func (osFS) OpenWrite(path string) (file, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o640)
	if err != nil {
		return nil, err
	}
	return osFile{f}, nil
}

func (osFS) ReadDir(dir string) ([]string, error) {
	d, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	return d.Readdirnames(-1)
}

func (osFS) SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

type osFile struct{ *os.File }

func (f osFile) Sync() error { return datasync(f.File) }

func (f osFile) Size() (int64, error) {
	st, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return st.Size(), nil
}
