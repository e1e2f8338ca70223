package ingest

import "unsafe"

// What one of each takes, in bytes.
const (
	sizeRaw      = int64(unsafe.Sizeof(raw{}))
	sizeItem     = int64(unsafe.Sizeof(Item{}))
	sizeRejected = int64(unsafe.Sizeof(Rejected{}))
	sizeMetric   = int64(unsafe.Sizeof(metric{}))
	sizeTag      = int64(unsafe.Sizeof(tag{}))
	sizeSlice    = int64(unsafe.Sizeof([]byte(nil)))
)

// Footprint is how many bytes of memory the parser holds, in use or kept for the next request, without the body.
func (p *Parser) Footprint() int64 {
	s := &p.series
	return int64(cap(p.raws))*sizeRaw + int64(cap(p.items))*sizeItem + int64(cap(p.rejected))*sizeRejected +
		int64(cap(s.metrics))*sizeMetric + int64(cap(s.tags))*sizeTag + int64(cap(p.seen))*sizeSlice +
		int64(cap(p.text)+cap(s.made)) + p.outgrown
}

// grown is what a slice of that capacity takes when it grows by append, in bytes beyond what it has.
func grown(capacity int, size int64) int64 {
	if capacity < 256 {
		return int64(capacity+1) * size
	}
	return int64(capacity+3*256) / 4 * size
}

// spread asks whether the text may take the memory that it has come to. What it had before is still in use: names are
// views of it.
func (p *Parser) spread() bool {
	p.outgrown += p.textCap
	p.textCap = int64(cap(p.text))
	return p.room(0)
}

// room asks whether the parser may hold so many bytes more. If not it notes why, and the text counts as read to its end.
func (p *Parser) room(bytes int64) bool {
	if p.Hold == nil {
		return true
	}
	if e := p.Hold(p.Footprint() + bytes); e != nil {
		p.err = nil // it comes before whatever else is wrong
		p.fail(e)
		p.full = e
		return false
	}
	return true
}
