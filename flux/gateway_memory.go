package flux

import (
	"fmt"
	"net/http"
	"sync"
	"time"
	"unsafe"

	"github.com/fluxmetrics/fluxkit/flux/ingest"
	"github.com/fluxmetrics/fluxkit/graphite"
)

const (
	firstBody    = 4 << 10  // where a body's buffer begins
	smallBody    = 16 << 10 // what a request takes for nothing
	decoderBytes = 96 << 10 // what a decoder takes, while it decodes
)

// keptSizes are how large exchanges are that wait for another request, by the pool where they do. Larger ones are left
// to the garbage collector.
var keptSizes = [...]int64{smallBody, 256 << 10, 4 << 20}

const (
	smallPool  = iota // for bodies that are short
	middlePool        // for those of whom nobody knows yet who sends them
	largePool
)

// exchange is what one request needs, kept for the next.
type exchange struct {
	parser ingest.Parser
	zipped []byte // the body as it came, if it is compressed
	body   []byte // the body, decoded
	extra  int64  // bytes of memory beside all that
	held   int64  // bytes that are counted for it
	known  bool   // the request has a key that is valid
	pts    []graphite.Point
	fill   []bool   // of pts
	kept   int      // points that the door took
	over   []string // names that the key's quota left out
	quiet  bool     // points that are left out are not reported
}

// size is how many bytes of memory x has, but for its parser.
func (x *exchange) size() int64 {
	return int64(cap(x.zipped)+cap(x.body)) + x.extra + int64(cap(x.pts))*int64(unsafe.Sizeof(graphite.Point{})+1)
}

// budget is the memory for requests that are larger than small ones. Those without a valid key have half of it, so that
// they cannot take it away from those that have one.
type budget struct {
	mu             sync.Mutex
	all, strangers int64 // in use
	most           int64
}

// take takes more bytes for a request that has so many. It never waits.
func (b *budget) take(more int64, known bool) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.all+more > b.most || !known && b.strangers+more > b.most/2 {
		return false
	}
	b.all += more
	if !known {
		b.strangers += more
	}
	return true
}

func (b *budget) give(n int64, known bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.all -= n
	if !known {
		b.strangers -= n
	}
}

// adopt counts n bytes of a stranger as those of one that is known.
func (b *budget) adopt(n int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.strangers -= n
}

// reasonBusy is the label of requests that find no memory.
const reasonBusy = "busy"

// errBusy is returned when other requests take all the memory that there is for large ones.
var errBusy error = &ingest.Error{
	Code: http.StatusServiceUnavailable, Message: "too many large requests at once - nothing was kept, send it again", Item: -1, Reason: reasonBusy,
}

// busyFor is how long readyz tells that requests found no memory.
const busyFor = 10 * time.Second

// hold counts the memory that x has, of which so many bytes are its parser's, until x is put back. A small request is
// free, so that large ones cannot keep it out.
func (g *gateway) hold(x *exchange, parser int64) error {
	size := x.size() + parser
	if size <= smallBody || size <= x.held {
		return nil
	}
	if half := g.memory.most / 2; size > half {
		return &ingest.Error{Code: http.StatusRequestEntityTooLarge, Item: -1, Reason: ingest.ReasonTooMany,
			Message: fmt.Sprintf("too many points - they would take more than %d bytes of memory, send fewer a request", half)}
	}
	if !g.memory.take(size-x.held, x.known) {
		g.busy.Store(g.door.now().UnixNano())
		return errBusy
	}
	x.held = size
	return nil
}

// accept notes that x has a valid key.
func (g *gateway) accept(x *exchange) {
	if !x.known {
		x.known = true
		if x.held > 0 {
			g.memory.adopt(x.held)
		}
	}
}

// exchange is for a small request.
func (g *gateway) exchange() *exchange { return g.exchangeOf(smallPool) }

// exchangeFor is for a request with a body. Its memory is counted. One that does not say how long it is begins with little:
// it may send a few bytes and no more for a long time.
func (g *gateway) exchangeFor(r *http.Request, known bool) *exchange {
	pool := largePool
	switch {
	case r.ContentLength <= smallBody:
		pool = smallPool
	case !known:
		pool = middlePool
	}
	x := g.exchangeOf(pool)
	x.known = known
	if pool != smallPool && g.hold(x, x.parser.Footprint()) != nil {
		x = g.newExchange() // which is small
		x.known = known
	}
	return x
}

// exchangeOf returns an exchange of a pool, or of one with smaller ones.
func (g *gateway) exchangeOf(pool int) *exchange {
	for ; pool >= 0; pool-- {
		if x, _ := g.pools[pool].Get().(*exchange); x != nil {
			return x
		}
	}
	return g.newExchange()
}

func (g *gateway) newExchange() *exchange {
	x := &exchange{parser: ingest.Parser{MaxPoints: g.cfg.MaxPoints}}
	x.parser.Hold = func(bytes int64) *ingest.Error { return asRefusal(g.hold(x, bytes)) }
	return x
}

// put keeps x for another request, unless it has grown too large.
func (g *gateway) put(x *exchange) {
	if x.held > 0 {
		g.memory.give(x.held, x.known)
		x.held = 0
	}
	x.extra = 0
	size := x.size() + x.parser.Footprint()
	for pool, most := range keptSizes {
		if size > most {
			continue
		}
		x.parser.Reset()
		clear(x.pts)
		clear(x.over)
		x.zipped, x.body, x.pts, x.fill, x.over = x.zipped[:0], x.body[:0], x.pts[:0], x.fill[:0], x.over[:0]
		x.known, x.kept, x.quiet = false, 0, false
		g.pools[pool].Put(x)
		return
	}
}
