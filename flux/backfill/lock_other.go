//go:build !(darwin || dragonfly || freebsd || linux || netbsd || openbsd)

package backfill

import (
	"errors"
	"io"
)

// lockFile fails: without a lock two processes would run the same jobs.
func lockFile(string) (io.Closer, error) { return nil, errors.New("this system has no flock") }
