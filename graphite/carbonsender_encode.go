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
	left     int
	index    int   // of the next point in the batch
	oldest   int64 // points before it are passed over, Unix milliseconds
	written  int   // points since begin that can be sent, save those found out later
	rejected []deliver.Rejected

	lastTime int64  // of the line before
	lastText []byte // as the end of a line

	pts []pickle.Datapoint // of the frame that is being gathered
	at  []int              // their indices in the batch
}

func (e *encoder) begin(b record.Batch) {
	e.cursor, e.left, e.index = b.Cursor(), b.Len(), 0
	e.rejected = e.rejected[:0]
	e.oldest, e.written = math.MinInt64, 0
}

func (e *encoder) more() bool { return e.left > 0 }

// appendChunk appends the next points, until the chunk is large enough or the batch ends.
func (e *encoder) appendChunk(dst []byte) []byte {
	for e.left > 0 && len(dst) < chunkSize {
		if e.protocol == Line {
			dst = e.appendLine(dst)
		} else {
			dst = e.appendFrames(dst)
		}
	}
	return dst
}

// next fills in p with the next point that has a name which can be sent. ok is false when the batch has ended.
func (e *encoder) next(p *record.Point) (i int, ok bool) {
	for e.cursor.Next(p) {
		i = e.index
		e.index++
		e.left--
		if p.Timestamp < e.oldest {
			continue
		}
		r := checkNameBytes(p.Name)
		if r == 0 && p.Value != p.Value {
			r = ReasonNaN // carbon would drop it without a word
		}
		if r == 0 {
			e.written++
			return i, true
		}
		e.reject(i, r, r.Error())
	}
	return 0, false
}

func (e *encoder) reject(i int, r Reason, detail string) {
	e.rejected = append(e.rejected, deliver.Rejected{Index: i, Reason: r.String(), Detail: detail})
}

func (e *encoder) appendLine(dst []byte) []byte {
	var p record.Point
	i, ok := e.next(&p)
	if !ok {
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
	e.pts, e.at = e.pts[:0], e.at[:0]
	var p record.Point
	for len(e.pts) < framePoints {
		i, ok := e.next(&p)
		if !ok {
			break
		}
		e.pts = append(e.pts, pickle.Datapoint{Name: p.Name, Timestamp: float64(p.Timestamp) / 1000, Value: p.Value})
		e.at = append(e.at, i)
	}
	for pts, at := e.pts, e.at; len(pts) > 0; {
		out, n, err := e.frames.AppendFrame(dst, pts)
		dst, pts, at = out, pts[n:], at[n:]
		if err == nil {
			continue
		}
		reason := ReasonItem
		if errors.Is(err, pickle.ErrTooLarge) {
			reason = ReasonTooLong
		}
		e.reject(at[0], reason, err.Error())
		pts, at = pts[1:], at[1:]
	}
	return dst
}
