package backfill

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
)

const (
	jobSuffix    = ".job"
	trailSuffix  = ".trail"
	tempSuffix   = ".tmp"
	lockName     = "lock"
	maxJobFile   = 8 << 20
	maxTrailFile = 2 * maxTrail
)

// store keeps jobs in a directory: a file each, whose first line is the checksum of the rest, and beside it, until the
// job ends, its trail. A file is replaced by renaming, so that it is whole at any moment. The zero value keeps nothing.
type store struct {
	dir  string
	lock io.Closer
}

// openStore creates and locks the directory. The error wraps ErrLocked when another has it.
func openStore(dir string) (*store, error) {
	if dir == "" {
		return &store{}, nil
	}
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return nil, fmt.Errorf("backfill: Config.Dir: %w", err)
	}
	lock, err := lockFile(filepath.Join(dir, lockName))
	if err != nil {
		return nil, fmt.Errorf("backfill: Config.Dir %s: %w", dir, err)
	}
	return &store{dir, lock}, nil
}

func (s *store) close() error {
	if s.lock == nil {
		return nil
	}
	return s.lock.Close()
}

func (s *store) path(id string) string { return filepath.Join(s.dir, id+jobSuffix) }

// save puts a job's file in place, on the disk.
func (s *store) save(r *record) error {
	if s.dir == "" {
		return nil
	}
	body, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("backfill: job %s: %w", r.ID, err)
	}
	if err := s.write(s.path(r.ID), fmt.Appendf(nil, "%08x\n%s\n", crc32.ChecksumIEEE(body), body)); err != nil {
		return fmt.Errorf("backfill: keep job %s: %w", r.ID, err)
	}
	return nil
}

func (s *store) write(path string, content []byte) error {
	f, err := os.OpenFile(path+tempSuffix, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	if err == nil {
		err = f.Sync()
	}
	if e := f.Close(); err == nil {
		err = e
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		_ = os.Remove(f.Name())
		return err
	}
	return s.sync()
}

// sync makes the names in the directory lasting.
func (s *store) sync() error {
	d, err := os.Open(s.dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

func (s *store) remove(id string) error {
	if s.dir == "" {
		return nil
	}
	return os.Remove(s.path(id))
}

// live returns where a job notes what is live, with its trail.
func (s *store) live(id string) *liveMetric {
	if s.dir == "" {
		return newLiveMetric(id, nil)
	}
	return newLiveMetric(id, newTrail(filepath.Join(s.dir, id+trailSuffix)))
}

// kept is what a directory has of a job.
type kept struct {
	record
	live *liveMetric
}

// load reads all jobs. Files that are damaged are told of and left where they are.
func (s *store) load(log *slog.Logger) ([]kept, error) {
	if s.dir == "" {
		return nil, nil
	}
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return nil, fmt.Errorf("backfill: Config.Dir: %w", err)
	}
	var out []kept
	for _, e := range entries {
		id, ok := strings.CutSuffix(e.Name(), jobSuffix)
		if !ok || !e.Type().IsRegular() {
			continue
		}
		r, err := readRecord(s.path(id))
		if err == nil && r.ID != id {
			err = errors.New("it is of another job")
		}
		k := kept{r, s.live(id)}
		if err == nil && !k.State.Ended() {
			err = s.follow(&k, log)
		}
		if err != nil {
			log.Error("a job's file is damaged and passed over", "file", s.path(id), "error", err)
			continue
		}
		out = append(out, k)
	}
	return out, nil
}

// Unfinished returns how many jobs a Config.Dir holds that have not ended, 0 for a directory that is not there. Files that are
// damaged do not count.
func Unfinished(dir string) (int, error) {
	s := &store{dir: dir}
	jobs, err := s.load(slog.New(slog.DiscardHandler))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	n := 0
	for _, k := range jobs {
		if !k.State.Ended() {
			n++
		}
	}
	return n, err
}

// follow brings a job to where its trail ends.
func (s *store) follow(k *kept, log *slog.Logger) error {
	t := k.live.trail
	f, err := os.Open(t.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	content, err := io.ReadAll(io.LimitReader(f, maxTrailFile))
	if err != nil {
		return err
	}
	if damaged := k.replay(content); damaged > 0 {
		log.Warn("lines of a job's trail are damaged and passed over", "file", t.path, "lines", damaged)
	}
	t.torn = len(content) > 0 && content[len(content)-1] != '\n'
	return nil
}

// clean removes what a process that was killed has left over: files that were being written, and trails of jobs that have
// ended or were never accepted. That of a job whose file is damaged stays.
func (s *store) clean(jobs []kept) {
	ended := map[string]bool{}
	for _, k := range jobs {
		ended[k.ID] = k.State.Ended()
	}
	entries, _ := os.ReadDir(s.dir)
	for _, e := range entries {
		id, isTrail := strings.CutSuffix(e.Name(), trailSuffix)
		_, err := os.Stat(s.path(id))
		switch {
		case strings.HasSuffix(e.Name(), jobSuffix+tempSuffix), strings.HasSuffix(e.Name(), trailSuffix+tempSuffix),
			isTrail && (ended[id] || errors.Is(err, fs.ErrNotExist)):
			_ = os.Remove(filepath.Join(s.dir, e.Name()))
		}
	}
}

func readRecord(path string) (record, error) {
	info, err := os.Stat(path)
	if err != nil {
		return record{}, err
	}
	if info.Size() > maxJobFile {
		return record{}, fmt.Errorf("%d bytes", info.Size())
	}
	content, err := os.ReadFile(path)
	if err != nil {
		return record{}, err
	}
	return parseRecord(content)
}

// parseRecord reads a job's file.
func parseRecord(content []byte) (record, error) {
	sum, body, _ := bytes.Cut(content, []byte("\n"))
	body = bytes.TrimSuffix(body, []byte("\n"))
	if string(sum) != fmt.Sprintf("%08x", crc32.ChecksumIEEE(body)) {
		return record{}, errors.New("its checksum is wrong")
	}
	var r record
	if err := json.Unmarshal(body, &r); err != nil {
		return record{}, err
	}
	return r, r.check()
}

// check checks a record that was read.
func (r *record) check() error {
	switch r.State {
	case Queued, Running, Waiting, Done, Failed, Cancelled:
	default:
		return fmt.Errorf("its state is %s", quote(string(r.State)))
	}
	if r.Metric == "" || len(r.URLs) == 0 {
		return errors.New("it has no metric or no URL")
	}
	return nil
}
