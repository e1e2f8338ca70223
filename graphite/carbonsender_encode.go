package graphite

import (
	"errors"
	"math"

	"github.com/fluxmetrics/fluxkit/internal/deliver"
	"github.com/fluxmetrics/fluxkit/internal/record"
	"github.com/fluxmetrics/fluxkit/pickle"
)

const (
	chunkSize   = 64 << 10 // bytes gathered for one write
	framePoints = 500      // points in a frame, as carbon's own relay has it
	maxLineSize = 16384    // carbon closes the connection on a longer line, its end not counted
)

// encoder writes a batch as lines or frames, a chunk at a time, and sets aside the points that Carbon cannot be given.
type encoder struct {
	protocol Protocol
	frames   pickle.Encoder

	cursor   record.Cursor
	total    int   // points of the batch
	oldest   int64 // points before it are passed over, Unix milliseconds
	written  int   // points since begin that can be sent
	rejected []deliver.Rejected

	lastTime int64  // of the line before
	lastText []byte // as the end of a line

	pts []pickle.Datapoint // of the frame that is being gathered
	at  []int              // their indices in the batch
}

func (e *encoder) begin(b record.Batch) {
	e.cursor, e.total = b.Cursor(), b.Len()
	e.rejected = e.rejected[:0]
	e.oldest, e.written = math.MinInt64, 0
}

func (e *encoder) more() bool { return e.cursor.Left() > 0 }

// index is that of the next point in the batch.
func (e *encoder) index() int { return e.total - e.cursor.Left() }

// appendChunk appends the next points, until the chunk is large enough or the batch ends.
func (e *encoder) appendChunk(dst []byte) []byte {
	for e.more() && len(dst) < chunkSize {
		if e.protocol == Line {
			dst = e.appendLine(dst)
		} else {
			dst = e.appendFrames(dst)
		}
	}
	return dst
}

// next fills in p with the next point whose value can be sent. ok is false when the batch has ended.
func (e *encoder) next(p *record.Point) (i int, ok bool) {
	for e.cursor.Next(p) {
		if p.Timestamp < e.oldest {
			continue
		}
		e.written++
		i = e.index() - 1
		if p.Value == p.Value {
			return i, true
		}
		r := checkNameBytes(p.Name)
		if r == 0 {
			r = ReasonNaN // carbon would drop it without a word
		}
		e.reject(i, r, r.Error())
	}
	return 0, false
}

// reject sets aside a point that next has met.
func (e *encoder) reject(i int, r Reason, detail string) {
	e.written--
	e.rejected = append(e.rejected, deliver.Rejected{Index: i, Reason: r.String(), Detail: detail})
}

func (e *encoder) appendLine(dst []byte) []byte {
	var p record.Point
	i, ok := e.next(&p)
	if !ok {
		return dst
	}
	if r := checkNameBytes(p.Name); r != 0 {
		e.reject(i, r, r.Error())
		return dst
	}
	start := len(dst)
	dst = append(dst, p.Name...)
	dst = append(dst, ' ')
	dst = appendValue(dst, p.Value)
	if p.Timestamp != e.lastTime || len(e.lastText) == 0 { // points of one moment come together
		e.lastTime = p.Timestamp
		e.lastText = append(appendSeconds(append(e.lastText[:0], ' '), p.Timestamp), '\n')
	}
	dst = append(dst, e.lastText...)
	if len(dst)-start > maxLineSize+1 {
		e.reject(i, ReasonTooLong, ReasonTooLong.Error())
		return dst[:start]
	}
	return dst
}

// appendFrames appends the next framePoints points.
func (e *encoder) appendFrames(dst []byte) []byte {
	if e.pts == nil {
		e.pts, e.at = make([]pickle.Datapoint, framePoints), make([]int, framePoints)
	}
	var p record.Point
	n := 0
	for ; n < framePoints; n++ {
		i, ok := e.next(&p)
		if !ok {
			break
		}
		pt := &e.pts[n] // field by field: a literal would be copied
		pt.Name, pt.Timestamp, pt.Value = p.Name, float64(p.Timestamp)/1000, p.Value
		e.at[n] = i
	}
	for pts, at := e.pts[:n], e.at; len(pts) > 0; {
		out, n, err := e.frames.AppendFrame(dst, pts)
		dst, pts, at = out, pts[n:], at[n:]
		if err == nil {
			continue
		}
		e.refuse(at[0], pts[0].Name, err)
		pts, at = pts[1:], at[1:]
	}
	return dst
}

// refuse sets aside a point that cannot stand in a frame. The frames' encoder judges names as checkNameBytes does, which
// is asked here for the reason alone.
func (e *encoder) refuse(i int, name []byte, err error) {
	switch r := checkNameBytes(name); {
	case r != 0:
		e.reject(i, r, r.Error())
	case errors.Is(err, pickle.ErrTooLarge):
		e.reject(i, ReasonTooLong, err.Error())
	default:
		e.reject(i, ReasonItem, err.Error())
	}
}
