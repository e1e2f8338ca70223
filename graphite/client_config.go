package graphite

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"time"
)

// Protocol is how points are written to Carbon.
type Protocol int

const (
	// Pickle is carbon's batch protocol, usually port 2004: many points a frame, values and times as floats.
	Pickle Protocol = iota
	// Line is carbon's plaintext protocol, usually port 2003: one line a point.
	Line
)

// String returns "pickle" or "line".
func (p Protocol) String() string {
	switch p {
	case Pickle:
		return "pickle"
	case Line:
		return "line"
	}
	return fmt.Sprintf("Protocol(%d)", int(p))
}

// ClientConfig configures a Client. Only Addrs is required; the zero value of every other field means its default.
type ClientConfig struct {
	// Addrs are the destinations in order of preference, each host:port or unix:/path. With several, a connection goes
	// to the first that can be reached; since connections are short, the client is back at an earlier one soon after
	// that is up again.
	Addrs []string
	// Protocol is Pickle (the default) or Line.
	Protocol Protocol
	// TLS encrypts TCP connections when it is set. ServerName defaults to the host of the address.
	TLS *tls.Config

	// DialTimeout bounds one attempt to connect, the TLS handshake included. Default 5 s.
	DialTimeout time.Duration
	// StallTimeout is how long a connection may go without a TCP acknowledgement while one is due before it is given
	// up. A peer whose kernel answers window probes is slow, not gone, and keeps its connection. Default 60 s.
	StallTimeout time.Duration
	// SlowAfter is how long a write or a confirmation may take before Stats calls the peer slow. Default 10 s.
	SlowAfter time.Duration

	// MemoryMax bounds the queue, in bytes of encoded points, when it is kept in memory. Default 16 MiB.
	MemoryMax int64
	// SpoolDir is a directory that keeps the queue, created where it is missing, so that what a Send has kept outlives
	// the process and a loss of power. One client at a time can have it, and NewClient delivers what the last one left
	// there; what was on its way when a process was killed arrives twice. Empty: the queue is kept in memory.
	SpoolDir string
	// SpoolMax bounds the files in SpoolDir, in bytes: 64 KiB at least. Default 8 GiB.
	SpoolMax int64
	// DropOldest makes a Send that finds no room drop the oldest points that are not on their way, a file of up to a
	// sixteenth of SpoolMax at a time, instead of waiting. Where there are none, its own are dropped. All are counted as
	// Dropped.
	DropOldest bool
	// Recovered is called by NewClient, before anything is delivered, with the points that SpoolDir held, oldest first,
	// a run at a time, under the rules of Delivered. Damaged ones are left out.
	Recovered func(pts []Point, tags []byte)
	// DeadLetter is a file to which points that were given up are appended, a JSON object a line, before Failed is told
	// of them; its folder must exist. While that fails the client keeps them, and sends nothing else. DeadLetterMax
	// bounds it, in bytes: the oldest are dropped first, and counted. Default 64 MiB.
	DeadLetter    string
	DeadLetterMax int64

	// ConfirmBytes and ConfirmAfter say when the client half-closes a connection to have its bytes confirmed: after so
	// many bytes of points, or so long after the first unconfirmed one. Defaults 4 MiB and 2 s.
	ConfirmBytes int
	ConfirmAfter time.Duration
	// AssumeAfter is how long a peer that never answered a half-close may leave one unanswered, counted from when its
	// kernel had acknowledged everything, before its bytes count as delivered (and as assumed). Such a peer takes no more
	// than ConfirmBytes in that time, since one connection follows the other. Default 30 s.
	AssumeAfter time.Duration

	// MaxReplayAge gives up, as failed with the reason "replay_age", points whose timestamp is further in the past than
	// that, when they would be sent a second time because a connection broke: a point that is replayed after it has left
	// whisper's first archive replaces the rolled-up value there. Zero sends them again whatever their age.
	MaxReplayAge time.Duration
	// ResendOnReconnect sends what was confirmed within that time before a failure once more, when Carbon is back: what
	// carbon-cache has read, and so confirmed, it holds in memory for a while, and loses when it is killed. A failure is a
	// connection that breaks or is refused: a Carbon that is killed and back while none is open, as between the bursts of
	// a sparse sender, is not noticed. The points are kept in memory for that, MemoryMax bytes at most, the oldest dropped
	// first. Zero: nothing is sent again.
	ResendOnReconnect time.Duration

	// BackoffMin and BackoffMax bound the wait after a failure, which doubles each time. Defaults 100 ms and 5 s.
	BackoffMin, BackoffMax time.Duration

	// Delivered is called once points are confirmed, in the order in which they were sent. tags[i] belongs to pts[i].
	// The slices and the names are valid during the call. It is called from the client's own goroutine: delivery waits
	// for it. It must not call Flush or Close.
	Delivered func(pts []Point, tags []byte)
	// Failed is called with points that were given up, under the same rules, before Delivered is with those that were
	// confirmed together with them. reasons[i] belongs to pts[i]. After an error the client keeps them all, sends nothing
	// else, and calls Failed again after a backoff, with the same points.
	Failed func(pts []Point, tags []byte, reasons []Failure) error

	// Logger receives what an operator should know. nil is silent.
	Logger *slog.Logger
}

// withDefaults checks the configuration and fills in what was left empty.
func (cfg ClientConfig) withDefaults() (ClientConfig, error) {
	if len(cfg.Addrs) == 0 {
		return cfg, errors.New("graphite: ClientConfig.Addrs is empty: name a destination as host:port or unix:/path")
	}
	for _, addr := range cfg.Addrs {
		if err := checkAddr(addr); err != nil {
			return cfg, err
		}
	}
	if cfg.Protocol != Pickle && cfg.Protocol != Line {
		return cfg, fmt.Errorf("graphite: ClientConfig.Protocol is %v, neither Pickle nor Line", cfg.Protocol)
	}
	for _, d := range []struct {
		name  string
		value *time.Duration
		empty time.Duration
	}{
		{"DialTimeout", &cfg.DialTimeout, 5 * time.Second},
		{"StallTimeout", &cfg.StallTimeout, time.Minute},
		{"SlowAfter", &cfg.SlowAfter, 10 * time.Second},
		{"ConfirmAfter", &cfg.ConfirmAfter, 2 * time.Second},
		{"AssumeAfter", &cfg.AssumeAfter, 30 * time.Second},
		{"BackoffMin", &cfg.BackoffMin, 100 * time.Millisecond},
		{"BackoffMax", &cfg.BackoffMax, max(5*time.Second, cfg.BackoffMin)},
	} {
		if *d.value < 0 {
			return cfg, fmt.Errorf("graphite: ClientConfig.%s is %v, less than nothing", d.name, *d.value)
		}
		if *d.value == 0 {
			*d.value = d.empty
		}
	}
	if cfg.MaxReplayAge < 0 || cfg.ResendOnReconnect < 0 {
		return cfg, fmt.Errorf("graphite: ClientConfig.MaxReplayAge is %v and ResendOnReconnect %v: neither can be less than nothing",
			cfg.MaxReplayAge, cfg.ResendOnReconnect)
	}
	if cfg.BackoffMax < cfg.BackoffMin {
		return cfg, fmt.Errorf("graphite: ClientConfig.BackoffMax is %v, less than BackoffMin, %v", cfg.BackoffMax, cfg.BackoffMin)
	}
	if err := cfg.checkQueue(); err != nil {
		return cfg, err
	}
	if cfg.ConfirmBytes == 0 {
		cfg.ConfirmBytes = 4 << 20
	}
	// The queue forgets on confirmation alone: one that filled up first would stand still until ConfirmAfter.
	cfg.ConfirmBytes = int(min(int64(cfg.ConfirmBytes), cfg.queueMax()/4))
	if cfg.ConfirmBytes < 0 {
		return cfg, fmt.Errorf("graphite: ClientConfig.ConfirmBytes is %d, less than nothing", cfg.ConfirmBytes)
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return cfg, nil
}

func checkAddr(addr string) error {
	if path, ok := strings.CutPrefix(addr, "unix:"); ok {
		if path == "" {
			return fmt.Errorf("graphite: address %q names no path", addr)
		}
		return nil
	}
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return fmt.Errorf("graphite: address %q is neither host:port nor unix:/path: %w", addr, err)
	}
	if host == "" || port == "" {
		return fmt.Errorf("graphite: address %q lacks its host or its port", addr)
	}
	return nil
}
