package blueflood

import (
	"encoding/binary"
	"fmt"
	"time"

	"github.com/fluxmetrics/fluxkit/internal/record"
)

// Metric is one datapoint.
//
// Name is a view into memory of whoever made the metric: Send and Ingest copy it, and in Delivered and Failed it is
// valid until the callback returns.
type Metric struct {
	Name      []byte        // not empty, UTF-8; the endpoint's Prefix is put in front when it is sent
	Timestamp int64         // Unix milliseconds
	Value     float64       // finite
	TTL       time.Duration // whole seconds, 1 s to MaxTTL; zero means the endpoint's
	Unit      string        // optional free text, UTF-8
	Tag       uint8         // 0 to 127, of the caller's; handed back by Delivered and Failed, never sent
}

// Failure says why a point was given up.
type Failure struct {
	Reason string // a short fixed label, for counters: one of the Reason constants
	Detail string // more of it, for people: the server's message where there is one; may be empty
}

// Why a point was given up.
const (
	ReasonBadName     = "bad_name"    // empty, or not UTF-8
	ReasonBadValue    = "bad_value"   // not finite
	ReasonBadTTL      = "bad_ttl"     // not whole seconds within 1 s and MaxTTL
	ReasonBadUnit     = "bad_unit"    // not UTF-8
	ReasonBadTenant   = "bad_tenant"  // the server refuses the tenant
	ReasonTooBig      = "too_big"     // longer, alone, than the limit or than the server takes
	ReasonTooOld      = "too_old"     // behind the window of time that is taken
	ReasonInFuture    = "in_future"   // ahead of it
	ReasonRefused     = "refused"     // the server refuses the point and gives no reason of the above
	ReasonUnconfirmed = "unconfirmed" // the server answered five times that it cannot tell whether it stored it
)

// point fills in p with m. The extra bytes, which carry the TTL and the unit when either is set, are appended to buf,
// which is returned.
func (m *Metric) point(p *record.Point, buf []byte) ([]byte, error) {
	if m.Tag > record.MaxTag {
		return buf, fmt.Errorf("blueflood: tag %d of metric %q is more than %d", m.Tag, m.Name, record.MaxTag)
	}
	*p = record.Point{Name: m.Name, Timestamp: m.Timestamp, Value: m.Value, Tag: m.Tag}
	if m.TTL != 0 || m.Unit != "" {
		buf = binary.AppendVarint(buf[:0], int64(m.TTL))
		buf = append(buf, m.Unit...)
		p.Extra = buf
	}
	return buf, nil
}

// extra takes apart the extra bytes of a point. The unit is a view.
func extra(p *record.Point) (ttl time.Duration, unit []byte) {
	if len(p.Extra) == 0 {
		return 0, nil
	}
	n, w := binary.Varint(p.Extra)
	if w <= 0 {
		return -1, nil
	}
	return time.Duration(n), p.Extra[w:]
}

// appendMetrics appends the points of b to dst. Names are views into b.
func appendMetrics(dst []Metric, b record.Batch) []Metric {
	var p record.Point
	for c := b.Cursor(); c.Next(&p); {
		ttl, unit := extra(&p)
		dst = append(dst, Metric{
			Name: p.Name, Timestamp: p.Timestamp, Value: p.Value, TTL: ttl, Unit: string(unit), Tag: p.Tag,
		})
	}
	return dst
}
