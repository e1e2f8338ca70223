//go:build !(darwin || dragonfly || freebsd || linux || netbsd || openbsd)

package deadletter

import (
	"errors"
	"os"
)

// flock fails: without a lock a file could be taken away from under whoever writes it.
func flock(*os.File, bool) error { return errors.New("this system has no flock") }

func unflock(*os.File) {}
