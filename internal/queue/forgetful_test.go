package queue

import (
	"errors"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"syscall"
)

var errPower = errors.New("no power")

// forgetful is a file system in memory that knows what a power cut would leave of it.
type forgetful struct {
	mu      sync.Mutex
	names   map[string]*inode // as processes see it
	lasting map[string]*inode // as synced
	locked  map[string]bool

	ops   int
	cutAt int    // the power goes at this operation; 0 is never
	onCut func() // is told
	off   bool

	fail func(op, path string) error // nil, or makes operations fail
	left int64                       // bytes of free space; negative is endless
	kind bool                        // a failed sync loses nothing
}

type inode struct {
	data, synced []byte
}

func newForgetful() *forgetful {
	return &forgetful{names: map[string]*inode{}, lasting: map[string]*inode{}, locked: map[string]bool{}, left: -1}
}

// step counts an operation and returns why it fails. Its caller holds the lock.
func (m *forgetful) step(op, path string) error {
	m.ops++
	if m.ops == m.cutAt {
		m.off = true
		m.onCut()
	}
	if m.off {
		return errPower
	}
	if m.fail != nil {
		return m.fail(op, filepath.Base(path))
	}
	return nil
}

func (m *forgetful) do(op, path string, f func() error) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.step(op, path); err != nil {
		return err
	}
	return f()
}

func (m *forgetful) MkdirAll(string) error { return nil }

func (m *forgetful) Lock(path string) (io.Closer, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.locked[path] {
		return nil, errLocked
	}
	m.locked[path] = true
	return closer(func() error {
		m.mu.Lock()
		defer m.mu.Unlock()
		delete(m.locked, path)
		return nil
	}), nil
}

type closer func() error

func (c closer) Close() error { return c() }

func (m *forgetful) Create(path string) (file, error) {
	n := &inode{}
	return &handle{m, path, n}, m.do("create", path, func() error {
		if m.names[path] != nil {
			return fs.ErrExist
		}
		m.names[path] = n
		return nil
	})
}

func (m *forgetful) Open(path string) (file, error) {
	h := &handle{m: m, path: path}
	return h, m.do("open", path, func() error {
		h.n = m.names[path]
		if h.n == nil {
			return fs.ErrNotExist
		}
		return nil
	})
}

func (m *forgetful) OpenWrite(path string) (file, error) {
	h := &handle{m: m, path: path}
	return h, m.do("openwrite", path, func() error {
		if m.names[path] == nil {
			m.names[path] = &inode{}
		}
		h.n = m.names[path]
		return nil
	})
}

func (m *forgetful) Remove(path string) error {
	return m.do("remove", path, func() error {
		n := m.names[path]
		if n == nil {
			return fs.ErrNotExist
		}
		if m.left >= 0 {
			m.left += int64(len(n.data))
		}
		delete(m.names, path)
		return nil
	})
}

func (m *forgetful) ReadDir(string) (names []string, err error) {
	return names, m.do("readdir", "", func() error {
		for path := range m.names {
			names = append(names, filepath.Base(path))
		}
		return nil
	})
}

func (m *forgetful) SyncDir(string) error {
	return m.do("syncdir", "", func() error {
		m.lasting = maps.Clone(m.names)
		return nil
	})
}

type handle struct {
	m    *forgetful
	path string
	n    *inode
}

func (h *handle) Close() error { return nil }

func (h *handle) Write(b []byte) (n int, err error) {
	h.m.mu.Lock()
	defer h.m.mu.Unlock()
	if err := h.m.step("write", h.path); err != nil {
		h.n.data = append(h.n.data, b[:len(b)/2]...)
		return len(b) / 2, err
	}
	if h.m.left >= 0 && int64(len(b)) > h.m.left {
		b, err = b[:h.m.left], syscall.ENOSPC
	}
	if h.m.left >= 0 {
		h.m.left -= int64(len(b))
	}
	h.n.data = append(h.n.data, b...)
	return len(b), err
}

// WriteAt that fails, or that a power cut meets, has written half.
func (h *handle) WriteAt(b []byte, off int64) (n int, err error) {
	h.m.mu.Lock()
	defer h.m.mu.Unlock()
	if err = h.m.step("writeat", h.path); err != nil {
		b = b[:len(b)/2]
	}
	if more := off + int64(len(b)) - int64(len(h.n.data)); more > 0 {
		if h.m.left >= 0 {
			if more > h.m.left {
				return 0, syscall.ENOSPC
			}
			h.m.left -= more
		}
		h.n.data = append(h.n.data, make([]byte, more)...)
	}
	return copy(h.n.data[off:], b), err
}

func (h *handle) ReadAt(b []byte, off int64) (n int, err error) {
	h.m.mu.Lock()
	defer h.m.mu.Unlock()
	if h.m.off {
		return 0, errPower
	}
	if h.m.fail != nil {
		if err := h.m.fail("read", filepath.Base(h.path)); err != nil {
			return 0, err
		}
	}
	if off < int64(len(h.n.data)) {
		n = copy(b, h.n.data[off:])
	}
	if n < len(b) {
		err = io.EOF
	}
	return n, err
}

// Sync that fails loses what it should have kept, as some systems do.
func (h *handle) Sync() error {
	h.m.mu.Lock()
	defer h.m.mu.Unlock()
	if err := h.m.step("sync", h.path); err != nil {
		if !h.m.off && !h.m.kind {
			clear(h.n.data[min(len(h.n.synced), len(h.n.data)):])
		}
		return err
	}
	h.n.synced = append([]byte(nil), h.n.data...)
	return nil
}

func (h *handle) Truncate(size int64) error {
	return h.m.do("truncate", h.path, func() error {
		if h.m.left >= 0 {
			h.m.left += int64(len(h.n.data)) - size
		}
		h.n.data = h.n.data[:size:size]
		return nil
	})
}

func (h *handle) Size() (int64, error) {
	h.m.mu.Lock()
	defer h.m.mu.Unlock()
	return int64(len(h.n.data)), nil
}

// Ways in which a power cut can leave what had not been synced.
const (
	forgotten = iota // all of it is gone
	survived         // all of it is there
	mixed            // chance decides, for each name and each byte
)

// reboot returns the file system as it is after a power cut.
func (m *forgetful) reboot(how int, r *rand.Rand) *forgetful {
	m.mu.Lock()
	defer m.mu.Unlock()
	after := newForgetful()
	paths := map[string]bool{}
	for p := range m.names {
		paths[p] = true
	}
	for p := range m.lasting {
		paths[p] = true
	}
	for p := range paths {
		n := m.lasting[p]
		if how == survived || how == mixed && r.IntN(2) == 0 {
			n = m.names[p]
		}
		if n == nil {
			continue
		}
		b := append([]byte(nil), n.synced...)
		switch {
		case how == survived, how == mixed && len(n.data) < len(b) && r.IntN(2) == 0:
			b = append([]byte(nil), n.data...)
		case how == mixed && len(n.data) == len(b): // some of it was written over
			for i := range b {
				if r.IntN(2) == 0 {
					b[i] = n.data[i]
				}
			}
		case how == mixed && len(n.data) > len(b):
			b = append(b, n.data[len(b):len(b)+r.IntN(len(n.data)-len(b)+1)]...)
			if from := len(n.synced); len(b) > from && r.IntN(2) == 0 { // the size came first, then some of the bytes
				clear(b[from+r.IntN(len(b)-from):])
			}
		}
		after.names[p] = &inode{data: b, synced: append([]byte(nil), b...)}
	}
	after.lasting = maps.Clone(after.names)
	return after
}

func (m *forgetful) read(path string) []byte {
	m.mu.Lock()
	defer m.mu.Unlock()
	return append([]byte(nil), m.names[path].data...)
}

func (m *forgetful) put(path string, b []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.names[path] == nil {
		m.names[path] = &inode{}
	}
	m.names[path].data = append([]byte(nil), b...)
}

// used is the size of all segments.
func (m *forgetful) used() (total int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for path, n := range m.names {
		if _, ok := parseName(filepath.Base(path)); ok {
			total += len(n.data)
		}
	}
	return total
}
