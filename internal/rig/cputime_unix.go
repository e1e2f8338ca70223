//go:build unix

package rig

import (
	"syscall"
	"testing"
	"time"
)

// CPUTime is what this process has computed since it began, and the kernel for it. Unlike the time that has passed it takes
// in the garbage collector, and leaves out what else the machine does.
func CPUTime(t testing.TB) (user, system time.Duration) {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano()), time.Duration(u.Stime.Nano())
}
