package blueflood

import (
	"strings"

	"github.com/fluxmetrics/fluxkit/internal/deliver"
	"github.com/fluxmetrics/fluxkit/internal/record"
)

// identity is what Blueflood knows a point of one tenant by, and what its error list repeats.
type identity struct {
	name      string // as sent, with the prefix
	timestamp int64
}

// complaint is what the error list says about the points of one identity.
type complaint struct {
	entry  *ErrorEntry
	detail string
	used   bool
}

// errorIndex finds the entry that is about a point.
type errorIndex struct {
	exact map[identity]*complaint
	named map[string]*complaint // entries without a time, which older servers send
	now   int64
	win   window // what an entry about the time, without one, is judged by
}

func newErrorIndex(entries []ErrorEntry, now int64, win window) *errorIndex {
	x := &errorIndex{exact: map[identity]*complaint{}, named: map[string]*complaint{}, now: now, win: win}
	for i := range entries {
		e := &entries[i]
		if e.Timestamp != nil {
			addComplaint(x.exact, identity{e.MetricName, *e.Timestamp}, e)
		} else {
			addComplaint(x.named, e.MetricName, e)
		}
	}
	return x
}

// addComplaint files an entry under a key. A point can have several, one a rule that it breaks: the first names the
// reason, and the details are joined.
func addComplaint[K comparable](m map[K]*complaint, key K, e *ErrorEntry) {
	c := m[key]
	switch {
	case c == nil:
		m[key] = &complaint{entry: e, detail: e.Message}
	case !strings.Contains(c.detail, e.Message):
		c.detail += "; " + e.Message
	}
}

// find returns the complaint about the point, nil when there is none. name is the point's name as sent.
func (x *errorIndex) find(name []byte, timestamp int64) *complaint {
	if c := x.exact[identity{string(name), timestamp}]; c != nil {
		return c
	}
	c := x.named[string(name)]
	if c == nil || c.entry.Source == "collectionTime" && timestamp >= x.win.oldest && timestamp <= x.win.newest {
		return nil
	}
	return c
}

// explained reports whether every entry was found to be about a point, and about one alone where the list leaves it
// open.
func (x *errorIndex) explained(hits map[*complaint]int) bool {
	for _, c := range x.exact {
		if !c.used {
			return false
		}
	}
	for _, c := range x.named {
		if !c.used || c.entry.Source != "collectionTime" && hits[c] > 1 {
			return false
		}
	}
	return true
}

// match sorts the points of the request by the error list. rejected are those that will never be taken, the local ones
// among them, rest all others, both ascending. ok is false when some entry cannot be told to be about a point: then
// nothing is known.
func (r *request) match(x *errorIndex) (rejected []deliver.Rejected, rest []int, ok bool) {
	name := []byte(r.enc.prefix)
	hits := map[*complaint]int{}
	local := r.local
	var p record.Point
	c := r.batch.Cursor()
	for i := 0; c.Next(&p); i++ {
		if len(local) > 0 && local[0].Index == i {
			rejected = append(rejected, local[0])
			local = local[1:]
			continue
		}
		name = append(name[:len(r.enc.prefix)], p.Name...)
		found := x.find(name, p.Timestamp)
		if found == nil {
			rest = append(rest, i)
			continue
		}
		found.used = true
		hits[found]++
		rejected = append(rejected, deliver.Rejected{
			Index: i, Reason: found.entry.reason(p.Timestamp, x.now), Detail: found.detail,
		})
	}
	return rejected, rest, x.explained(hits)
}

// rejectAll gives up every point of the request for one reason; the local ones keep their own.
func (r *request) rejectAll(reason func(*record.Point) string, detail string) []deliver.Rejected {
	rejected := make([]deliver.Rejected, 0, r.batch.Len())
	local := r.local
	var p record.Point
	c := r.batch.Cursor()
	for i := 0; c.Next(&p); i++ {
		if len(local) > 0 && local[0].Index == i {
			rejected = append(rejected, local[0])
			local = local[1:]
			continue
		}
		rejected = append(rejected, deliver.Rejected{Index: i, Reason: reason(&p), Detail: detail})
	}
	return rejected
}
