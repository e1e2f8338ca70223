package dedup

import (
	_ "embed"
	"errors"
	"strings"
	"time"

	"github.com/gomodule/redigo/redis"
)

//go:embed raise.lua
var raiseSource string

// raiseChunk bounds the metrics of one run of the script, which blocks the
// server meanwhile and has each metric on Lua's stack twice.
const raiseChunk = 500

// lookUp fills in the marks of all calls by EXISTS, which tells whether there is
// a hash, MGET, and HMGET if there was a hash the last time, all sent together.
// A hash that has appeared since costs another round trip, once.
func (r *Redis) lookUp(calls []*call) error {
	return r.with(func(c *redisConn) error {
		for _, k := range calls {
			k.clear()
		}
		w, n, fields := c.wire, size(calls), r.hashSeen.Load()
		w.command(2, "EXISTS")
		bulk(w, hashKey)
		w.command(1+n, "MGET")
		for _, k := range calls {
			for i := range k.marks {
				bulk(w, k.key(i))
			}
		}
		if fields {
			w.askHash(calls, n)
		}
		if err := r.send(w); err != nil {
			return err
		}
		exists, failed := w.integer()
		if w.err == nil {
			failed = errors.Join(failed, ignoreWrongType(w.marks(calls, n, parseList)))
		}
		if fields && w.err == nil {
			failed = errors.Join(failed, ignoreWrongType(w.marks(calls, n, parseDict)))
		}
		if failed != nil {
			return failed
		}
		r.hashSeen.Store(exists == 1)
		if exists == 0 || fields {
			return nil
		}
		w.askHash(calls, n)
		if err := r.send(w); err != nil {
			return err
		}
		return ignoreWrongType(w.marks(calls, n, parseDict))
	})
}

// askHash adds the command that reads the hash's fields.
func (w *wire) askHash(calls []*call, n int) {
	w.command(2+n, "HMGET")
	bulk(w, hashKey)
	for _, k := range calls {
		for i := range k.marks {
			bulk(w, k.key(i)[len(keyPrefix):])
		}
	}
}

// marks reads a reply with a value for each of the calls' n metrics, and gives
// every mark the later of that and what it holds.
func (w *wire) marks(calls []*call, n int, parse func([]byte) (int64, float64, bool)) error {
	k, from := 0, 0
	return w.bulks(n, func(at int, b []byte) {
		for at-from >= len(calls[k].marks) {
			from += len(calls[k].marks)
			k++
		}
		if ts, v, ok := parse(b); ok {
			calls[k].later(at-from, ts, v)
		}
	})
}

// send is a round trip's first half; the replies are to be read.
func (r *Redis) send(w *wire) error {
	err := w.flush()
	if err == nil {
		r.trips.Add(1)
	}
	return err
}

// raise raises the marks of all calls. A call that does something else comes
// alone.
func (r *Redis) raise(calls []*call) error {
	if f := calls[0].edit; f != nil {
		return r.with(func(c *redisConn) error { return f(c) })
	}
	refs := r.refs[:0]
	for _, c := range calls {
		for i := range c.marks {
			if c.marks[i].ts != None {
				refs = append(refs, markRef{c, i})
			}
		}
	}
	if len(refs) == 0 {
		return nil
	}
	defer func() { clear(refs); r.refs = refs }()
	return r.with(func(c *redisConn) error {
		err := r.runRaise(c.wire, refs, "EVALSHA", r.scriptHash)
		var reply redis.Error
		if errors.As(err, &reply) && strings.HasPrefix(string(reply), "NOSCRIPT") {
			// All again, with the script: to raise twice is harmless.
			err = r.runRaise(c.wire, refs, "EVAL", raiseSource)
		}
		return err
	})
}

// markRef is a mark of a call.
type markRef struct {
	c *call
	i int
}

func (m markRef) ts() int64 { return m.c.marks[m.i].ts }

// runRaise runs the script for all marks, in one round trip. It returns an error
// reply, if there is any, when all have been read.
func (r *Redis) runRaise(w *wire, refs []markRef, command, script string) error {
	chunks := 0
	for from := 0; from < len(refs); from += raiseChunk {
		r.appendRaise(w, refs[from:min(from+raiseChunk, len(refs))], command, script)
		chunks++
	}
	if err := r.send(w); err != nil {
		return err
	}
	var failed error
	for range chunks {
		_, err := w.integer()
		if w.err != nil {
			return err
		}
		if failed == nil {
			failed = err
		}
	}
	return failed
}

// appendRaise adds one run of the script; raise.lua tells its arguments.
func (r *Redis) appendRaise(w *wire, refs []markRef, command, script string) {
	runs := 1
	for k := 1; k < len(refs); k++ {
		if refs[k].ts() != refs[k-1].ts() {
			runs++
		}
	}
	w.command(6+2*len(refs)+2*runs, command)
	bulk(w, script)
	w.number(1 + len(refs))
	bulk(w, hashKey)
	for _, m := range refs {
		bulk(w, m.c.key(m.i))
	}
	w.number(int(r.opts.TTL / time.Second))
	w.number(r.force())
	var seconds, text [80]byte
	for from := 0; from < len(refs); {
		ts, to := refs[from].ts(), from+1
		for to < len(refs) && refs[to].ts() == ts {
			to++
		}
		when := appendSeconds(seconds[:0], ts)
		bulk(w, when)
		w.number(to - from)
		for _, m := range refs[from:to] {
			bulk(w, appendListOf(text[:0], when, m.c.marks[m.i].value))
		}
		from = to
	}
}

// force tells the scripts whether to write the hash where there is none.
func (r *Redis) force() int {
	if r.opts.SkylineHash {
		return 1
	}
	return 0
}

// ignoreWrongType drops the error of a command for another type than the key
// holds: there is no mark, then.
func ignoreWrongType(err error) error {
	var reply redis.Error
	if errors.As(err, &reply) && strings.HasPrefix(string(reply), "WRONGTYPE") {
		return nil
	}
	return err
}

// size is the number of marks in all calls.
func size(calls []*call) int {
	n := 0
	for _, c := range calls {
		n += len(c.marks)
	}
	return n
}
