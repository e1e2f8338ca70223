package ingest

import (
	"net/http"
	"strconv"
	"time"

	"github.com/fluxmetrics/fluxkit/graphite"
)

// DefaultMaxPoints is the most points of one request when Parser.MaxPoints is 0.
const DefaultMaxPoints = 10000

// Item is one valid point.
//
// Name is final: sanitised, checked, under the key's prefix and canonical. It is a view into the request's body or the
// parser's memory, valid until the parser is used again and as long as the body is left alone. Timestamp is Unix
// milliseconds, always a whole second. Fill tells that the point asked to be taken whatever its age.
type Item struct {
	Name      []byte
	Timestamp int64
	Value     float64
	Fill      bool
}

// Request is what a request says before its points are validated. It belongs to its Parser and is valid until the
// parser's next use.
type Request struct {
	// Key is the API key, and HasKey whether there was one at all. A key that is not a string in the JSON is there but
	// empty, so that it equals none.
	Key    []byte
	HasKey bool
	// Points is how many points the request holds, good or bad: always 1 for the single form and for GET, the fields of
	// all objects for telegraf, the lines that are not blank for lines.
	Points int
	// Items are the points in order of time, those of one second in the order of the request. It is nil until Validate
	// returned nil.
	Items []Item
	// OneByOne tells that a bad point is left out and reported, where it would refuse the whole request otherwise: so it
	// is for Parser.Lines and Parser.Telegraf.
	OneByOne bool
	// Rejected are the points that were left out, in the order of the request. It is set by Validate.
	Rejected []Rejected
	// Array tells that the points came in a metrics array.
	Array bool
	// Fill tells that at least one point asks to be taken whatever its age.
	Fill bool
	// Status asks for the health answer, {"status": "ok"}. Flux answers it before it looks at the key.
	Status bool
	// Test asks what would be ingested, without ingesting it. The header x-test-only asks the same; it is the caller's
	// to read.
	Test bool
	// ValidateKey asks, in a POST, whether the key is valid and for nothing else.
	ValidateKey bool
}

// Rules are the limits on timestamps. They do not apply to points with Fill. A timestamp that is just on a limit is
// accepted.
type Rules struct {
	MaxAge    time.Duration // how old a point may be; 0 turns the limit off
	MaxFuture time.Duration // how far ahead of Now a point may be; 0 turns the limit off
	Now       time.Time     // the time of points without a timestamp, cut to the second; zero means time.Now()
}

// Parser reads one request at a time. The zero value is ready to use. Its memory is kept from one request to the next,
// so it is worth reusing, through a sync.Pool for instance; it is not for concurrent use.
//
// A warm parser allocates nothing, save for tags out of order, for numbers of more than 32 characters and for what is
// rejected. What it holds is bounded by the request: some 200 bytes for each point and its prefixed name, 160 for one
// that is rejected, the text of the body once more for each way in which names have to be rewritten, and 100 KiB for
// members. For telegraf it is 120 bytes for each object that has points, 56 for each of its tags, and the names that are
// made of them: at most 32 bytes a byte of the body and 64 KiB. In telegraf's bodies and in lines that comes to up to
// 100 bytes a byte of the body: Hold bounds it. How long a body may be is the caller's to limit.
type Parser struct {
	// MaxPoints is the most points that one request may hold which is taken whole or not at all; 0 means
	// DefaultMaxPoints. Where points are judged one by one there is no such limit.
	MaxPoints int
	// Hold, unless nil, is asked before the parser takes more memory, with how many bytes it will hold then. Its error
	// refuses the request: Query, JSON, Telegraf, Lines or Validate return it.
	Hold func(bytes int64) *Error

	req      Request
	raws     []raw      // the points as they were written, in the order of the request; zero beyond its end
	items    []Item     // memory for req.Items
	rejected []Rejected // memory for req.Rejected
	text     []byte     // unescaped and rewritten text; only ever appended to during a request
	textCap  int64      // what text took when that was looked at last
	outgrown int64      // what it took before, while views of it are in use
	shape    *Error     // what is wrong with the form of the request; told by Validate
	fault    fault      // of the point that was judged last, if it is bad
	made     []byte     // the name of the point that is judged, if it is telegraf's
	source   source

	series series              // what telegraf's objects say
	lines  graphite.LineParser // for the lines that are laid out as usual

	b     []byte   // the body
	i     int      // where in it the parser is
	depth int      // how many objects and arrays are open
	seen  [][]byte // the names of the members of the objects that are open
	err   *Error   // why the body could not be read
	full  *Error   // what Hold said, if it refused
}

// keepText is how much text memory a parser keeps from one request to the next, in bytes.
const keepText = 1 << 20

// Reset lets go of the last request and its body. It is for a caller that keeps parsers idle; every parse begins with
// one.
func (p *Parser) Reset() {
	clear(p.raws)
	clear(p.items)
	clear(p.rejected)
	clear(p.seen)
	p.raws, p.items, p.rejected, p.seen = p.raws[:0], p.items[:0], p.rejected[:0], p.seen[:0]
	if p.source == fromTelegraf {
		p.series.reset()
	}
	clear(p.lines.Rows)
	if cap(p.text) > keepText {
		p.text = nil
	}
	p.text = p.text[:0]
	p.textCap, p.outgrown = int64(cap(p.text)), 0
	p.req = Request{}
	p.shape, p.err, p.full = nil, nil, nil
	p.fault, p.made = fault{}, nil
	p.source = fromBody
	p.b, p.i, p.depth = nil, 0, 0
}

func (p *Parser) maxPoints() int {
	if p.MaxPoints > 0 {
		return p.MaxPoints
	}
	return DefaultMaxPoints
}

// next is memory for another point, zeroed, or nil if the request has too many or there is no room.
func (p *Parser) next() *raw {
	if len(p.raws) == p.maxPoints() && p.source == fromBody {
		p.tooMany()
		return nil
	}
	if len(p.raws) == cap(p.raws) && !p.room(grown(cap(p.raws), sizeRaw)) {
		return nil
	}
	p.raws = append(p.raws, raw{})
	return &p.raws[len(p.raws)-1]
}

func (p *Parser) tooMany() {
	p.fail(&Error{Code: http.StatusRequestEntityTooLarge, Item: -1, Reason: ReasonTooMany,
		Message: "too many points - more than " + strconv.Itoa(p.maxPoints()) + " in one request"})
}

// source is what a request came as.
type source uint8

const (
	fromBody source = iota // Flux's own JSON
	fromQuery
	fromTelegraf
	fromLines
)

// raw is a point as it was written. For telegraf, name is that of the field until the point is judged. A timestamp and a
// value that were read along the way need not be kept as they were written. What that leaves stands together.
type raw struct {
	name      token
	seconds   int64   // of time, if timeRead
	number    float64 // of value, if valueRead
	item      int32   // which object of the array, or which line, it stood in
	of        int32   // which of telegraf's objects it is a field of, counted from 1; 0 for other points
	whole     kind    // what stood for the point: an object, or what stood there instead of one
	fill      bool
	clean     bool // the name needs no rewriting and no check, but for the prefix
	timeRead  bool // the timestamp is plain digits and was read along the way
	timeText  bool // it was text
	valueRead bool // the value was read along the way

	time, value token
}

// token is a value as it was written: of a string the text without quotes and escapes, of everything else what stands
// in the body.
type token struct {
	text []byte
	kind kind
}

// kind is a JSON type, or what stands in a line. The parameters of a query are strings.
type kind uint8

const (
	absent kind = iota
	null
	truth // true
	untruth
	number
	text
	array
	object
	bareWord  // a value or a timestamp of a line: text without whitespace around it
	malformed // a line that has not three fields
	tooLong   // a line over the limit
)
