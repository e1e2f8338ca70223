package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/fluxmetrics/fluxkit/dedup"
	"github.com/fluxmetrics/fluxkit/flux"
	"github.com/fluxmetrics/fluxkit/flux/ingest"
)

// redisOptions are for getting into a Redis.
type redisOptions struct {
	DedupPasswordFile string `group:"dedup" placeholder:"FILE" help:"File that holds the password of Redis, so that it is not on the command line."`
	DedupCA           string `group:"dedup" name:"dedup-ca" placeholder:"FILE" help:"PEM file of the authorities that may have signed the certificate of Redis, for rediss://; the system's by default."`
	DedupCert         string `group:"dedup" placeholder:"FILE" help:"PEM file of the certificate to show to Redis."`
	DedupKey          string `group:"dedup" placeholder:"FILE" help:"PEM file of that certificate's key. Default: it stands in --dedup-cert too."`
}

// storeOptions name the store of marks in a Redis.
type storeOptions struct {
	redisOptions
	DedupTTL    span `group:"dedup" name:"dedup-ttl" placeholder:"TIME" help:"Have Redis forget a metric's mark TIME after it was last raised: 1h is what today's Skyline uses. That is said of the string keys flux.last.METRIC alone: fields of the hash flux.last.metric_data stay. Default: never."`
	SkylineHash bool `group:"dedup" help:"Write the hash flux.last.metric_data too, in which today's Skyline looks first, where Redis does not have it yet. One that exists is always written. Nothing here ever removes fields of it but flux dedup rm, so that it grows with every metric there was."`
}

// dedupOptions say which points are discarded as repeated or late.
type dedupOptions struct {
	Dedup string `group:"dedup" default:"memory" placeholder:"STORE" help:"Where the newest delivered timestamp of each metric is kept: memory, off, redis://[user:password@]host:port[/db], rediss://… or unix:///path/to/socket[?db=N]. Skyline's keys are used in Redis."`

	storeOptions

	DedupMaxMetrics int      `group:"dedup" default:"1000000" placeholder:"N" help:"Most metrics whose marks are kept in memory. The least recently used is forgotten first: a point of it may then be delivered twice."`
	DedupFile       string   `group:"dedup" placeholder:"FILE" help:"Save the marks in memory to FILE every minute and at the end, and read them at the start."`
	DedupAway       string   `group:"dedup" enum:"hold,deliver,refuse" default:"hold" placeholder:"WHAT" help:"While Redis does not answer: hold points, an HTTP request for --dedup-away-wait and then answer 503; deliver them unjudged, some of them twice; or refuse them with 503 at once."`
	DedupAwayWait   span     `group:"dedup" default:"5s" placeholder:"TIME" help:"How long hold lets a request wait."`
	DedupInputs     string   `group:"dedup" enum:"http,all" default:"http" placeholder:"WHICH" help:"http: discard repeated and late points of HTTP alone; all: of the carbon inputs too."`
	DedupBypass     []string `group:"dedup" placeholder:"PREFIX" help:"Do not judge metrics under PREFIX: each of their points is delivered. Repeatable."`
	Late            string   `group:"dedup" enum:"discard,deliver" default:"discard" placeholder:"WHAT" help:"What becomes of a point that is older than the newest delivered one of its metric: discard, as Skyline does, or deliver."`
	MaxFutureCarbon span     `group:"dedup" default:"24h" placeholder:"TIME" help:"With --dedup-inputs all, reject points of the carbon inputs further ahead of now than TIME, since such a point would have all others of its metric discarded until then; 0: no limit."`
}

// openStore makes a store of what --dedup says. It is nil, and so is the error, for off.
func (o storeOptions) openStore(store string, memory *dedup.Memory) (dedup.Store, func(), error) {
	nothing := func() {}
	switch store {
	case "", "off", "memory":
		if _, err := o.tls(store); err != nil {
			return nil, nil, err
		}
		if store == "memory" {
			return memory, nothing, nil
		}
		return nil, nothing, nil
	}
	secure, err := o.tls(store)
	if err != nil {
		return nil, nil, err
	}
	if o.DedupTTL > 0 && o.DedupTTL < span(time.Second) {
		return nil, nil, errors.New("--dedup-ttl is less than a second")
	}
	opts := dedup.RedisOptions{TLS: secure, TTL: time.Duration(o.DedupTTL), SkylineHash: o.SkylineHash}
	if o.DedupPasswordFile != "" {
		password, err := readPassword(o.DedupPasswordFile)
		if err != nil {
			return nil, nil, fmt.Errorf("--dedup-password-file: %w", err)
		}
		opts.Password = password
	}
	r, err := dedup.NewRedis(store, opts)
	if err != nil {
		return nil, nil, fmt.Errorf("--dedup: use memory, off, or the URL of a Redis: %w", err)
	}
	return r, func() { r.Close() }, nil
}

// tls is the TLS configuration towards Redis, nil for Go's default.
func (o redisOptions) tls(store string) (*tls.Config, error) {
	if o.DedupCA+o.DedupCert+o.DedupKey == "" {
		return nil, nil
	}
	if !strings.HasPrefix(strings.ToLower(store), "rediss:") {
		return nil, errors.New("--dedup-ca, --dedup-cert and --dedup-key are for a Redis with TLS: --dedup rediss://HOST:PORT")
	}
	return tlsFiles{"--dedup-", o.DedupCA, o.DedupCert, o.DedupKey}.config()
}

// describe is the store for people, without secrets.
func (o storeOptions) describe(store string) string {
	u, err := url.Parse(store)
	if err != nil {
		return "(not shown)"
	}
	u.User = nil
	var with []string
	if strings.EqualFold(u.Scheme, "rediss") {
		with = append(with, "TLS, verified by "+cmp.Or(o.DedupCA, "the system's authorities"))
		if o.DedupCert != "" {
			with = append(with, "certificate "+o.DedupCert)
		}
	}
	if o.DedupTTL > 0 {
		with = append(with, fmt.Sprintf("string keys forgotten after %v", time.Duration(o.DedupTTL)))
	}
	if o.SkylineHash {
		with = append(with, "Skyline's hash")
	}
	return strings.Join(append([]string{u.String()}, with...), ", ")
}

// describe is what is judged, where marks are, and what happens when they cannot be read, for people.
func (o dedupOptions) describe(bypass []string) string {
	what := "HTTP points"
	if o.DedupInputs == "all" {
		what = "points of all inputs"
	}
	if len(bypass) > 0 {
		what += " save under " + strings.Join(bypass, ", ")
	}
	switch o.Dedup {
	case "off":
		return "nothing: repeated and late points are delivered"
	case "memory":
		where := fmt.Sprintf("in memory, at most %d metrics", o.DedupMaxMetrics)
		if o.DedupFile != "" {
			where += ", saved in " + o.DedupFile
		}
		return fmt.Sprintf("%s by marks %s; late points: %s", what, where, o.Late)
	}
	away := o.DedupAway
	if away == "hold" {
		away = fmt.Sprintf("hold, an HTTP request for at most %v", time.Duration(o.DedupAwayWait))
	}
	return fmt.Sprintf("%s by marks in %s; late points: %s\n        while it is away: %s", what, o.storeOptions.describe(o.Dedup), o.Late, away)
}

// apply puts the options in the setup.
func (o dedupOptions) apply(s *setup) error {
	if o.DedupMaxMetrics <= 0 {
		return fmt.Errorf("--dedup-max-metrics %d must be at least 1", o.DedupMaxMetrics)
	}
	memory := newMemory(o.DedupMaxMetrics)
	store, done, err := o.openStore(o.Dedup, memory)
	if err != nil {
		return err
	}
	s.atEnd(done)
	if o.DedupFile != "" {
		if store != dedup.Store(memory) {
			return errors.New("--dedup-file is for --dedup memory: Redis keeps the marks itself")
		}
		if err := restore(memory, o.DedupFile, s.Logger); err != nil {
			return fmt.Errorf("--dedup-file: %w", err)
		}
		s.beside = append(s.beside, (&markFile{path: o.DedupFile, memory: memory}).run)
	}
	var bypass []string
	for _, prefix := range eachLine(o.DedupBypass) {
		prefix = strings.TrimSuffix(prefix, ".")
		if err := ingest.CheckPrefix(prefix); err != nil {
			return fmt.Errorf("--dedup-bypass: %w", err)
		}
		bypass = append(bypass, prefix)
	}
	s.judges = o.describe(bypass)
	s.Dedup = flux.DedupConfig{
		Off: store == nil, Store: store, AllInputs: o.DedupInputs == "all", Bypass: bypass, LateDeliver: o.Late == "deliver",
		Away:     map[string]flux.Away{"hold": flux.AwayHold, "deliver": flux.AwayDeliver, "refuse": flux.AwayRefuse}[o.DedupAway],
		AwayWait: max(time.Duration(o.DedupAwayWait), time.Millisecond), MaxFutureCarbon: o.MaxFutureCarbon.orOff(),
	}
	return nil
}

// newMemory is a store for so many metrics of any usual length.
func newMemory(metrics int) *dedup.Memory {
	return &dedup.Memory{MaxMetrics: metrics, MaxBytes: max(dedup.DefaultMaxBytes, int64(metrics)*(dedup.DefaultMaxBytes/dedup.DefaultMaxMetrics))}
}

// saveEvery is how often the marks in memory are saved.
const saveEvery = time.Minute

// markFile keeps the marks of a memory.
type markFile struct {
	path   string
	memory *dedup.Memory
}

// run saves the marks until ctx has ended.
func (f *markFile) run(ctx context.Context, log *slog.Logger, s *flux.Server) error {
	return f.keep(ctx, log, func() uint64 { return settled(s.Stats()) })
}

// keep saves the marks every minute in which the count of what could have raised them grew, and when ctx has ended.
func (f *markFile) keep(ctx context.Context, log *slog.Logger, count func() uint64) error {
	t := time.NewTicker(saveEvery)
	defer t.Stop()
	saved := count()
	for {
		select {
		case <-ctx.Done():
			return f.save()
		case <-t.C:
		}
		now := count()
		if now == saved {
			continue
		}
		if err := f.save(); err != nil {
			log.Error("the marks could not be saved, and are tried again in a minute", "error", err)
			continue
		}
		saved = now
	}
}

// settled is how many points could have raised marks.
func settled(st flux.Stats) (n uint64) {
	for _, d := range st.Destinations {
		n += d.Delivered
		for _, given := range d.GivenUp {
			n += given
		}
	}
	return n
}

// save replaces the file by a new one, or leaves it as it is.
func (f *markFile) save() error {
	temp, err := os.OpenFile(f.path+".tmp", os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o640)
	if err != nil {
		return fmt.Errorf("--dedup-file: %w", err)
	}
	err = f.memory.Save(temp)
	if err == nil {
		err = temp.Sync()
	}
	if e := temp.Close(); err == nil {
		err = e
	}
	if err == nil {
		err = os.Rename(temp.Name(), f.path)
	}
	if err != nil {
		_ = os.Remove(temp.Name())
		return fmt.Errorf("--dedup-file: %w", err)
	}
	dir, err := os.Open(filepath.Dir(f.path))
	if err != nil {
		return fmt.Errorf("--dedup-file: %w", err)
	}
	defer dir.Close()
	return dir.Sync()
}

// marksBegin is what a file of marks begins with.
const marksBegin = "fluxkit marks "

// restore reads the marks of a file. One that is damaged costs marks, so that points may be delivered twice, and no more.
func restore(memory *dedup.Memory, path string, log *slog.Logger) error {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		_, err = os.Stat(filepath.Dir(path)) // or saving would fail
		return err
	}
	if err != nil {
		return err
	}
	defer f.Close()
	begin := make([]byte, len(marksBegin))
	n, _ := io.ReadFull(f, begin) // an error shows again below
	if n > 0 && !strings.HasPrefix(marksBegin, string(begin[:n])) {
		return fmt.Errorf("%s is no file of marks, and would be overwritten", path)
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return err
	}
	if err := memory.Restore(f); errors.Is(err, dedup.ErrFormat) {
		log.Warn("the file of marks is damaged, and what is left of it is used", "file", path, "metrics", memory.Stats().Metrics, "error", err)
	} else if err != nil {
		return err
	}
	return nil
}
