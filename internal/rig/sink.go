package rig

import (
	"cmp"
	"context"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// SinkOptions says how a sink differs from one that just reads.
type SinkOptions struct {
	// ResetAfter breaks one connection after the other, each with a TCP reset once it brought so many bytes.
	// Connections that bring nothing do not count. A sink that is started again begins anew.
	ResetAfter []int
	// Network is where the sink listens. nil means 127.0.0.1.
	Network *Network
}

// Sink is a running Carbon of our own that tells exactly what its process has
// read, also after it was killed.
type Sink struct {
	*Process
	Line, Pickle string // addresses
	log          string
}

// SinkPoint is a point as a sink read it.
type SinkPoint struct {
	Life, Conn int // process id, and number of the connection in that life
	Name       string
	Value      float64
	Timestamp  float64 // Unix seconds
}

// StartSink starts a sink. Restart keeps its ports and what it has read.
func StartSink(t testing.TB, opts SinkOptions) *Sink {
	t.Helper()
	path, err := buildSink()
	if err != nil {
		t.Fatal(err)
	}
	s := &Sink{Line: FreeAddr(t), Pickle: FreeAddr(t), log: filepath.Join(t.TempDir(), "read.log")}
	var args []string
	if n := opts.Network; n != nil {
		s.Line, s.Pickle = n.Inside+":2003", n.Inside+":2004"
		path, args = n.command(path)
	}
	var faults []string
	for _, n := range opts.ResetAfter {
		faults = append(faults, strconv.Itoa(n))
	}
	s.Process = Start(t, Spec{
		Name:  "sink",
		Path:  path,
		Args:  append(args, "-line", s.Line, "-pickle", s.Pickle, "-log", s.log, "-reset-after", strings.Join(faults, ",")),
		Ready: func(ctx context.Context) error { return dialAll(ctx, s.Line, s.Pickle) },
	})
	return s
}

// Count is how many points the sink has read in all its lives.
func (s *Sink) Count() int { return strings.Count(s.read(), " .\n") }

func (s *Sink) read() string {
	s.t.Helper()
	b, err := os.ReadFile(s.log)
	if err != nil {
		s.t.Fatalf("rig: %v", err)
	}
	return string(b)
}

// Points are those that the sink has read in all its lives, in the order in which
// it wrote them down: of one connection, that in which they came.
func (s *Sink) Points() []SinkPoint {
	s.t.Helper()
	var pts []SinkPoint
	for line := range strings.Lines(s.read()) {
		f := strings.Split(line, " ")
		if len(f) != 6 || f[5] != ".\n" {
			continue // cut by a kill
		}
		var errs [4]error
		var p SinkPoint
		p.Name = f[2]
		p.Life, errs[0] = strconv.Atoi(f[0])
		p.Conn, errs[1] = strconv.Atoi(f[1])
		p.Value, errs[2] = strconv.ParseFloat(f[3], 64)
		p.Timestamp, errs[3] = strconv.ParseFloat(f[4], 64)
		if err := cmp.Or(errs[:]...); err != nil {
			s.t.Fatalf("rig: the sink wrote %q: %v", line, err)
		}
		pts = append(pts, p)
	}
	return pts
}
