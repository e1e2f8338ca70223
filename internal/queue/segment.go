package queue

import (
	"fmt"
	"io"
	"math"
	"path/filepath"
	"time"
)

// segment is what is known of one file of the log.
type segment struct {
	segmentID
	size   int64     // of the file
	end    int64     // records are read up to here
	last   Pos       // of the newest record; zero when there is none
	total  tally     // its records, those that were acknowledged before Open left out
	gone   tally     // the acknowledged ones of them
	ackOff int64     // records before it are acknowledged
	headAt time.Time // when the oldest pending record was appended
	judged int64     // damage before it is counted already
	listed bool      // has been put in disk.segs
	dead   bool      // has been taken out of it
	hard   bool      // the medium did not give all of it back
}

// pending counts the records that are neither acknowledged nor dropped nor lost.
func (g *segment) pending() tally { return g.total.less(g.gone) }

// survey counts the pending records, those after acked and before limit, and finds out where they begin and end.
func (g *segment) survey(s *scanner, acked, limit Pos) {
	g.total, g.last, g.ackOff, g.end = tally{}, 0, 0, 0
	for {
		h, _, off, ok := s.next()
		if !ok || h.pos >= limit {
			break
		}
		g.last, g.end = h.pos, off+h.size()
		if h.pos <= acked {
			g.ackOff = g.end
			continue
		}
		if g.total.records == 0 {
			g.headAt, g.ackOff = h.at, off
		}
		g.total.add(1, int64(h.points), h.size())
	}
	g.judged = g.end
}

// Report tells what stands in a directory.
type Report struct {
	Segments int       // files that hold a pending record
	Records  int       // pending
	Points   int64     // of the pending records
	Bytes    int64     // of the pending records, headers included
	Oldest   time.Time // when the oldest pending record was appended; zero when there is none
	Acked    Pos       // what stands up to here was acknowledged

	Damaged      int   // places where one record or, when its header is damaged too, adjacent ones were passed over
	DamagedBytes int64 // their size
	TornBytes    int64 // behind the last record of a file: a write that a crash or a failure cut short
	Gaps         []Gap // the first hundred, damaged and torn
}

// Gap is a stretch of a segment that holds no valid record.
type Gap struct {
	File       string // its name within the directory
	Offset     int64
	Bytes      int64
	Torn       bool // an unfinished write at the file's end, which is normal after a crash
	Unreadable bool // the medium did not give back some of it, or of the 256 KiB about it
}

const maxGaps = 100

// merge adds the gaps of o.
func (r *Report) merge(o *Report) {
	r.Damaged += o.Damaged
	r.DamagedBytes += o.DamagedBytes
	r.TornBytes += o.TornBytes
	r.Gaps = append(r.Gaps, o.Gaps[:min(len(o.Gaps), maxGaps-len(r.Gaps))]...)
}

func (r *Report) add(name string, g gap) {
	if g.tail {
		r.TornBytes += g.n
	} else {
		r.Damaged++
		r.DamagedBytes += g.n
	}
	if len(r.Gaps) < maxGaps {
		r.Gaps = append(r.Gaps, Gap{File: name, Offset: g.off, Bytes: g.n, Torn: g.tail, Unreadable: g.hard})
	}
}

// survey reads all segments of a directory. It returns them, oldest first, those without records too, and the position
// of the newest record there ever was.
func survey(fs fileSystem, dir string) (segs []*segment, rep Report, newest Pos, err error) {
	ids, err := listSegments(fs, dir)
	if err != nil {
		return nil, rep, 0, err
	}
	mark, marked := readAck(fs, dir)
	if marked {
		newest = mark.pos
	}
	known := false
	for _, id := range ids {
		known = known || marked && id.ordinal == mark.ordinal && id.nonce == mark.nonce
	}
	reps := make([]Report, len(ids))
	limit := Pos(math.MaxUint64)
	segs = make([]*segment, len(ids))
	for i := len(ids) - 1; i >= 0; i-- { // the newest first: what it begins with ends those before it
		acked := Pos(0)
		if known && ids[i].ordinal <= mark.ordinal {
			acked = math.MaxUint64
			if ids[i].ordinal == mark.ordinal {
				acked = mark.pos
			}
		}
		if segs[i], err = readSegment(fs, dir, ids[i], acked, limit, &reps[i]); err != nil {
			return nil, rep, 0, err
		}
		if segs[i].last > 0 {
			limit = min(limit, ids[i].first)
			newest = max(newest, segs[i].last)
		}
	}
	for i, seg := range segs {
		rep.merge(&reps[i])
		if seg.total.records == 0 {
			continue
		}
		if rep.Records == 0 {
			rep.Oldest = seg.headAt
		}
		rep.Segments++
		rep.Records += seg.total.records
		rep.Points += seg.total.points
		rep.Bytes += seg.total.bytes
	}
	if known {
		rep.Acked = mark.pos
	}
	return segs, rep, newest, nil
}

func readSegment(fs fileSystem, dir string, id segmentID, acked, limit Pos, rep *Report) (*segment, error) {
	f, err := fs.Open(filepath.Join(dir, id.name()))
	if missing(err) { // the directory is in use
		return &segment{segmentID: id}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDisk, err)
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDisk, err)
	}
	s := id.scan(f, size)
	seg := &segment{segmentID: id, size: size}
	s.skipped = func(g gap) {
		seg.hard = seg.hard || g.hard
		rep.add(id.name(), g)
	}
	seg.survey(&s, acked, limit)
	return seg, nil
}

// scan returns a scanner of the segment's first size bytes.
func (id segmentID) scan(f io.ReaderAt, size int64) scanner {
	return scanner{f: f, nonce: id.nonce, end: size, last: max(id.first, 1) - 1}
}
