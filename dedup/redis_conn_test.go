package dedup

import (
	"io"
	"net"
	"os"
	"testing"

	"github.com/alicebob/miniredis/v2"
	"github.com/gomodule/redigo/redis"
	"github.com/stretchr/testify/require"
)

// An idle connection that was closed costs another try, one that hangs does not.
func TestRedisTriesClosedConnectionsAgain(t *testing.T) {
	for failure, want := range map[error]int{io.EOF: 2, os.ErrDeadlineExceeded: 1} {
		srv := miniredis.RunT(t)
		r, err := NewRedis("redis://"+srv.Addr(), RedisOptions{})
		require.NoError(t, err)
		here, there := net.Pipe()
		defer there.Close()
		r.idle = []*redisConn{{
			Conn: redis.NewConn(here, 0, 0), wire: &wire{Conn: here}, stop: func() bool { return true },
		}}
		tries := 0
		err = r.with(func(c *redisConn) error {
			if tries++; tries > 1 {
				return nil
			}
			return c.wire.fail(failure)
		})
		require.Equal(t, want, tries)
		require.Equal(t, want == 1, err != nil)
		require.EqualValues(t, want-1, r.Stats().Dials)
		require.NoError(t, r.Close())
	}
}
