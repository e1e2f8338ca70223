package blueflood

import (
	"bytes"
	"compress/gzip"

	"github.com/fluxmetrics/fluxkit/internal/deliver"
	"github.com/fluxmetrics/fluxkit/internal/record"
)

// request builds ingest bodies, one after the other, in the same memory.
type request struct {
	enc   *rowEncoder
	limit int

	batch  record.Batch       // the points dealt with: those of the rows and the local ones
	rows   int                // points in the body
	local  []deliver.Rejected // points that cannot be sent; Index counts within batch
	body   *body
	plain  []byte
	time   rowTime
	packed bytes.Buffer
	zip    *gzip.Writer // nil without compression
}

func newRequest(enc *rowEncoder, limit int, compress bool) *request {
	r := &request{enc: enc, limit: limit}
	if compress {
		r.zip, _ = gzip.NewWriterLevel(nil, gzip.BestSpeed) // fails only for a level that does not exist
	}
	return r
}

// fill makes a body of points from the front of b: at most most of them, unless that is 0, and as many as the byte
// limit allows. Points that cannot be sent are put in local and do not get in the way of others.
func (r *request) fill(b record.Batch, most int, w window) {
	if r.body != nil && !r.body.idle() {
		r.plain, r.packed = nil, bytes.Buffer{}
	}
	r.rows, r.local = 0, r.local[:0]
	buf := append(r.plain[:0], '[')
	var p record.Point
	n := 0
	for c := b.Cursor(); (most == 0 || n < most) && c.Next(&p); n++ {
		f := r.enc.check(&p, w)
		if f.Reason == "" {
			end := len(buf)
			if r.rows > 0 {
				buf = append(buf, ',')
			}
			buf = r.enc.append(buf, &p, &r.time)
			if len(buf) < r.limit { // the bracket fits too
				r.rows++
				continue
			}
			buf = buf[:end]
			if r.rows > 0 {
				break
			}
			f = Failure{ReasonTooBig, "alone it is longer than the limit of a request"}
		}
		r.local = append(r.local, deliver.Rejected{Index: n, Reason: f.Reason, Detail: f.Detail})
	}
	r.batch, r.plain = b, append(buf, ']')
	if n < b.Len() {
		r.batch = b.First(n)
	}
	r.pack()
}

// pack readies the body for the wire.
func (r *request) pack() {
	r.body = &body{data: r.plain, plain: len(r.plain)}
	if r.zip == nil || r.rows == 0 {
		return
	}
	r.packed.Reset()
	r.zip.Reset(&r.packed)
	_, _ = r.zip.Write(r.plain) // a bytes.Buffer takes everything
	_ = r.zip.Close()
	r.body.data, r.body.encoding = r.packed.Bytes(), "gzip"
}
