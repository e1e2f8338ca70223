package dedup

import (
	"context"
	_ "embed"
	"fmt"
	"time"
)

//go:embed set.lua
var setSource string

// Get implements Editor. Stored.Texts are the string key and the hash field, as
// far as they exist.
func (r *Redis) Get(ctx context.Context, metric []byte) (Stored, error) {
	s := Stored{Mark: absent(append([]byte(nil), metric...))}
	key := keyPrefix + string(metric)
	var replies []any
	err := r.edit(ctx, func(c *redisConn) (err error) {
		replies, err = pipeline(c, command{"GET", []any{key}}, command{"PTTL", []any{key}}, command{"HGET", []any{hashKey, string(s.Mark.Metric)}})
		return err
	})
	if err != nil {
		return Stored{}, fmt.Errorf("dedup: redis: get a mark: %w", err)
	}
	if text, ok := replies[0].([]byte); ok {
		t := s.read(key, "", text, parseList)
		if ms, _ := replies[1].(int64); ms > 0 {
			t.TTL = time.Duration(ms) * time.Millisecond
		}
	}
	if text, ok := replies[2].([]byte); ok {
		s.read(hashKey, string(metric), text, parseDict)
	}
	return s, nil
}

// read adds what is stored in one place.
func (s *Stored) read(key, field string, text []byte, parse func([]byte) (int64, float64, bool)) *Text {
	t := Text{Key: key, Field: field, Value: string(text), Mark: absent(s.Mark.Metric)}
	if ts, v, ok := parse(text); ok {
		t.Mark.Timestamp, t.Mark.Value = ts, v
		if ts > s.Mark.Timestamp {
			s.Mark = t.Mark
		}
	}
	s.Texts = append(s.Texts, t)
	return &s.Texts[len(s.Texts)-1]
}

// Set implements Editor. String key and hash are written as Raise writes them,
// at once.
func (r *Redis) Set(ctx context.Context, m Mark) error {
	if m.Timestamp == None {
		return r.Remove(ctx, m.Metric)
	}
	args := []any{
		setSource, 2, hashKey, keyPrefix + string(m.Metric), int(r.opts.TTL / time.Second), r.force(),
		appendList(nil, m.Timestamp, m.Value), append([]byte(nil), m.Metric...), appendDict(nil, m.Timestamp, m.Value),
	}
	err := r.edit(ctx, func(c *redisConn) error {
		_, err := pipeline(c, command{"EVAL", args})
		return err
	})
	if err != nil {
		return fmt.Errorf("dedup: redis: set a mark: %w", err)
	}
	return nil
}

// Remove implements Editor. It deletes the string key and the hash field.
func (r *Redis) Remove(ctx context.Context, metric []byte) error {
	name := string(metric)
	err := r.edit(ctx, func(c *redisConn) error {
		_, err := pipeline(c, command{"DEL", []any{keyPrefix + name}}, command{"HDEL", []any{hashKey, name}})
		return err
	})
	if err != nil {
		return fmt.Errorf("dedup: redis: remove a mark: %w", err)
	}
	return nil
}

// edit runs f between the raising of marks.
func (r *Redis) edit(ctx context.Context, f func(*redisConn) error) error {
	return r.raises.do(ctx, &call{edit: f, done: make(chan error, 1)})
}

// command is a command with its arguments.
type command struct {
	name string
	args []any
}

// pipeline sends commands and reads their replies, in one round trip. A command
// for another type than its key holds has a nil reply.
func pipeline(c *redisConn, commands ...command) ([]any, error) {
	for _, k := range commands {
		if err := c.Send(k.name, k.args...); err != nil {
			return nil, err
		}
	}
	if err := c.Flush(); err != nil {
		return nil, err
	}
	var failed error
	replies := make([]any, len(commands))
	for i := range commands {
		v, err := c.Receive()
		if err = ignoreWrongType(err); err != nil && c.broken() != nil {
			return nil, err
		}
		if failed == nil {
			failed = err
		}
		replies[i] = v
	}
	return replies, failed
}
