package graphitetest_test

import (
	"net"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fluxmetrics/fluxkit/graphite/graphitetest"
)

// goroutines lists those that run code of the package.
func goroutines() string {
	buf := make([]byte, 1<<20)
	buf = buf[:runtime.Stack(buf, true)]
	var out []string
	for _, g := range strings.Split(string(buf), "\n\n") {
		if strings.Contains(g, "graphitetest.(*") {
			out = append(out, g)
		}
	}
	return strings.Join(out, "\n\n")
}

func TestCloseLeavesNoGoroutine(t *testing.T) {
	s, err := graphitetest.Start(graphitetest.Options{})
	require.NoError(t, err)
	for _, st := range []struct {
		addr string
		*graphitetest.Stream
	}{{s.LineAddr, s.Line()}, {s.PickleAddr, s.Pickle()}} {
		for range 5 {
			c, err := net.Dial("tcp", st.addr)
			require.NoError(t, err)
			defer c.Close()
		}
	}
	require.Eventually(t, func() bool { return s.Line().Open() == 5 && s.Pickle().Open() == 5 }, time.Minute, time.Millisecond)
	s.Line().Pause()
	s.Pickle().Silent(true)
	require.NoError(t, s.Close())
	require.NoError(t, s.Close(), "closing twice is harmless")
	// A goroutine that was waited for may still stand on its last line.
	require.Eventually(t, func() bool { return goroutines() == "" }, 10*time.Second, time.Millisecond)
	require.NoError(t, s.Line().Restore(), "a closed server does not come back")
	require.Zero(t, s.Line().Open())
}
