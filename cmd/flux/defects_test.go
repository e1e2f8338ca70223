package main

import (
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fluxmetrics/fluxkit/blueflood/bluefloodtest"
)

// The defects of blueflood-carbon-forwarder, and the tests that show what becomes of their triggers here. Those named
// TestB.. stand in this folder; they run flux forward from its input to Blueflood. The others have more of the same.
//
//	B01 remote code execution            TestB01RemoteCode; pickle.TestUnmarshalRefuses, pickle.TestUnsafeNamesWhatItRefused
//	B02 207 rejections unseen            TestB02Rejections; blueflood.TestRefusedPointsAreGivenUpAlone
//	B03 infinite value stops all         TestB03InfiniteValue
//	B04 body over 1 MiB, never answered  TestB04LongBodies; blueflood.TestByteLimit, blueflood.TestServerWithALowerLimit
//	B05 202 taken as stored              TestB05Unconfirmed; blueflood.TestUnconfirmedFiveTimes
//	B06 idle stall                       TestB06IdleStall; blueflood.TestRetryWithoutNewPoints
//	B07 unbounded memory                 TestB07BoundedMemory; blueflood.TestFullBuffer
//	B08 limit and a failing server       TestB08LimitAndFailures; blueflood.TestAccountUnderRandomFaults
//	B09 one row over the limit           TestB09RowOverTheLimit
//	B10 connection error in a flush      TestB10ConnectionBreaks; blueflood.TestOtherBatchesOfAFailedRequestAreStored
//	B11 overlapping requests             TestB11OneRequestAtATime; blueflood.TestNeverTwiceInFlight
//	B12 success erases others' points    TestB12FailureAfterSuccess; blueflood.TestHalvingSurvivesAFailure
//	B13 shutdown drops everything        TestB13Shutdown; flux.TestPendingPointsOutliveTheServer, blueflood.TestSpoolIsKeptByClose
//	B14 no timeouts                      blueflood.TestResponseMatrix ("no answer"), blueflood.TestKeystoneFailsFirst ("hang")
//	B15 Keystone fails once              TestB15KeystoneFailsOnce; blueflood.TestKeystoneFailsFirst
//	B16 401 replay without body          TestB16ReplayOfTheSameBytes; blueflood.TestKeystoneReplay
//	B17 403, expires and 203             TestB17Forbidden; blueflood.TestKeystoneAnswers, blueflood.TestKeystoneRefresh
//	B18 False means true                 TestB18FalseIsFalse
//	B19 overwriting collapses points     TestB19OverwrittenTimestamps; flux.TestOverwrittenTimestampsKeepEveryPoint
//	B20 bad point drops the connection   TestB20BadPoints; graphite.TestPickleOracle
//	B21 names that are not ASCII         TestB21Names
//	B22 NaN and infinite timestamps      TestB22Timestamps
//	B23 configuration                    TestB23Configuration; TestConfigurationFile, TestPrecedence
//	B24 bind failure                     TestB24PortTaken
//	B25 a log line a point               TestB25QuietLog
//	B26 failures without reason          TestB26FailuresAreExplained; blueflood.TestDownIsSaid
//	B27 bodies unread                    TestB27ConnectionsAreKept; blueflood.TestConnectionSurvivesFailures
//	B28 headers, gzip, keep-alive        TestB28Requests
//	B29 UDP, both protocols, tenants     TestB29InputsAndTenants; flux.TestTenants
//	B30 what the image could not do      TestB30EnvironmentAlone
//	B31 arithmetic of the limit          TestOriginalBlueflood ("testLimitIngestion"); blueflood.TestExactLimit
//	B32 connections and memory           TestB32Connections; graphite.TestMaxConns, graphite.TestBlockedHandlerPushesBack
//	B33 tenant, prefix and URL           TestB33AddressesAreChecked; blueflood.TestConfigRefused
//	B34 permanent errors                 TestB34PermanentErrors; blueflood.TestCulpritStandsAlone
//	B35 dead points                      TestB35DeadPoints; blueflood.TestCheckedBeforeRetry
//	B36 no statistics                    TestB36Account; flux.TestTheAccountIsExact

// TestB01RemoteCode sends a pickle that calls os.system. It is refused, and the points around it arrive.
func TestB01RemoteCode(t *testing.T) {
	s := bluefloodtest.Run(t)
	f := forwarded(t, s)
	path := filepath.Join(t.TempDir(), "run")
	f.send("pickle", frame(item("before", ago(0), 1))+framed("cposix\nsystem\n(S'touch "+path+"'\ntR.")+frame(item("after", ago(0), 1)))
	arrive(t, s, 2)
	require.NoFileExists(t, path)
	f.stop()
}

// TestB02Rejections has Blueflood answer 207. The points that it refused are on record, with its reason.
func TestB02Rejections(t *testing.T) {
	s := bluefloodtest.Run(t)
	path := filepath.Join(t.TempDir(), "dead")
	f := forwarded(t, s, "--dead-letter", path)
	f.send("pickle", frame(item("good", ago(0), 1), item("old", ago(73*3600), 1), item("better", ago(0), 1)))
	arrive(t, s, 2)
	require.Equal(t, map[string]int{"too_old": 1}, f.stop().Destinations["blueflood"].GivenUp)
	require.Equal(t, 207, s.Requests()[0].Status)
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Contains(t, string(text), `"metric":"old"`)
	require.Contains(t, string(text), "Out of bounds")
}

// TestB03InfiniteValue sends one among others, which made the original's every later body wrong. It alone is given up.
func TestB03InfiniteValue(t *testing.T) {
	for _, allow := range []bool{false, true} {
		s := bluefloodtest.Run(t)
		f := forwarded(t, s, fmt.Sprintf("--allow-inf=%v", allow))
		f.send("line", fmt.Sprintf("before 1 %[1]v\nbad inf %[1]v\nafter 1 %[1]v\n", int(ago(0))))
		f.send("line", linesOf(1, same))
		arrive(t, s, 3)
		a := f.stop()
		if allow {
			require.Equal(t, map[string]int{"bad_value": 1}, a.Destinations["blueflood"].GivenUp)
		} else {
			require.Equal(t, 1, a.Received-a.Accepted)
		}
	}
}

// TestB04LongBodies hands on 12,000 points at once, which the original put in one body that was never answered.
func TestB04LongBodies(t *testing.T) {
	s := bluefloodtest.Run(t)
	f := forwarded(t, s)
	f.send("line", linesOf(12_000, func(i int) string { return fmt.Sprintf("%s.%d", strings.Repeat("long.name", 12), i) }))
	arrive(t, s, 12_000)
	for _, r := range s.Requests() {
		require.LessOrEqual(t, len(r.Body), 1<<20)
	}
	require.Equal(t, 12_000, f.stop().Destinations["blueflood"].Delivered)
}

// TestB05Unconfirmed has Blueflood answer 202, which says that its storage timed out. The points are sent again.
func TestB05Unconfirmed(t *testing.T) {
	s := bluefloodtest.Run(t)
	s.Queue(bluefloodtest.Unconfirmed())
	f := forwarded(t, s)
	f.send("line", linesOf(3, same))
	arrive(t, s, 3)
	f.stop()
}

// TestB06IdleStall fails one request and sends nothing more. It is made again all the same.
func TestB06IdleStall(t *testing.T) {
	s := bluefloodtest.Run(t)
	s.Queue(bluefloodtest.PersistFailed())
	f := forwarded(t, s)
	f.send("line", linesOf(1, same))
	arrive(t, s, 1)
	f.stop()
}

// TestB07BoundedMemory has Blueflood down and more points come than there is room for. The sender waits, and none is lost.
func TestB07BoundedMemory(t *testing.T) {
	s := bluefloodtest.Run(t)
	s.Fallback(bluefloodtest.Reply{Status: 503})
	f := forwarded(t, s, "--memory-max", "128KiB")
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		conn, err := net.Dial("tcp", f.addr["line"])
		if err != nil {
			return
		}
		defer conn.Close()
		_, _ = conn.Write([]byte(linesOf(60_000, func(i int) string { return fmt.Sprintf("metric.%d", i) })))
	}()
	require.Eventually(t, func() bool { return len(s.Requests()) > 0 }, 20*time.Second, time.Millisecond)
	s.Fallback(bluefloodtest.Reply{})
	arrive(t, s, 60_000)
	<-sent
	require.Equal(t, 60_000, f.stop().Destinations["blueflood"].Delivered)
}

// TestB08LimitAndFailures has a limit of a few points, and Blueflood fail between. The original lost seven of ten.
func TestB08LimitAndFailures(t *testing.T) {
	s := bluefloodtest.Run(t)
	s.Queue(bluefloodtest.PersistFailed(), bluefloodtest.Reply{}, bluefloodtest.PersistFailed())
	f := forwarded(t, s, "--limit", "350")
	f.send("line", linesOf(10, same))
	arrive(t, s, 10)
	f.stop()
}

// TestB09RowOverTheLimit has one point that fits in no request. It alone is given up, and no empty body is sent.
func TestB09RowOverTheLimit(t *testing.T) {
	s := bluefloodtest.Run(t)
	f := forwarded(t, s, "--limit", "350")
	f.send("line", fmt.Sprintf("a 1 %[1]v\n%[2]s 1 %[1]v\nb 1 %[1]v\n", int(ago(0)), strings.Repeat("x", 400)))
	arrive(t, s, 2)
	require.Equal(t, map[string]int{"too_big": 1}, f.stop().Destinations["blueflood"].GivenUp)
	for _, r := range s.Requests() {
		require.NotEqual(t, "[]", string(r.Body))
	}
}

// TestB10ConnectionBreaks breaks the second of several requests. The points of all of them arrive.
func TestB10ConnectionBreaks(t *testing.T) {
	s := bluefloodtest.Run(t)
	s.Queue(bluefloodtest.Reply{}, bluefloodtest.Reply{Reset: true})
	f := forwarded(t, s, "--limit", "350")
	f.send("line", linesOf(20, same))
	arrive(t, s, 20)
	f.stop()
}

// TestB11OneRequestAtATime has a Blueflood that is slower than points come. No two requests overlap, and none repeats.
func TestB11OneRequestAtATime(t *testing.T) {
	s := bluefloodtest.Run(t)
	s.Fallback(bluefloodtest.Reply{Delay: 20 * time.Millisecond})
	f := forwarded(t, s, "-i", "0.001")
	for i := range 20 {
		f.send("line", fmt.Sprintf("m%d 1 %.0f\n", i, ago(0)))
	}
	arrive(t, s, 20)
	require.Equal(t, 20, f.stop().Destinations["blueflood"].Delivered)
	require.Equal(t, 1, s.MaxInFlight())
	require.Equal(t, 20, s.Received())
}

// TestB12FailureAfterSuccess has one request succeed and the next fail. The success takes none of the other's points.
func TestB12FailureAfterSuccess(t *testing.T) {
	s := bluefloodtest.Run(t)
	s.Queue(bluefloodtest.Reply{Delay: 50 * time.Millisecond}, bluefloodtest.PersistFailed())
	f := forwarded(t, s)
	f.send("line", fmt.Sprintf("first 1 %.0f\n", ago(0)))
	require.Eventually(t, func() bool { return s.MaxInFlight() > 0 }, 20*time.Second, time.Millisecond)
	f.send("line", fmt.Sprintf("second 1 %.0f\n", ago(0)))
	arrive(t, s, 2)
	f.stop()
}

// TestB13Shutdown stops the forwarder with points pending: they are delivered, or stay in the spool for the next start,
// or it says that they are lost and exits with 3.
func TestB13Shutdown(t *testing.T) {
	s := bluefloodtest.Run(t)
	f := forwarded(t, s, "-i", "3600")
	f.send("line", linesOf(7, same))
	require.Equal(t, 7, f.stop().Destinations["blueflood"].Delivered)

	s = bluefloodtest.Run(t)
	s.Fallback(bluefloodtest.Reply{Status: 503})
	dir := t.TempDir()
	f = forwarded(t, s, "--spool", dir, "--drain-timeout", "0.05")
	f.send("line", linesOf(7, same))
	require.Equal(t, 7, f.stop().Destinations["blueflood"].Pending)
	require.Len(t, f.records("7 points stay in "+dir+", the next start delivers them"), 1)
	require.NotContains(t, f.log.String(), "lost")
	s.Fallback(bluefloodtest.Reply{})
	f = forwarded(t, s, "--spool", dir)
	arrive(t, s, 7)
	d := f.stop().Destinations["blueflood"]
	require.Equal(t, 7, d.Recovered)
	require.Equal(t, 7, d.Delivered)

	s.Fallback(bluefloodtest.Reply{Status: 503})
	f = forwarded(t, s, "--drain-timeout", "0.05")
	f.send("line", linesOf(7, same))
	f.end()
	require.Equal(t, exitLost, <-f.code)
	require.Contains(t, f.log.String(), "7 accepted points could not be delivered within 50ms and are lost")
	require.Equal(t, 7, f.account().Destinations["blueflood"].Pending)
}

// keystoned runs a forwarder whose Blueflood wants tokens.
func keystoned(t *testing.T, o bluefloodtest.Options, faults ...bluefloodtest.Reply) (*bluefloodtest.Keystone, *bluefloodtest.Server, *forwarder) {
	t.Helper()
	ks := bluefloodtest.RunKeystone(t, bluefloodtest.KeystoneUser{Name: "me", Password: "hunter2hunter2", TenantID: "ten"})
	ks.Queue(faults...)
	o.Keystone = ks
	s := bluefloodtest.RunWith(t, o)
	f := forwarded(t, s, "-u", "me", "--password-file", write(t, "hunter2hunter2\n"), "--auth_url", ks.URL())
	t.Cleanup(func() { require.NotContains(t, f.log.String(), "hunter2") })
	return ks, s, f
}

// TestB15KeystoneFailsOnce has the first token request fail, after which the original never made another.
func TestB15KeystoneFailsOnce(t *testing.T) {
	ks, s, f := keystoned(t, bluefloodtest.Options{}, bluefloodtest.Reply{Status: 503})
	f.send("line", linesOf(3, same))
	arrive(t, s, 3)
	require.Equal(t, 2, ks.Count())
	f.stop()
}

// TestB16ReplayOfTheSameBytes revokes the token. The request is sent again with a new one, its body and all.
func TestB16ReplayOfTheSameBytes(t *testing.T) {
	ks, s, f := keystoned(t, bluefloodtest.Options{})
	f.send("line", linesOf(1, func(int) string { return "first" }))
	arrive(t, s, 1)
	ks.RevokeAll()
	f.send("line", linesOf(1, func(int) string { return "second" }))
	arrive(t, s, 2)
	f.stop()
	r := s.Requests()
	require.Equal(t, 401, r[len(r)-2].Status)
	require.Equal(t, r[len(r)-2].Body, r[len(r)-1].Body)
	require.NotEmpty(t, r[len(r)-1].Body)
}

// TestB17Forbidden has Keystone answer 203, and Blueflood 403 for a token that was revoked. Neither stops delivery.
func TestB17Forbidden(t *testing.T) {
	ks, s, f := keystoned(t, bluefloodtest.Options{Forbid: true}, bluefloodtest.Reply{Status: 203, Store: true})
	f.send("line", linesOf(1, func(int) string { return "first" }))
	arrive(t, s, 1)
	ks.RevokeAll()
	f.send("line", linesOf(1, func(int) string { return "second" }))
	arrive(t, s, 2)
	require.Equal(t, 2, ks.Count())
	f.stop()
}

// TestB18FalseIsFalse writes the switch as the original's example file does, where any text meant yes. False means no.
func TestB18FalseIsFalse(t *testing.T) {
	for text, want := range map[string]bool{"False": false, "no": false, "0": false, "off": false, "True": true, "1": true} {
		cfg, err := configOf("forward", "-c", write(t, "[blueflood_carbon_forwarder]\ntenant=x\noverwrite_collection_timestamp="+text+"\n"))
		require.NoError(t, err)
		require.Equal(t, want, cfg.Pickle.OverwriteTimestamps, text)
		for _, args := range [][]string{{"--overwrite_collection_timestamp", text}, {"--over=" + text}} {
			cfg, err = configOf(append([]string{"forward", "-t", "x"}, args...)...)
			require.NoError(t, err)
			require.Equal(t, want, cfg.Pickle.OverwriteTimestamps, args)
		}
		if text == "off" {
			continue // the environment has true, yes, 1, false, no and 0
		}
		t.Setenv("FLUX_FORWARD_OVERWRITE_COLLECTION_TIMESTAMP", text)
		cfg, err = configOf("forward", "-t", "x")
		require.NoError(t, err)
		require.Equal(t, want, cfg.Pickle.OverwriteTimestamps, text)
		require.NoError(t, os.Unsetenv("FLUX_FORWARD_OVERWRITE_COLLECTION_TIMESTAMP"))
	}
	_, err := configOf("forward", "-c", write(t, "[blueflood_carbon_forwarder]\ntenant=x\noverwrite_collection_timestamp=\n"))
	require.ErrorContains(t, err, "neither true nor false")
}

// TestB19OverwrittenTimestamps overwrites the times of 50 points of one series, which the original put into one
// millisecond, so that one was left. Each is stored.
func TestB19OverwrittenTimestamps(t *testing.T) {
	s := bluefloodtest.Run(t)
	f := forwarded(t, s, "--over")
	f.send("line", linesOf(50, same))
	arrive(t, s, 50)
	require.Len(t, s.Points("ten", "foo.bar.baz"), 50)
	f.stop()
}

// TestB20BadPoints sends points whose parts are none, too few, too large or no numbers. The original dropped the
// connection, and with it what came behind them on it.
func TestB20BadPoints(t *testing.T) {
	s := bluefloodtest.Run(t)
	f := forwarded(t, s)
	at := pickled(ago(0))
	huge := "\x8a\xff" + strings.Repeat("\x7f", 255) // an integer of 255 bytes
	f.send("pickle", frame(item("a", ago(0), 1), itemOf("none", "N", at), item("b", ago(0), 1), itemOf("text", at, "X\x03\x00\x00\x00abc"),
		itemOf("huge", at, huge), "X\x05\x00\x00\x00short"+at+"\x85\x86", "K\x07", item("c", ago(0), 1))+
		framed("N.")+framed("}.")+framed("\x80\x02](")+framed("")+frame(item("d", ago(0), 1)))
	arrive(t, s, 4)
	require.Equal(t, []string{"a", "b", "c", "d"}, s.Metrics("ten"))
	a := f.stop()
	require.Equal(t, 4, a.Accepted)
	require.Greater(t, a.Received, 4)
}

// TestB21Names sends names beyond ASCII, and one that is not UTF-8. The latter alone is given up.
func TestB21Names(t *testing.T) {
	s := bluefloodtest.Run(t)
	f := forwarded(t, s)
	bytesName := "U\x03b\xff\xfe" + pickled(ago(0)) + pickled(1) + "\x86\x86" // as Python 2 pickles a str
	f.send("pickle", frame(item("température", ago(0), 1), bytesName, item("after", ago(0), 1)))
	f.send("line", fmt.Sprintf("größe 1 %.0f\n", ago(0)))
	arrive(t, s, 3)
	require.Equal(t, []string{"after", "größe", "température"}, s.Metrics("ten"))
	a := f.stop()
	require.Equal(t, 4, a.Received)
	require.Equal(t, 3, a.Destinations["blueflood"].Delivered)
}

// TestB22Timestamps sends points at times that are no times. The points behind them on the connection arrive.
func TestB22Timestamps(t *testing.T) {
	s := bluefloodtest.Run(t)
	f := forwarded(t, s)
	f.send("pickle", frame(item("nan", math.NaN(), 1), item("a", ago(0), 1), item("inf", math.Inf(1), 1), item("b", ago(0), 1)))
	f.send("line", fmt.Sprintf("nan 1 nan\nc 1 %[1]v\ninf 1 -inf\nd 1 %[1]v\n", int(ago(0))))
	arrive(t, s, 4)
	require.Equal(t, []string{"a", "b", "c", "d"}, s.Metrics("ten"))
	f.stop()
}

// TestB23Configuration has what the original took without a word, or stopped at for no reason.
func TestB23Configuration(t *testing.T) {
	const section = "[blueflood_carbon_forwarder]\ntenant = file\n"
	read := func(text string, args ...string) (string, error) {
		cfg, err := configOf(append([]string{"forward", "-c", write(t, text)}, args...)...)
		if err != nil {
			return "", err
		}
		return fmt.Sprint(cfg.Destination.Blueflood.Tenant, " ", cfg.Destination.Blueflood.Interval), nil
	}
	got, err := read(section+"interval = 0.5\n", "-t", "line")
	require.NoError(t, err)
	require.Equal(t, "line 500ms", got, "the command line comes before the file; an interval may have a fraction")
	for text, want := range map[string]string{
		"[DEFAULT]\nttl = 5\n" + section: "under [DEFAULT]",
		section + "metrics_prefix = a\n": `no option "metrics_prefix"`,
		section + "protocol = Line\n":    "must be one of MetricPickleReceiver, MetricLineReceiver",
	} {
		_, err := read(text)
		require.ErrorContains(t, err, want)
	}
	_, err = configOf("forward", "-t", "x", "--protocol", "Line")
	require.ErrorContains(t, err, "--protocol must be one of")
}

// TestB24PortTaken has another process on the port. The original went on and listened to nothing; this one ends.
func TestB24PortTaken(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	for _, option := range []string{"--endpoint", "--line-listen"} {
		f := startForwarder(t, "-t", "x", "-e", "127.0.0.1:0", option, l.Addr().String())
		require.Equal(t, exitFailed, <-f.code)
		require.Contains(t, f.log.String(), "address already in use")
		require.Contains(t, f.log.String(), "choose another address with "+option)
	}
}

// TestB25QuietLog hands on 1,000 points. The log has no line for each.
func TestB25QuietLog(t *testing.T) {
	s := bluefloodtest.Run(t)
	f := forwarded(t, s)
	f.send("line", linesOf(1000, func(i int) string { return fmt.Sprintf("metric.%d", i) }))
	arrive(t, s, 1000)
	f.stop()
	require.Less(t, strings.Count(f.log.String(), "\n"), 10)
	require.NotContains(t, f.log.String(), "metric.")
}

// TestB26FailuresAreExplained fails a request. The log says where, why, how many points it concerns, and when the next
// try is.
func TestB26FailuresAreExplained(t *testing.T) {
	s := bluefloodtest.Run(t)
	s.Queue(bluefloodtest.PersistFailed(), bluefloodtest.Reply{Reset: true})
	f := forwarded(t, s)
	f.send("line", linesOf(3, same))
	arrive(t, s, 3)
	f.stop()
	failures := f.records("delivery failed")
	require.Len(t, failures, 2)
	require.Contains(t, failures[0]["error"], "500")
	require.Contains(t, failures[0]["error"], "Persisted failed for metrics")
	require.Contains(t, failures[1]["error"], "no answer")
	for _, r := range failures {
		require.Equal(t, s.IngestURL()+"/v2.0/ten/ingest", r["destination"])
		require.EqualValues(t, 3, r["points"])
		require.NotNil(t, r["retry_in"])
	}
}

// TestB27ConnectionsAreKept has long bodies in the answers, which the original left unread. They are read to the end,
// so that one connection serves all requests.
func TestB27ConnectionsAreKept(t *testing.T) {
	s := bluefloodtest.Run(t)
	for _, code := range []int{500, 503, 404} {
		s.Queue(bluefloodtest.Reply{Status: code, Body: strings.Repeat("x", 60_000)})
	}
	f := forwarded(t, s)
	f.send("line", linesOf(1, same))
	arrive(t, s, 1)
	f.stop()
	require.Len(t, s.Requests(), 4)
	for _, r := range s.Requests() {
		require.Equal(t, 1, r.Conn)
	}
}

// TestB28Requests looks at what the original left out: a content type, compression, a connection that is kept.
func TestB28Requests(t *testing.T) {
	s := bluefloodtest.Run(t)
	f := forwarded(t, s, "--gzip", "--limit", "1000")
	f.send("line", linesOf(50, same))
	arrive(t, s, 50)
	f.stop()
	require.Greater(t, len(s.Requests()), 1)
	for _, r := range s.Requests() {
		require.Equal(t, "application/json", r.Header.Get("Content-Type"))
		require.Equal(t, "gzip", r.Header.Get("Content-Encoding"))
		require.NotEmpty(t, r.Header.Get("User-Agent"))
		require.Equal(t, 1, r.Conn)
	}
}

// TestB29InputsAndTenants takes pickles, lines and datagrams at once, and writes to tenants by the metrics' names.
func TestB29InputsAndTenants(t *testing.T) {
	s := bluefloodtest.Run(t)
	f := forwarded(t, s, "--udp-listen", "127.0.0.1:0", "--tenant-rule", `^web\.=shop`, "--tenant-rule", "^db=ops")
	f.send("pickle", frame(item("web.load", ago(0), 1), item("cpu", ago(0), 1)))
	f.send("line", fmt.Sprintf("db.load 1 %.0f\n", ago(0)))
	c, err := net.Dial("udp", f.addr["udp"])
	require.NoError(t, err)
	defer c.Close()
	_, err = fmt.Fprintf(c, "webx 1 %.0f", ago(0))
	require.NoError(t, err)
	arrive(t, s, 4)
	require.Equal(t, []string{"cpu", "webx"}, s.Metrics("ten"))
	require.Equal(t, []string{"web.load"}, s.Metrics("shop"))
	require.Equal(t, []string{"db.load"}, s.Metrics("ops"))
	require.Len(t, f.stop().Destinations, 3)
}

// TestB30EnvironmentAlone configures all from the environment, as an image does, without a user, which the original's
// could not do without, with an interval, which its had no use for, and with a key from a file.
func TestB30EnvironmentAlone(t *testing.T) {
	for name, value := range map[string]string{
		"TENANT": "123", "BLUEFLOOD": "http://h:19000", "INTERVAL": "0.25", "LIMIT": "1000000", "METRIC_PREFIX": "a", "TTL": "60",
	} {
		t.Setenv("FLUX_FORWARD_"+name, value)
	}
	cfg, err := configOf("forward")
	require.NoError(t, err)
	b := cfg.Destination.Blueflood
	require.Equal(t, []any{"123", "http://h:19000", 250 * time.Millisecond, 1_000_000, "a", time.Minute, nil},
		[]any{b.Tenant, b.URL, b.Interval, b.Limit, b.Prefix, b.TTL, b.Auth})
	t.Setenv("FLUX_FORWARD_USER", "me")
	t.Setenv("FLUX_FORWARD_KEY_FILE", write(t, "hunter2hunter2\n"))
	cfg, err = configOf("forward")
	require.NoError(t, err)
	require.NotNil(t, cfg.Destination.Blueflood.Auth)
}

// TestB32Connections opens more connections than are served at one time. The others wait, and are served then.
func TestB32Connections(t *testing.T) {
	s := bluefloodtest.Run(t)
	f := forwarded(t, s, "--max-connections", "1")
	idle, err := net.Dial("tcp", f.addr["line"])
	require.NoError(t, err)
	_, err = fmt.Fprintf(idle, "first 1 %.0f\n", ago(0))
	require.NoError(t, err)
	arrive(t, s, 1) // it is being served
	var second sync.WaitGroup
	second.Go(func() { f.send("line", fmt.Sprintf("second 1 %.0f\n", ago(0))) })
	require.NoError(t, idle.Close())
	second.Wait()
	arrive(t, s, 2)
	f.stop()
}

// TestB33AddressesAreChecked has addresses that the original appended to as they were, and a slash at the end of one.
func TestB33AddressesAreChecked(t *testing.T) {
	for _, c := range [][]string{
		{"Tenant", "-t", ""}, {"Tenant", "-t", "a/b"}, {"Tenant", "-t", ".."},
		{"URL", "-t", "x", "-b", "localhost:19000"}, {"URL", "-t", "x", "-b", "ftp://h"}, {"URL", "-t", "x", "-b", "http://h/v2.0/x"},
		{"Prefix", "-t", "x", "-p", "a."}, {"--ttl", "-t", "x", "--ttl", "630720001"}, {"Limit", "-t", "x", "--limit", "5"},
	} {
		o := fluxWith(ended(), "", nil, append([]string{"forward", "-e", "127.0.0.1:0"}, c[1:]...)...)
		require.Equal(t, exitUsage, o.code, "%v %s", c, o.stderr)
		require.Contains(t, o.stderr, c[0])
	}
	s := bluefloodtest.Run(t)
	f := forwarded(t, s, "-b", s.IngestURL()+"//", "-t", "a b")
	f.send("line", linesOf(1, same))
	arrive(t, s, 1)
	f.stop()
	require.Equal(t, "/v2.0/a%20b/ingest", s.Requests()[0].Target)
}

// TestB34PermanentErrors has a server that refuses whole every body with one point in it. That point alone is given up,
// and what comes behind it is not held up.
func TestB34PermanentErrors(t *testing.T) {
	var mu sync.Mutex
	taken := 0
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		mu.Lock()
		defer mu.Unlock()
		if strings.Contains(string(body), "poison") {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		taken += strings.Count(string(body), "metricName")
	}))
	defer s.Close()
	f := startForwarder(t, "-e", "127.0.0.1:0", "--protocol", "MetricLineReceiver", "-b", s.URL, "-t", "x", "-i", "0.01")
	f.send("line", linesOf(10, same)+fmt.Sprintf("poison 1 %.0f\n", ago(0))+linesOf(10, same))
	require.Eventually(t, func() bool { mu.Lock(); defer mu.Unlock(); return taken == 20 }, 20*time.Second, time.Millisecond)
	require.Equal(t, map[string]int{"refused": 1}, f.stop().Destinations["blueflood"].GivenUp)
}

// TestB35DeadPoints has a request fail once whose one point is too old by then. It is not sent again for ever.
func TestB35DeadPoints(t *testing.T) {
	s := bluefloodtest.Run(t)
	s.Queue(bluefloodtest.Reply{Status: 503})
	f := forwarded(t, s)
	f.send("pickle", frame(item("old", ago(80*3600), 1), item("good", ago(0), 1)))
	arrive(t, s, 1)
	require.Equal(t, map[string]int{"too_old": 1}, f.stop().Destinations["blueflood"].GivenUp)
	require.Len(t, s.Requests(), 2)
	require.NotContains(t, string(s.Requests()[1].Body), "old")
}

// TestB36Account stops a forwarder with two destinations. Its last record says what became of every point at each.
func TestB36Account(t *testing.T) {
	s, other := bluefloodtest.Run(t), bluefloodtest.Run(t)
	f := forwarded(t, s, "--also", "blueflood+"+other.IngestURL()+"/elsewhere?name=copy&required&prefix=p")
	f.send("line", "bad line\n"+linesOf(5, same)+fmt.Sprintf("old 1 %.0f\n", ago(80*3600)))
	arrive(t, s, 5)
	arrive(t, other, 5)
	a := f.stop()
	require.Equal(t, 7, a.Received)
	require.Equal(t, 6, a.Accepted)
	require.Len(t, a.Destinations, 2)
	for _, d := range a.Destinations {
		require.Equal(t, 6, d.Accepted)
		require.Equal(t, 5, d.Delivered)
		require.Equal(t, map[string]int{"too_old": 1}, d.GivenUp)
	}
	require.Equal(t, []string{"p.foo.bar.baz"}, other.Metrics("elsewhere"))
}
