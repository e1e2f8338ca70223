package dedup

import (
	_ "embed"
	"fmt"
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
	keys := make([]any, 0, size(calls))
	for _, c := range calls {
		for i := range c.marks {
			keys = append(keys, c.key(i))
		}
	}
	return r.with(func(conn redis.Conn) error {
		fields := r.hashSeen.Load()
		commands := []command{{"EXISTS", []any{hashKey}}, {"MGET", keys}}
		if fields {
			commands = append(commands, command{"HMGET", hashArgs(keys)})
		}
		replies, err := r.pipeline(conn, commands)
		if err != nil {
			return err
		}
		exists, err := redis.Bool(replies[0], nil)
		if err != nil {
			return err
		}
		r.hashSeen.Store(exists)
		texts, err := values(replies[1], len(keys))
		if err != nil {
			return err
		}
		if exists && !fields {
			more, err := r.pipeline(conn, []command{{"HMGET", hashArgs(keys)}})
			if err != nil {
				return err
			}
			replies = append(replies, more...)
		}
		var dicts []any
		if len(replies) > 2 && replies[2] != nil { // nil: no hash; Skyline reads the string then
			if dicts, err = values(replies[2], len(keys)); err != nil {
				return err
			}
		}
		readMarks(calls, texts, dicts)
		return nil
	})
}

// command is a command with its arguments.
type command struct {
	name string
	args []any
}

// hashArgs returns HMGET's arguments for the metrics of some string keys.
func hashArgs(keys []any) []any {
	args := make([]any, 1, len(keys)+1)
	args[0] = hashKey
	for _, k := range keys {
		args = append(args, k.([]byte)[len(keyPrefix):])
	}
	return args
}

// pipeline sends commands and reads their replies, in one round trip. A command
// for another type than its key holds has a nil reply.
func (r *Redis) pipeline(conn redis.Conn, commands []command) ([]any, error) {
	for _, c := range commands {
		if err := conn.Send(c.name, c.args...); err != nil {
			return nil, err
		}
	}
	if err := conn.Flush(); err != nil {
		return nil, err
	}
	var failed error
	replies := make([]any, len(commands), len(commands)+1)
	for i := range commands {
		v, err := conn.Receive()
		if err != nil && conn.Err() != nil {
			return nil, err
		}
		if err != nil && !isWrongType(err) && failed == nil {
			failed = err
		}
		replies[i] = v
	}
	r.trips.Add(1)
	return replies, failed
}

// values returns an array reply of the length given.
func values(reply any, n int) ([]any, error) {
	v, err := redis.Values(reply, nil)
	if err == nil && len(v) != n {
		err = fmt.Errorf("reply with %d values for %d metrics", len(v), n)
	}
	return v, err
}

// readMarks gives every mark the later of its string and its hash field.
func readMarks(calls []*call, texts, dicts []any) {
	at := 0
	for _, c := range calls {
		c.clear()
		for i := range c.marks {
			if b, _ := texts[at].([]byte); b != nil {
				if ts, v, ok := parseList(b); ok {
					c.later(i, ts, v)
				}
			}
			if dicts != nil {
				if b, _ := dicts[at].([]byte); b != nil {
					if ts, v, ok := parseDict(b); ok {
						c.later(i, ts, v)
					}
				}
			}
			at++
		}
	}
}

// raise raises the marks of all calls, or removes those of calls that say so.
func (r *Redis) raise(calls []*call) error {
	var removed [][]byte
	for _, c := range calls {
		if c.remove {
			for i := range c.marks {
				removed = append(removed, c.key(i))
			}
		}
	}
	chunks := r.raiseChunks(calls)
	return r.with(func(conn redis.Conn) error {
		commands := make([]command, 0, 2*len(removed)+len(chunks))
		for _, key := range removed {
			commands = append(commands, command{"DEL", []any{key}}, command{"HDEL", []any{hashKey, key[len(keyPrefix):]}})
		}
		for _, args := range chunks {
			args[0] = r.scriptHash
			commands = append(commands, command{"EVALSHA", args})
		}
		_, err := r.pipeline(conn, commands)
		if err == nil || !strings.HasPrefix(err.Error(), "NOSCRIPT") {
			return err
		}
		// All again, with the script: to raise twice is harmless.
		commands = commands[2*len(removed):]
		for i, args := range chunks {
			args[0] = raiseSource
			commands[i].name = "EVAL"
		}
		_, err = r.pipeline(conn, commands)
		return err
	})
}

// raiseChunks returns the arguments of one run of the script a chunk. The
// first, the script or its hash, is left open.
func (r *Redis) raiseChunks(calls []*call) [][]any {
	ttl, force := int(r.opts.TTL/time.Second), 0
	if r.opts.SkylineHash {
		force = 1
	}
	room := size(calls)
	var chunks [][]any
	var keys, texts []any
	start := func() {
		n := min(room, raiseChunk)
		keys = append(make([]any, 0, 3*n+5), nil, 0, hashKey) // and then the texts
		texts = append(make([]any, 0, 2*n+2), ttl, force)
	}
	cut := func() {
		if n := len(keys) - 2; n > 1 {
			keys[1] = n
			chunks = append(chunks, append(keys, texts...))
			start()
		}
	}
	start()
	buf := make([]byte, 0, 48*room) // slices in use keep their array if it grows
	for _, c := range calls {
		for i, m := range c.marks {
			if c.remove || m.ts == None {
				continue
			}
			from := len(buf)
			buf = appendSeconds(buf, m.ts)
			mid := len(buf)
			buf = appendList(buf, m.ts, m.value)
			keys = append(keys, c.key(i))
			texts = append(texts, buf[from:mid:mid], buf[mid:len(buf):len(buf)])
			if len(keys) == raiseChunk+3 {
				cut()
			}
		}
	}
	cut()
	return chunks
}

// isWrongType tells that a key holds another type than the command is for.
func isWrongType(err error) bool {
	return err != nil && strings.HasPrefix(err.Error(), "WRONGTYPE")
}

// size is the number of marks in all calls.
func size(calls []*call) int {
	n := 0
	for _, c := range calls {
		n += len(c.marks)
	}
	return n
}
