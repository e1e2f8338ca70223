package graphitetest_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"syscall"
	"testing"
	"time"

	pickle "github.com/kisielk/og-rek"
	"github.com/stretchr/testify/require"

	"github.com/fluxmetrics/fluxkit/graphite/graphitetest"
)

func ctx(t testing.TB) context.Context {
	c, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	return c
}

func dial(t testing.TB, addr string) *net.TCPConn {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	require.NoError(t, err)
	t.Cleanup(func() { c.Close() })
	require.NoError(t, c.SetDeadline(time.Now().Add(time.Minute)))
	return c.(*net.TCPConn)
}

func write(t testing.TB, w io.Writer, text string) {
	t.Helper()
	_, err := io.WriteString(w, text)
	require.NoError(t, err)
}

func frame(t testing.TB, v any) string {
	t.Helper()
	var body bytes.Buffer
	require.NoError(t, pickle.NewEncoderWithConfig(&body, &pickle.EncoderConfig{Protocol: 2}).Encode(v))
	return string(binary.BigEndian.AppendUint32(nil, uint32(body.Len()))) + body.String()
}

func TestLine(t *testing.T) {
	s := graphitetest.Run(t)
	s.SetTime(time.Unix(1700000000, 0))
	c := dial(t, s.LineAddr)
	write(t, c, "a 1 10\r\nb\t1_000  1.5\nbad line\nc nan 1\nd 0x10 1\ne 1e400 -1\nä .5 2\ncut 1 1")
	require.NoError(t, c.CloseWrite())
	n, err := c.Read(make([]byte, 1))
	require.Zero(t, n)
	require.Equal(t, io.EOF, err, "a half-close is answered once all is read")
	require.Equal(t, 4, s.Received())
	require.Equal(t, 3, s.Invalid())
	require.Equal(t, "[{a 10 1} {b 1.5 1000} {e 1.7e+09 +Inf} {ä 2 0.5}]", fmt.Sprint(s.All()))
	require.Equal(t, []graphitetest.Sample{{Timestamp: 10, Value: 1}}, s.Points("a"))
}

func TestLineHangsUp(t *testing.T) {
	for name, line := range map[string]string{
		"timestamp nan": "a 1 nan\n",
		"timestamp inf": "a 1 inf\n",
		"not UTF-8":     "a\xff 1 1\n",
		"too long":      strings.Repeat("a", 16384) + " 1 1\n",
	} {
		t.Run(name, func(t *testing.T) {
			s := graphitetest.Run(t)
			c := dial(t, s.LineAddr)
			write(t, c, "ok 1 1\n"+line)
			_, err := c.Read(make([]byte, 1))
			require.Error(t, err)
			require.Equal(t, 1, s.Received())
			require.Equal(t, 1, s.Invalid())
		})
	}
}

func TestPickle(t *testing.T) {
	s := graphitetest.Run(t)
	c := dial(t, s.PickleAddr)
	tuple := func(v ...any) pickle.Tuple { return v }
	write(t, c, frame(t, []any{
		tuple("a", tuple(1700000000, 1.5)),
		[]any{"b", []any{1.25, "7"}},
		tuple("short", tuple(1)),
		tuple("c", tuple(-7, true)),
	}))
	write(t, c, "\x00\x00\x00\x02zz")
	write(t, c, frame(t, []any{tuple("d", tuple(2, 3))}))
	require.NoError(t, s.Wait(ctx(t), 4))
	require.Equal(t, "[{a 1.7e+09 1.5} {b 1.25 7} {c -7 1} {d 2 3}]", fmt.Sprint(s.All()))
	require.Equal(t, 2, s.Invalid())
	write(t, c, "GET / HTTP/1.1\r\n\r\n")
	_, err := c.Read(make([]byte, 1))
	require.Error(t, err, "a length beyond 1 MiB ends the connection")
}

func TestUDP(t *testing.T) {
	s := graphitetest.Run(t)
	c, err := net.Dial("udp", s.UDPAddr)
	require.NoError(t, err)
	defer c.Close()
	write(t, c, "a\xff 1 1\nlost 1 1")
	write(t, c, "a 1 1\nb 2 2")
	require.NoError(t, s.Wait(ctx(t), 2))
	require.Equal(t, "[{a 1 1} {b 2 2}]", fmt.Sprint(s.All()))
}

func TestWaitEnds(t *testing.T) {
	s := graphitetest.Run(t)
	c, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, s.Wait(c, 1), context.Canceled)
}

func TestKeep(t *testing.T) {
	s := graphitetest.RunOptions(t, graphitetest.Options{Keep: 10})
	c := dial(t, s.LineAddr)
	for i := range 100 {
		write(t, c, fmt.Sprintf("a %d 1\n", i))
	}
	require.NoError(t, s.Wait(ctx(t), 100))
	all := s.All()
	require.LessOrEqual(t, len(all), 20)
	require.GreaterOrEqual(t, len(all), 10)
	require.EqualValues(t, 99, all[len(all)-1].Value)
	s.Forget()
	require.Empty(t, s.All())
	require.Equal(t, 100, s.Received())
}

func TestAddressTaken(t *testing.T) {
	s := graphitetest.Run(t)
	_, err := graphitetest.Start(graphitetest.Options{RenderAddr: s.LineAddr})
	require.ErrorIs(t, err, syscall.EADDRINUSE)
	require.ErrorContains(t, err, "graphitetest: render: ")
}

func TestFaults(t *testing.T) {
	isReset := func(err error) bool { return errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) }
	for name, test := range map[string]func(t *testing.T, s *graphitetest.Server, st *graphitetest.Stream){
		"refuse and restore": func(t *testing.T, s *graphitetest.Server, st *graphitetest.Stream) {
			st.Refuse()
			_, err := net.Dial("tcp", s.LineAddr)
			require.ErrorIs(t, err, syscall.ECONNREFUSED)
			require.NoError(t, st.Restore())
			write(t, dial(t, s.LineAddr), "a 1 1\n")
			require.NoError(t, s.Wait(ctx(t), 1))
		},
		"reset after bytes": func(t *testing.T, s *graphitetest.Server, st *graphitetest.Stream) {
			st.ResetAfter(8)
			c := dial(t, s.LineAddr)
			write(t, c, "a 1 1\nb 1 1\n")
			_, err := c.Read(make([]byte, 1))
			require.True(t, isReset(err), err)
			require.Equal(t, 1, s.Received())
			c = dial(t, s.LineAddr)
			write(t, c, "a 1 1\nb 1 1\n")
			require.NoError(t, s.Wait(ctx(t), 3), "only the one connection")
		},
		"close after bytes": func(t *testing.T, s *graphitetest.Server, st *graphitetest.Stream) {
			st.CloseAfter(8)
			c := dial(t, s.LineAddr)
			write(t, c, "a 1 1\nb ")
			_, err := c.Read(make([]byte, 1))
			require.Equal(t, io.EOF, err)
			require.Equal(t, 1, s.Received())
		},
		"pause and resume": func(t *testing.T, s *graphitetest.Server, st *graphitetest.Stream) {
			c := dial(t, s.LineAddr)
			write(t, c, "a 1 1\n")
			require.NoError(t, s.Wait(ctx(t), 1))
			st.Pause()
			write(t, c, "b 1 1\n")
			require.NoError(t, c.CloseWrite())
			require.NoError(t, c.SetReadDeadline(time.Now().Add(20*time.Millisecond)))
			_, err := c.Read(make([]byte, 1))
			require.True(t, isTimeout(err), err)
			require.Equal(t, 1, s.Received())
			st.Resume()
			require.NoError(t, c.SetReadDeadline(time.Now().Add(time.Minute)))
			_, err = c.Read(make([]byte, 1))
			require.Equal(t, io.EOF, err)
			require.Equal(t, 2, s.Received())
		},
		"accept and never read, then killed": func(t *testing.T, s *graphitetest.Server, st *graphitetest.Stream) {
			st.Pause()
			c := dial(t, s.LineAddr)
			write(t, c, "a 1 1\n")
			st.Kill()
			_, err := c.Read(make([]byte, 1))
			require.True(t, isReset(err), err)
			require.Zero(t, s.Received())
			_, err = net.Dial("tcp", s.LineAddr)
			require.ErrorIs(t, err, syscall.ECONNREFUSED)
		},
		"silent": func(t *testing.T, s *graphitetest.Server, st *graphitetest.Stream) {
			st.Silent(true)
			c := dial(t, s.LineAddr)
			write(t, c, "a 1 1\n")
			require.NoError(t, c.CloseWrite())
			require.NoError(t, s.Wait(ctx(t), 1))
			require.Equal(t, 1, st.Open())
			require.NoError(t, c.SetReadDeadline(time.Now().Add(20*time.Millisecond)))
			_, err := c.Read(make([]byte, 1))
			require.True(t, isTimeout(err), err)
			st.Silent(false)
			require.NoError(t, c.SetReadDeadline(time.Now().Add(time.Minute)))
			_, err = c.Read(make([]byte, 1))
			require.Equal(t, io.EOF, err)
		},
		"pause from OnPoint": func(t *testing.T, _ *graphitetest.Server, _ *graphitetest.Stream) {
			var s *graphitetest.Server
			s = graphitetest.RunOptions(t, graphitetest.Options{OnPoint: func(graphitetest.Point) { s.Line().Pause() }})
			c := dial(t, s.LineAddr)
			write(t, c, "a 1 1\n")
			require.NoError(t, s.Wait(ctx(t), 1))
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := graphitetest.Run(t)
			test(t, s, s.Line())
		})
	}
}

func isTimeout(err error) bool {
	var ne net.Error
	return errors.As(err, &ne) && ne.Timeout()
}

func TestRender(t *testing.T) {
	s := graphitetest.Run(t)
	s.SetTime(time.Unix(1700000000, 0))
	write(t, dial(t, s.LineAddr), strings.Join([]string{
		"web.a.cpu 1 1699999990", "web.a.cpu 2.5 1699999995.7", "web.a.cpu 9 1699999990", "web.b.cpu 1e400 1699999999",
		"web.b.c.cpu 5 1699999999", "old 1 1699990000", `q;a="x" 7 1700000000`, "",
	}, "\n"))
	require.NoError(t, s.Wait(ctx(t), 7))
	get := func(query string) (int, string) {
		resp, err := http.Get(s.RenderURL + "/render?" + query)
		require.NoError(t, err)
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		return resp.StatusCode, strings.TrimSpace(string(body))
	}
	a := `{"target":"web.a.cpu","datapoints":[[9,1699999990],[2.5,1699999995]]}`
	b := `{"target":"web.b.cpu","datapoints":[[1e9999,1699999999]]}`
	for query, want := range map[string]string{
		"target=web.a.cpu":                                  a,
		"target=web.*.cpu":                                  a + "," + b,
		"target=web.{a,b}.cpu&from=-1h":                     a + "," + b,
		"target=web.[b-z].c*u":                              b,
		"target=web.?.cpu&from=-6s&until=now":               `{"target":"web.a.cpu","datapoints":[[2.5,1699999995]]},` + b,
		"target=nothing":                                    "",
		"target=web.b.cpu&target=web.a.cpu":                 b + "," + a,
		"target=web.a.cpu&from=1699999990&until=1699999995": `{"target":"web.a.cpu","datapoints":[[2.5,1699999995]]}`,
		"target=old&from=-50mins":                           `{"target":"old","datapoints":[]}`,
		"target=old&from=-6hours":                           `{"target":"old","datapoints":[[1,1699990000]]}`,
		"target=" + url.QueryEscape(`q;a="x"`):              `{"target":"q;a=\"x\"","datapoints":[[7,1700000000]]}`,
	} {
		t.Run(query, func(t *testing.T) {
			status, body := get(query + "&format=json")
			require.Equal(t, 200, status, body)
			require.Equal(t, "["+want+"]", body)
			if want == a {
				var v []struct {
					Target     string
					Datapoints [][2]*float64
				}
				require.NoError(t, json.Unmarshal([]byte(body), &v))
			}
		})
	}
	for _, query := range []string{
		"target=a", "format=json", "target=a&format=json&from=soon", "target=a&format=json&until=-5", "target=sum(a)&format=json",
		"target=a[&format=json", "target=%zz&format=json",
	} {
		status, _ := get(query)
		require.Equal(t, 400, status, query)
	}
}
