package backfill

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"maps"
	"math"
	"os"
	"slices"
	"strconv"
	"sync"
)

// The kinds of a trail's lines, and what follows them.
const (
	minuteLine   = 'm' // milliseconds: a live point was accepted in that minute
	pointLine    = 'k' // milliseconds, bits of the value in hexadecimal: likewise, and the point is to be sent once more
	restoredLine = 'r' // number: so many of those, the oldest, were
	claimLine    = 'c' // milliseconds: minutes before may be sent from now on
	firstLine    = 'f' // milliseconds: so may this one, which goes before all others
	progressLine = 'p' // JSON: how the job stands, its URLs left out
)

const (
	minCompact = 4 << 20  // bytes after which a trail is written anew
	maxTrail   = 16 << 20 // bytes after which that must come first
)

// trail keeps what changes often of a job: a file beside the job's, to which a line is appended for each change. It has
// the checksum of the rest first, so that what a loss of power leaves of the last ones is told from a line. What is
// appended outlives the process at once, and a loss of power once sync was called. A nil one keeps nothing.
type trail struct {
	path string

	mu      sync.Mutex
	wake    func() // told that there is something to be synced; nil: nobody
	dirty   bool
	torn    bool // its last line has no end
	size    int64
	compact int64 // size at which it is written anew
	closed  bool
	err     error // since which lines are missing
	buf     []byte
}

func newTrail(path string) *trail { return &trail{path: path, compact: minCompact} }

// sealed appends a line to out.
func sealed(out []byte, kind byte, format string, args ...any) []byte {
	begin := len(out)
	out = append(out, "00000000 "...)
	out = append(out, kind, ' ')
	out = fmt.Appendf(out, format, args...)
	sum := fmt.Appendf(nil, "%08x", crc32.ChecksumIEEE(out[begin+9:]))
	copy(out[begin:], sum)
	return append(out, '\n')
}

// create makes the file, so that its name is as lasting as that of the job's file, which is written next.
func (t *trail) create() error {
	if t == nil {
		return nil
	}
	f, err := os.OpenFile(t.path, os.O_CREATE|os.O_WRONLY, 0o600)
	if err == nil {
		err = f.Close()
	}
	if err != nil {
		return fmt.Errorf("backfill: %w", err)
	}
	return nil
}

// add appends a line. After an error it appends nothing more until the trail was written anew.
func (t *trail) add(kind byte, format string, args ...any) error {
	if t == nil {
		return nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.err != nil || t.closed {
		return t.err
	}
	t.buf = t.buf[:0]
	if t.torn {
		t.buf = append(t.buf, '\n')
	}
	t.buf = sealed(t.buf, kind, format, args...)
	if t.size+int64(len(t.buf)) > maxTrail {
		t.err = fmt.Errorf("backfill: %s has %d bytes", t.path, t.size)
		return t.err
	}
	f, err := os.OpenFile(t.path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err == nil {
		_, err = f.Write(t.buf)
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		t.err = fmt.Errorf("backfill: %w", err)
		return t.err
	}
	t.size, t.torn = t.size+int64(len(t.buf)), false
	t.stir()
	return nil
}

// stir has what was written synced. The lock is held.
func (t *trail) stir() {
	t.dirty = true
	if t.wake != nil {
		t.wake()
	}
}

// progress appends how a job stands.
func (t *trail) progress(r record) error {
	if t == nil {
		return nil
	}
	text, err := r.progress()
	if err != nil {
		return err
	}
	return t.add(progressLine, "%s", text)
}

// progress is the record as a trail has it.
func (r record) progress() ([]byte, error) {
	r.URLs = nil
	text, err := json.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("backfill: job %s: %w", r.ID, err)
	}
	return text, nil
}

// untidy reports whether the trail is to be written anew.
func (t *trail) untidy() bool {
	if t == nil {
		return false
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return !t.closed && (t.err != nil || t.size > t.compact)
}

// rewrite writes the job's trail anew, from what is known.
func (m *liveMetric) rewrite(r record, s *store) error {
	text, err := r.progress()
	if err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	out := sealed(nil, progressLine, "%s", text)
	for _, at := range slices.Sorted(maps.Keys(m.minutes)) {
		out = sealed(out, minuteLine, "%d", at)
	}
	if m.until != none {
		out = sealed(out, claimLine, "%d", m.until)
	}
	if m.first != none {
		out = sealed(out, firstLine, "%d", m.first)
	}
	for _, p := range m.points {
		out = sealed(out, pointLine, "%d %x", p.at, math.Float64bits(p.value))
	}
	t := m.trail
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := s.write(t.path, out); err != nil {
		return fmt.Errorf("backfill: %w", err)
	}
	t.size, t.torn, t.err = int64(len(out)), false, nil
	t.compact = max(minCompact, 2*t.size)
	return nil
}

// sync makes what was appended outlive a loss of power.
func (t *trail) sync() error {
	if t == nil {
		return nil
	}
	t.mu.Lock()
	dirty := t.dirty && !t.closed
	t.dirty = false
	t.mu.Unlock()
	if !dirty {
		return nil
	}
	f, err := os.OpenFile(t.path, os.O_WRONLY, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // the job has ended
	}
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}

// remove ends the trail.
func (t *trail) remove() error {
	if t == nil {
		return nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.closed = true
	if err := os.Remove(t.path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// replay brings a job that was read from its file to where its trail ends, and returns how many lines are damaged.
func (k *kept) replay(content []byte) (damaged int) {
	k.live.trail.size = int64(len(content))
	for line := range bytes.SplitSeq(content, []byte("\n")) {
		if len(line) > 0 && !k.take(line) {
			damaged++
		}
	}
	return damaged
}

// take takes a line.
func (k *kept) take(line []byte) bool {
	sum, body, _ := bytes.Cut(line, []byte(" "))
	if len(body) < 2 || body[1] != ' ' || string(sum) != fmt.Sprintf("%08x", crc32.ChecksumIEEE(body)) {
		return false
	}
	kind, text := body[0], body[2:]
	if kind == progressLine {
		return k.advance(text)
	}
	first, second, _ := bytes.Cut(text, []byte(" "))
	n, err := strconv.ParseInt(string(first), 10, 64)
	if err != nil {
		return false
	}
	m := k.live
	switch kind {
	case minuteLine:
		m.add(n)
	case pointLine:
		bits, err := strconv.ParseUint(string(second), 16, 64)
		if err != nil {
			return false
		}
		m.add(floorMinute(n))
		m.keep(livePoint{n, math.Float64frombits(bits)})
	case restoredLine:
		m.points = slices.Delete(m.points, 0, int(max(0, min(n, int64(len(m.points))))))
	case claimLine:
		m.until = max(m.until, n)
	case firstLine:
		m.first = n
	default:
		return false
	}
	return true
}

// advance takes a progress line, unless the job's file is newer.
func (k *kept) advance(text []byte) bool {
	var r record
	if json.Unmarshal(text, &r) != nil {
		return false
	}
	r.URLs = k.URLs
	if r.ID != k.ID || r.Metric != k.Metric || r.check() != nil {
		return false
	}
	if r.Seq > k.Seq {
		k.record = r
	}
	return true
}
