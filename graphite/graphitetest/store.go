package graphitetest

import (
	"context"
	"fmt"
	"math"
	"slices"
	"sync"
)

// Sample is one value of a metric.
type Sample struct {
	Timestamp float64 // Unix seconds, fractions as they came
	Value     float64
}

// Point is one datapoint as it arrived.
type Point struct {
	Metric    string
	Timestamp float64 // Unix seconds, fractions as they came
	Value     float64
}

// store holds what arrived, in order.
type store struct {
	mu       sync.Mutex
	keep     int
	points   []Point
	received int
	invalid  int
	grown    chan struct{} // what Wait waits on, closed when received grows; nil while nobody waits
}

// Points returns the kept samples of a metric in the order in which they arrived, repeated ones included.
func (s *Server) Points(metric string) []Sample {
	s.store.mu.Lock()
	defer s.store.mu.Unlock()
	var out []Sample
	for _, p := range s.store.points {
		if p.Metric == metric {
			out = append(out, Sample{p.Timestamp, p.Value})
		}
	}
	return out
}

// All returns the kept points in the order in which they arrived.
func (s *Server) All() []Point {
	s.store.mu.Lock()
	defer s.store.mu.Unlock()
	return slices.Clone(s.store.points)
}

// Received counts the points taken so far, repeated ones included.
func (s *Server) Received() int {
	s.store.mu.Lock()
	defer s.store.mu.Unlock()
	return s.store.received
}

// Invalid counts the lines, frames and points that were not taken.
func (s *Server) Invalid() int {
	s.store.mu.Lock()
	defer s.store.mu.Unlock()
	return s.store.invalid
}

// Wait returns once n points were received in all, or with an error when ctx ends first.
func (s *Server) Wait(ctx context.Context, n int) error {
	for {
		s.store.mu.Lock()
		if s.store.grown == nil {
			s.store.grown = make(chan struct{})
		}
		have, grown := s.store.received, s.store.grown
		s.store.mu.Unlock()
		if have >= n {
			return nil
		}
		select {
		case <-grown:
		case <-ctx.Done():
			return fmt.Errorf("graphitetest: %d of %d points received: %w", have, n, context.Cause(ctx))
		}
	}
}

// Forget drops the points kept so far. Received and Invalid count on.
func (s *Server) Forget() {
	s.store.mu.Lock()
	defer s.store.mu.Unlock()
	s.store.points = nil
}

// take does with a point what carbon does: NaN is dropped, a timestamp of -1 means now. It reports whether the
// connection may stay open: carbon closes it when the timestamp is not finite.
func (s *Server) take(metric string, ts, value float64) bool {
	switch {
	case math.IsNaN(value):
		s.reject()
		return true
	case math.IsNaN(ts), math.IsInf(ts, 0):
		s.reject()
		return false
	case math.Trunc(ts) == -1:
		ts = float64(s.clock.get().Unix())
	}
	p := Point{metric, ts, value}
	s.store.add(p)
	if s.opt.OnPoint != nil {
		s.opt.OnPoint(p)
	}
	return true
}

func (s *Server) reject() {
	s.store.mu.Lock()
	defer s.store.mu.Unlock()
	s.store.invalid++
}

func (st *store) add(p Point) {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.keep > 0 && len(st.points) >= 2*st.keep {
		st.points = append(st.points[:0], st.points[len(st.points)-st.keep:]...)
	}
	st.points = append(st.points, p)
	st.received++
	if st.grown != nil {
		close(st.grown)
		st.grown = nil
	}
}
