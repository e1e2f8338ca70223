package flux

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/fluxmetrics/fluxkit/blueflood"
	"github.com/fluxmetrics/fluxkit/graphite"
)

// UndeliveredError says what was pending when a server was closed. A point that several destinations had not delivered
// counts once for each.
type UndeliveredError struct {
	Points       int64 // Kept + Lost
	Kept         int64 // stay in the spool, for the next server
	Lost         int64 // ended with this one
	Destinations []Undelivered
}

// Undelivered is what one destination left.
type Undelivered struct {
	Name     string
	Required bool
	Points   int64
	SpoolDir string // that keeps them; empty: they are lost
	Err      error  // why they were not delivered
}

func (e *UndeliveredError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "flux: %d accepted points were not delivered, %d are kept and %d lost", e.Points, e.Kept, e.Lost)
	for _, d := range e.Destinations {
		fmt.Fprintf(&b, "; %d for %s: %v", d.Points, d.Name, d.Err)
	}
	return b.String()
}

// Unwrap returns why points were not delivered, an error a destination.
func (e *UndeliveredError) Unwrap() []error {
	var errs []error
	for _, d := range e.Destinations {
		errs = append(errs, d.Err)
	}
	return errs
}

// Close stops the inputs, if Run's context has not, and delivers what is pending until ctx ends. When points were left
// the error is an *UndeliveredError, for errors.As; when some of those that a spool should keep were not written, it also
// wraps ErrSpool. A second call returns what the first did.
func (s *Server) Close(ctx context.Context) error {
	s.closeOnce.Do(func() {
		s.runs.Lock()
		s.beginClose()
		s.runs.Unlock()
		hurry := context.AfterFunc(ctx, s.stop) // a store that hangs holds nobody up for longer
		s.stopInputs(ctx)
		s.closePopulate(ctx)
		s.door.out.bar()
		s.finish()
		s.closeErr = s.shut(ctx)
		if s.door.filter != nil {
			if err := s.door.raiseAll(s.door.life); err != nil {
				s.log.Warn("marks could not be raised before the end: what was just delivered would be taken once more", "error", err)
			}
		}
		hurry()
		s.stop()
		s.background.Wait()
	})
	return s.closeErr
}

// stopInputs waits, until ctx ends, for Run to have handed on what inputs have read, and closes the listeners.
func (s *Server) stopInputs(ctx context.Context) {
	stopped := make(chan struct{})
	go func() { // ends with Run
		s.running.Wait()
		close(stopped)
	}()
	select {
	case <-stopped:
	case <-ctx.Done():
	}
	for _, in := range s.inputs {
		in.close()
	}
}

// shut ends the destinations, all within ctx, and then the dead-letter file.
func (s *Server) shut(ctx context.Context) error {
	var left UndeliveredError
	var errs []error
	for i, err := range s.door.out.close(ctx) {
		if err == nil {
			continue
		}
		o := s.door.out.outlets[i]
		u, ok := undelivered(err)
		if !ok || errors.Is(err, ErrSpool) {
			errs = append(errs, fmt.Errorf("flux: destination %s: %w", o.name, err))
		}
		if !ok {
			continue
		}
		u.Name, u.Required, u.Err = o.name, o.required, err
		left.Points += u.Points
		if u.SpoolDir != "" {
			left.Kept += u.Points
		} else {
			left.Lost += u.Points
		}
		left.Destinations = append(left.Destinations, u)
	}
	if s.letters != nil {
		if err := s.letters.Close(); err != nil {
			errs = append(errs, fmt.Errorf("flux: dead-letter file: %w", err))
		}
	}
	if left.Points > 0 {
		errs = append(errs, &left)
	}
	return errors.Join(errs...)
}

// undelivered reads a client's error.
func undelivered(err error) (Undelivered, bool) {
	var carbon *graphite.UndeliveredError
	if errors.As(err, &carbon) {
		return Undelivered{Points: carbon.Points, SpoolDir: carbon.SpoolDir}, true
	}
	var bf *blueflood.UndeliveredError
	if errors.As(err, &bf) {
		return Undelivered{Points: bf.Points, SpoolDir: bf.SpoolDir}, true
	}
	return Undelivered{}, false
}

// abandon ends what New has begun. What stands in spools stays there.
func (s *Server) abandon() {
	s.stop()
	s.beginClose()
	for _, in := range s.inputs {
		in.close()
	}
	s.closePopulate(context.Background())
	_ = s.shut(ended)
}
