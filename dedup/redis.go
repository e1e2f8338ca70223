package dedup

import (
	"context"
	"crypto/sha1"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// Redis key names, Skyline's.
const (
	keyPrefix = "flux.last."            // + metric: a string, "[1478021700, 1.0]"
	hashKey   = "flux.last.metric_data" // a hash, metric: "{'timestamp': 1478021700, 'value': 1.0}"
)

// RedisOptions are the settings of a Redis store that its URL does not tell.
// The zero value is the default.
type RedisOptions struct {
	// Username and Password, where not empty, replace those of the URL.
	Username, Password string
	// TLS is the configuration for rediss URLs; nil means Go's default. An
	// empty ServerName means the URL's host.
	TLS *tls.Config
	// TTL is the life of a string key after each rise, in whole seconds, at
	// least one; 0 means no end, as the first Flux had it. Today's Skyline uses
	// an hour. A metric that is silent for longer has no mark, save in the hash.
	TTL time.Duration
	// SkylineHash writes the hash flux.last.metric_data, in which today's
	// Skyline looks first, also where the server has no such hash. One that
	// exists is always written. Nothing ever removes its fields.
	SkylineHash bool
	// Conns bounds the connections that look marks up at the same time; one
	// more raises them. 0 means 2. Calls that find none free share the next
	// round trip.
	Conns int
	// DialTimeout bounds connecting, with the TLS handshake and the login; 0
	// means 2 s.
	DialTimeout time.Duration
	// Timeout bounds each wait for the server, to take a request and to send a
	// reply; 0 means 2 s.
	Timeout time.Duration
}

// Redis is a Store in a Redis server of version 4 or later. Keys and encodings
// are Skyline's, so that both can share one server, and any number of gateways:
//
//	flux.last.<metric>      string  [1478021700, 1.0]
//	flux.last.metric_data   hash    <metric> -> {'timestamp': 1478021700, 'value': 1.0}
//
// The mark read is the later of the two. What Skyline could not read is no mark;
// a value of None is read as NaN, and a value that is not finite is written as
// None. Timestamps are whole seconds as integers, others as floats.
//
// A call costs one round trip whatever the number of metrics: MGET, and HMGET
// where there is a hash, to look up; a script for every 500 metrics to raise, all
// sent together. One more is needed when the hash has just appeared, or when the
// server has lost the script. Calls that wait for a connection are merged. Redis
// Cluster, where a script's keys must share a slot, is not supported.
//
// Every failure to get an answer, an error reply included, is ErrUnavailable,
// unless the caller's context ended first. A call that was given up because of
// its context may still take effect.
//
// A server that refuses connections is found out at once, one that hangs after
// Timeout, after DialTimeout more if a connection had to be made, and the calls
// that waited behind the one that found out fail with it. Nothing goes on in the
// background meanwhile: the next call tries to connect, and finds the server when
// it is back.
type Redis struct {
	opts   RedisOptions
	target redisTarget
	// scriptHash names raise.lua to the server.
	scriptHash string

	lookups lane
	raises  lane
	refs    []markRef // of the run that raises
	unused  sync.Pool // *call

	mu     sync.Mutex
	idle   []*redisConn
	broken int // generation: connections of an earlier one are not reused

	hashSeen atomic.Bool // the hash existed at the last lookup

	ctx    context.Context
	cancel context.CancelFunc
	trips  atomic.Uint64
	dials  atomic.Uint64
}

// RedisStats is a snapshot of a Redis store.
type RedisStats struct {
	RoundTrips uint64 // requests that were answered, whole batches
	Dials      uint64 // connections made
}

// NewRedis returns a store for the server at url. It does not connect: the
// first call does, and every call after a failure. The forms are
//
//	redis://[[user]:password@]host[:port][/db]     TCP, port 6379
//	rediss://[[user]:password@]host[:port][/db]    TLS over TCP
//	unix://[[user]:password@]/path/to.sock[?db=N]  unix socket
//
// db is a decimal number and defaults to 0; user and password are
// percent-encoded. Anything else in a URL is refused, in words that do not
// repeat the password.
func NewRedis(url string, opts RedisOptions) (*Redis, error) {
	target, err := parseRedisURL(url)
	if err != nil {
		return nil, err
	}
	if opts.Username != "" {
		target.user = opts.Username
	}
	if opts.Password != "" {
		target.password = opts.Password
	}
	if target.user != "" && target.password == "" {
		return nil, errors.New("dedup: redis: a user without a password")
	}
	if opts.TTL < 0 || opts.TTL > 0 && opts.TTL < time.Second {
		return nil, fmt.Errorf("dedup: redis: TTL %v: must be 0 or at least 1s", opts.TTL)
	}
	if opts.Conns <= 0 {
		opts.Conns = 2
	}
	if opts.DialTimeout <= 0 {
		opts.DialTimeout = 2 * time.Second
	}
	if opts.Timeout <= 0 {
		opts.Timeout = 2 * time.Second
	}
	sum := sha1.Sum([]byte(raiseSource))
	r := &Redis{opts: opts, target: target, scriptHash: hex.EncodeToString(sum[:])}
	r.ctx, r.cancel = context.WithCancel(context.Background())
	r.lookups = lane{run: r.lookUp, max: opts.Conns}
	r.raises = lane{run: r.raise, max: 1}
	return r, nil
}

// Last implements Store.
func (r *Redis) Last(ctx context.Context, m []Mark) error {
	if len(m) == 0 {
		return nil
	}
	c := r.newCall(m)
	if err := r.lookups.do(ctx, c); err != nil {
		return fmt.Errorf("dedup: redis: look up %d marks: %w", len(m), err)
	}
	for i := range m {
		m[i].Timestamp, m[i].Value = c.marks[i].ts, c.marks[i].value
	}
	r.unused.Put(c)
	return nil
}

// Raise implements Store.
func (r *Redis) Raise(ctx context.Context, m []Mark) error {
	if len(m) == 0 {
		return nil
	}
	c := r.newCall(m)
	if err := r.raises.do(ctx, c); err != nil {
		return fmt.Errorf("dedup: redis: raise %d marks: %w", len(m), err)
	}
	r.unused.Put(c)
	return nil
}

// Close ends what is under way, waits for it, and closes the connections.
// Calls afterwards fail with ErrUnavailable.
func (r *Redis) Close() error {
	r.cancel()
	r.lookups.close()
	r.raises.close()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.dropIdle()
	return nil
}

// Stats returns the store's figures.
func (r *Redis) Stats() RedisStats {
	return RedisStats{RoundTrips: r.trips.Load(), Dials: r.dials.Load()}
}
