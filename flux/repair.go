package flux

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"hash/maphash"
	"os"
	"path/filepath"

	"github.com/fluxmetrics/fluxkit/graphite"
)

// Several required destinations do not commit at the same moment: a server that is killed may leave points in the spool
// of one that another never had. Their sender was not answered and sends them again, but then they are duplicates of
// what is pending, and the other would never get them. So after such an end the newest of the judged points that the
// spool of one holds and that of another does not are given to the other: for a second time if it has delivered them.

// lagBytes is how much of a spool's end another may lack: what a queue holds uncommitted, 4 MiB, with a margin for the
// order of concurrent senders.
const lagBytes = 6 << 20

// unfinished is a file that stands in each spool of several for as long as a server uses them.
const unfinished = "unfinished"

// repair makes the spools of required destinations agree.
type repair struct {
	seed  maphash.Seed
	tails []*tail
	gates map[*destination]chan struct{} // closed, what the destination delivers may leave its spool
}

// tail has copies of the newest judged points that an outlet's spool held.
type tail struct {
	to    *destination
	runs  []tailRun // oldest first
	bytes int
}

type tailRun struct {
	pts   []graphite.Point
	bytes int // of the whole record, roughly
}

// newRepair returns nil when nothing needs to be done.
func newRepair(plans []plan) *repair {
	if required(plans) < 2 {
		return nil
	}
	for _, dir := range requiredSpools(plans) {
		if _, err := os.Stat(filepath.Join(dir, unfinished)); err == nil {
			return &repair{seed: maphash.MakeSeed(), gates: map[*destination]chan struct{}{}}
		}
	}
	return nil
}

// requiredSpools are the directories of the required destinations.
func requiredSpools(plans []plan) (dirs []string) {
	for i := range plans {
		for k := range plans[i].outlets {
			if _, dir := plans[i].outlets[k].bound(); plans[i].required && dir != "" {
				dirs = append(dirs, dir)
			}
		}
	}
	return dirs
}

// tail returns what an outlet's recovered points are to be shown to.
func (r *repair) tail(to *destination) *tail {
	t := &tail{to: to}
	r.tails = append(r.tails, t)
	return t
}

// gate returns what a destination's deliveries wait for.
func (r *repair) gate(d *destination) <-chan struct{} {
	g := make(chan struct{})
	r.gates[d] = g
	return g
}

// add takes a record's points, and forgets what is more than twice lagBytes back: so much so that the order in which
// concurrent senders came does not matter.
func (t *tail) add(pts []graphite.Point, tags []byte) {
	var run tailRun
	for i := range pts {
		run.bytes += len(pts[i].Name) + 18
		if tags[i]&tagJudged != 0 {
			p := pts[i]
			p.Name = append([]byte(nil), p.Name...)
			run.pts = append(run.pts, p)
		}
	}
	t.runs = append(t.runs, run)
	t.bytes += run.bytes
	for t.bytes-t.runs[0].bytes >= 2*lagBytes {
		t.bytes -= t.runs[0].bytes
		t.runs = t.runs[1:]
	}
}

// newest are the runs that other spools may lack.
func (t *tail) newest() []tailRun {
	i, bytes := len(t.runs), 0
	for i > 0 && bytes < lagBytes {
		i--
		bytes += t.runs[i].bytes
	}
	return t.runs[i:]
}

func (r *repair) hash(p *graphite.Point) uint64 {
	var h maphash.Hash
	h.SetSeed(r.seed)
	_, _ = h.Write(p.Name)
	var ts [8]byte
	binary.LittleEndian.PutUint64(ts[:], uint64(p.Timestamp))
	_, _ = h.Write(ts[:])
	return h.Sum64()
}

// run gives to each required destination what it lacks, and returns once it has that on its disk. Before that nothing
// leaves the spool of a destination that holds what another lacks: so on an error, which wraps ErrSpool, the next server
// can try again. The others deliver meanwhile, which may make room.
func (r *repair) run(s *Server) error {
	required := s.door.out.required
	lacking := make([][][]graphite.Point, len(required))
	lends := map[*destination]bool{}
	for i, d := range required {
		lacking[i] = r.lacking(d, lends)
	}
	for d, gate := range r.gates {
		if !lends[d] {
			close(gate)
		}
	}
	for i, d := range required {
		if len(lacking[i]) == 0 {
			continue
		}
		given, refused, err := s.again(d, lacking[i])
		if err != nil {
			return fmt.Errorf("%w: the last server was not closed, and destination %q does not take what only others have of it, "+
				"after %d points: %w", ErrSpool, d.outlets[0].name, given, err)
		}
		s.log.Warn("the last server was not closed: points that this destination may never have had are given to it again",
			"destination", d.outlets[0].name, "points", given, "not_taken", refused)
	}
	for d, gate := range r.gates {
		if lends[d] {
			close(gate)
		}
	}
	return nil
}

// lacking returns what d lacks of the newest that others hold, oldest first, and notes in lends who they are.
func (r *repair) lacking(d *destination, lends map[*destination]bool) (runs [][]graphite.Point) {
	held := map[uint64]bool{}
	for _, t := range r.tails {
		for _, run := range t.runs {
			for i := range run.pts {
				if t.to == d {
					held[r.hash(&run.pts[i])] = true
				}
			}
		}
	}
	for _, t := range r.tails {
		for _, run := range t.newest() {
			var pts []graphite.Point
			for i := range run.pts {
				if h := r.hash(&run.pts[i]); !held[h] {
					held[h] = true
					pts = append(pts, run.pts[i])
				}
			}
			if len(pts) > 0 {
				runs = append(runs, pts)
				lends[t.to] = true
			}
		}
	}
	return runs
}

// again gives judged points, which are pending elsewhere, to one more destination. It waits for room, for as long as
// every quarter of a megabyte finds some within Config.DrainTimeout, until all are on the disk. What is kept in memory has
// lost all that it had; it gets the newest of them that fit, and the others are refused.
func (s *Server) again(d *destination, runs [][]graphite.Point) (given, refused int, err error) {
	list := s.parcels(d, runs)
	held := make([]reservation, len(list))
	full := map[*outlet]bool{}
	for i := len(list) - 1; i >= 0; i-- {
		q := &list[i]
		if q.outlet.dir != "" || full[q.outlet] {
			continue
		}
		if held[i], err = q.outlet.client.reserve(ended, q.pts, q.tags); err != nil {
			held[i], full[q.outlet] = nil, true
		}
	}
	t := settler{door: s.door}
	for i, q := range list {
		if q.outlet.dir == "" && held[i] == nil {
			refused += len(q.pts)
			continue
		}
		t.recovered(q.pts, q.tags) // before it can be delivered
		if held[i] != nil {
			err = held[i].Send()
		} else {
			err = s.inTime(func(ctx context.Context) error { return q.outlet.client.sendAsync(ctx, q.pts, q.tags) })
		}
		if err != nil {
			return given, refused, err
		}
		given += len(q.pts)
	}
	for _, o := range d.outlets {
		if err := s.inTime(o.client.sync); err != nil {
			return given, refused, err
		}
	}
	return given, refused, nil
}

// parcels sorts the points by the outlets of d, a chunk at a time.
func (s *Server) parcels(d *destination, runs [][]graphite.Point) (list []parcel) {
	for _, pts := range runs {
		for len(pts) > 0 {
			n := chunk(pts, s.chunk)
			var p parcels
			s.door.out.pack(&p, []*destination{d}, pts[:n], bytes.Repeat([]byte{tagJudged}, n))
			list = append(list, p.list...)
			pts = pts[n:]
		}
	}
	return list
}

// inTime calls f with a context that ends after Config.DrainTimeout.
func (s *Server) inTime(f func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(s.door.life, s.cfg.DrainTimeout)
	defer cancel()
	return f(ctx)
}

// begin notes on the disk that the spools of several required destinations are in use.
func (s *Server) begin() {
	for _, path := range s.notes() {
		f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o640)
		if err == nil {
			err = f.Sync()
			f.Close()
		}
		if err == nil {
			err = syncDir(filepath.Dir(path))
		}
		if err != nil {
			s.log.Warn("if this server is killed, the next will not see it by this spool", "file", path, "error", err)
		}
	}
}

// finish takes that back, once all of them have all that they were given. A note that stays makes the next server look.
func (s *Server) finish() {
	notes := s.notes()
	if len(notes) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), DefaultRoomWait)
	defer cancel()
	if err := s.door.out.sync(ctx); err != nil {
		return
	}
	for _, path := range notes {
		_ = os.Remove(path)
	}
}

func (s *Server) notes() (paths []string) {
	if len(s.door.out.required) > 1 && s.door.filter != nil {
		for _, o := range s.door.out.spooled {
			paths = append(paths, filepath.Join(o.dir, unfinished))
		}
	}
	return paths
}

func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}
