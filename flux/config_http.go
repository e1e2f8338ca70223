package flux

import (
	"crypto/tls"
	"time"
)

// HTTPConfig configures the gateway.
type HTTPConfig struct {
	// Listen is the host:port to serve. Empty: nothing is served, and Server.Handler is there to be mounted.
	Listen string
	// Keys may send points. There must be one unless NoAuth is set. Server.SetKeys replaces them while it runs.
	Keys []Key
	// KeyMaxMetrics bounds the distinct names that one key may use in the life of the server, by a hash of 64 bits. 0: no
	// bound. Points of further names are refused, the others of their request are kept.
	KeyMaxMetrics int
	// BasicAuth are users and their passwords: where there is one, a request must name one of them by basic
	// authentication, beside its key. A valid key that comes as Authorization: Bearer stands for both. What operators ask,
	// /healthz, /readyz and /metrics, is answered to anybody.
	BasicAuth map[string]string
	// TLS serves HTTPS at Listen, in HTTP/1.1: a connection holds one request. Its GetCertificate can follow certificates
	// that change. nil: plain HTTP.
	TLS *tls.Config
	// TelegrafTemplate is what the names of telegraf's points are made of; empty means host.tags.measurement.field. See
	// ingest.Template. TelegrafUnit is what its timestamps count, its json_timestamp_units; 0 means seconds.
	TelegrafTemplate string
	TelegrafUnit     time.Duration
	// TelegrafReport answers telegraf with 207 and a list when points of its request were left out. Otherwise that is
	// logged and counted, and the answer is 204.
	TelegrafReport bool
	// NoAuth lets anybody send, whatever key comes along.
	NoAuth bool
	// AllowExampleKey lets ExampleKey be one of Keys.
	AllowExampleKey bool
	// NoGet turns the GET endpoint off, whose key ends up in the logs of every proxy on the way.
	NoGet bool
	// MaxAge and MaxFuture bound how far a timestamp may be from now. Negative: no bound.
	MaxAge, MaxFuture time.Duration
	// MaxBody bounds a request's body, in bytes after decompression.
	MaxBody int64
	// MaxBodies bounds the memory of all requests of more than 16 KiB that are being read and handled, in bytes: bodies as
	// they came and decoded, decoders, and what is made of them. What finds no room there is answered 503. One request may
	// have half of it, and so may all together whose key is not known yet, since it stands in the body: one in a header or
	// in the query is looked at first. Default 64 MiB, or four times MaxBody.
	//
	// A body that has such memory must go on arriving, 64 KiB every 10 s, and any body must be there within a minute.
	MaxBodies int64
	// MaxConns bounds the connections served at one time; more wait. Of requests with a body as many may be under way:
	// in a server of one's own that speaks HTTP/2 more than that are answered 503.
	MaxConns int
	// MaxPoints bounds the points of one JSON request of Flux's own. Telegraf's and lines, which are judged one by one, are
	// bounded by their memory.
	MaxPoints int
	// RoomWait is how long a request waits for room in a full queue, and as long again for the spool's disk, before it is
	// answered 503.
	RoomWait time.Duration
}

// longestWait is how long a request that has arrived may wait before it is answered.
func (c *Config) longestWait() time.Duration {
	wait := c.Dedup.AwayWait
	if c.HTTP != nil {
		wait += 2 * c.HTTP.RoomWait
	}
	return wait
}
