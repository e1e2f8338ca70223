package rig

import (
	"context"
	"errors"
	"net"
	"testing"
	"time"
)

const (
	pollEvery = 20 * time.Millisecond
	pollOnce  = 2 * time.Second
)

// WaitFor calls check until it returns nil. It fails the test with the last
// error when that takes longer.
func WaitFor(t testing.TB, within time.Duration, what string, check func() error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	if err := poll(ctx, func(context.Context) error { return check() }); err != nil {
		t.Fatalf("rig: no %s within %v: %v", what, within, err)
	}
}

// poll returns nil once check does, or else its last error when ctx ends. It
// calls check at least once.
func poll(ctx context.Context, check func(ctx context.Context) error) error {
	for {
		err := func() error {
			once, cancel := context.WithTimeout(ctx, pollOnce)
			defer cancel()
			return check(once)
		}()
		if err == nil {
			return nil
		}
		pause := time.NewTimer(pollEvery)
		select {
		case <-ctx.Done():
			pause.Stop()
			return err
		case <-pause.C:
		}
	}
}

// dialAll returns nil if every address accepts a TCP connection.
func dialAll(ctx context.Context, addrs ...string) error {
	var errs []error
	for _, addr := range addrs {
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", addr)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		conn.Close()
	}
	return errors.Join(errs...)
}

// exchange opens a connection, writes a request and hands the connection, with
// a deadline, to read.
func exchange(ctx context.Context, network, addr, request string, read func(net.Conn) error) error {
	conn, err := (&net.Dialer{}).DialContext(ctx, network, addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	if deadline, ok := ctx.Deadline(); ok {
		if err := conn.SetDeadline(deadline); err != nil {
			return err
		}
	}
	if _, err := conn.Write([]byte(request)); err != nil {
		return err
	}
	return read(conn)
}
