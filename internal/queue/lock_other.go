//go:build !(darwin || dragonfly || freebsd || linux || netbsd || openbsd)

package queue

import (
	"errors"
	"io"
)

// Lock fails: without a lock two processes would write the same files.
func (osFS) Lock(string) (io.Closer, error) {
	return nil, errors.New("this system has no flock")
}
