package rig

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"strings"
	"testing"
)

// CarbonOptions says how carbon-cache differs from the rig's defaults.
type CarbonOptions struct {
	// Retentions are the archives of every new metric, as storage-schemas.conf
	// spells them. Empty means "1s:1d,60s:90d". A point older than the last
	// archive is read by carbon and then dropped by whisper; a test with old
	// timestamps needs a longer one, for example "60s:30y". Files are sparse.
	Retentions string

	// CountItself makes carbon record metrics about itself, so that
	// [Graphite.Received] works. Off by default: then the only metrics are the
	// test's own.
	CountItself bool

	// FlushAtStop makes carbon write what it still holds when SIGTERM ends it.
	// By itself it forgets what came in during the last second before, unless
	// its writer happens to be awake. What it holds when it is killed is gone
	// either way.
	FlushAtStop bool

	// Settings are further lines of the [cache] section, "KEY = value". They
	// win over the rig's.
	Settings []string
}

// Carbon is a running carbon-cache.
type Carbon struct {
	*Process
	Line, Pickle, UDP, Query string // addresses, host:port
	WhisperDir               string // the folder of the whisper files
}

// CarbonCache starts carbon-cache (Debian package graphite-carbon). It has no
// limit on updates and creates. Restart keeps ports and files; what carbon had
// only in memory when it was killed is gone, and most of it when it was stopped,
// unless CarbonOptions.FlushAtStop.
func CarbonCache(t testing.TB, opts CarbonOptions) *Carbon {
	t.Helper()
	path := Tool(t, "/usr/bin/carbon-cache", "graphite-carbon")
	dir := t.TempDir()
	c := &Carbon{
		Line: FreeAddr(t), Pickle: FreeAddr(t), UDP: FreeAddr(t), Query: FreeAddr(t),
		WhisperDir: makeDir(t, dir, "whisper"),
	}
	retentions := opts.Retentions
	if retentions == "" {
		retentions = "1s:1d,60s:90d"
	}
	writeFile(t, dir, "storage-schemas.conf", "[all]\npattern = .*\nretentions = "+retentions+"\n")
	config := writeFile(t, dir, "carbon.conf", c.config(dir, opts))
	var env []string
	if opts.FlushAtStop {
		writeFile(t, makeDir(t, dir, "python"), "sitecustomize.py", flushAtStop)
		env = append(env, "PYTHONPATH="+filepath.Join(dir, "python"))
	}
	c.Process = Start(t, Spec{
		Path:   path,
		Env:    env,
		Args:   []string{"--config=" + config, "--nodaemon", "start"},
		Ready:  func(ctx context.Context) error { return carbonAnswers(ctx, c.Query) },
		Remove: []string{filepath.Join(dir, "carbon-cache-a.pid")},
	})
	return c
}

// flushAtStop is run by Python before carbon. Carbon's writer sleeps for a
// second whenever its cache is empty, and looks only then whether it is to end.
// The process waits for this thread when it ends.
const flushAtStop = `import importlib.abc, importlib.machinery, sys

class Finder(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name != 'carbon.writer':
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        load = spec.loader.exec_module

        def exec_module(writer):
            load(writer)
            forever = writer.writeForever

            def to_the_end():
                forever()
                writer.writeCachedDataPoints()

            writer.writeForever = to_the_end

        spec.loader.exec_module = exec_module
        return spec

sys.meta_path.insert(0, Finder())
`

func (c *Carbon) config(dir string, opts CarbonOptions) string {
	interval := 0
	if opts.CountItself {
		interval = countInterval
	}
	lines := append(carbonPaths(dir),
		"LOCAL_DATA_DIR = "+c.WhisperDir,
		"MAX_CREATES_PER_MINUTE = inf",
		"MAX_UPDATES_PER_SECOND = inf",
		"WHISPER_SPARSE_CREATE = True",
		"ENABLE_UDP_LISTENER = True",
		"ENABLE_TAGS = False",
		"LOG_UPDATES = False",
		"LOG_CREATES = False",
		"LOG_CACHE_HITS = False",
		"LOG_CACHE_QUEUE_SORTS = False",
		fmt.Sprintf("CARBON_METRIC_INTERVAL = %d", interval),
	)
	lines = append(lines, carbonListen("LINE_RECEIVER", c.Line)...)
	lines = append(lines, carbonListen("PICKLE_RECEIVER", c.Pickle)...)
	lines = append(lines, carbonListen("UDP_RECEIVER", c.UDP)...)
	lines = append(lines, carbonListen("CACHE_QUERY", c.Query)...)
	return carbonConfig("cache", lines, opts.Settings)
}

// carbonPaths keeps every file of a carbon daemon in dir. An empty USER means
// the user of the test.
func carbonPaths(dir string) []string {
	return []string{
		"STORAGE_DIR = " + dir,
		"CONF_DIR = " + dir,
		"LOG_DIR = " + filepath.Join(dir, "log"),
		"PID_DIR = " + dir,
		"USER =",
	}
}

func carbonListen(prefix, addr string) []string {
	host, port, _ := net.SplitHostPort(addr)
	return []string{prefix + "_INTERFACE = " + host, prefix + "_PORT = " + port}
}

// carbonConfig renders one section. A later setting replaces an earlier one of
// the same key, since carbon's parser refuses a key that stands twice.
func carbonConfig(section string, settings ...[]string) string {
	var keys []string
	values := map[string]string{}
	for _, lines := range settings {
		for _, line := range lines {
			key, value, _ := strings.Cut(line, "=")
			key = strings.TrimSpace(key)
			if _, seen := values[key]; !seen {
				keys = append(keys, key)
			}
			values[key] = strings.TrimSpace(value)
		}
	}
	var b strings.Builder
	fmt.Fprintf(&b, "[%s]\n", section)
	for _, key := range keys {
		fmt.Fprintf(&b, "%s = %s\n", key, values[key])
	}
	return b.String()
}

// cacheQuery is the pickle, protocol 2, of
// {'type': 'cache-query', 'metric': 'rig'}.
const cacheQuery = "\x80\x02}(" +
	"X\x04\x00\x00\x00type" + "X\x0b\x00\x00\x00cache-query" +
	"X\x06\x00\x00\x00metric" + "X\x03\x00\x00\x00rig" + "u."

// carbonAnswers asks carbon-cache what it holds of a metric. Carbon binds every
// port before it serves the first request, so an answer means that all are open.
func carbonAnswers(ctx context.Context, query string) error {
	return exchange(ctx, "tcp", query, frame(cacheQuery), func(conn net.Conn) error {
		var size uint32
		if err := binary.Read(conn, binary.BigEndian, &size); err != nil {
			return err
		}
		_, err := io.CopyN(io.Discard, conn, int64(size))
		return err
	})
}

// frame puts the length, four bytes big-endian, in front of a pickle.
func frame(pickle string) string {
	return string(binary.BigEndian.AppendUint32(nil, uint32(len(pickle)))) + pickle
}
