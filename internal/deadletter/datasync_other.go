//go:build !linux

package deadletter

import "os"

func datasync(f *os.File) error { return f.Sync() }
