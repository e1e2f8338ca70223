//go:build interop || soak

package main_test

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// liveTraffic are points that come in while history does, of the same metric: of the present, and of minutes of the past
// that the history has too, or may have. Each is sent until it is accepted.
type liveTraffic struct {
	metric     string
	began      time.Time
	days       int
	live       map[int64]float64 // that were sent, by minute
	values     int
	newest     int64
	unanswered string // body of a point that may have been accepted
}

func newLiveTraffic(metric string, began time.Time, days int) *liveTraffic {
	return &liveTraffic{metric: metric, began: began, days: days, live: map[int64]float64{}}
}

// livePause keeps the traffic from taking the whole machine.
const livePause = 10 * time.Millisecond

// run sends points to a gateway until ctx ends or the gateway does.
func (l *liveTraffic) run(ctx context.Context, url string) error {
	tick := time.NewTicker(livePause)
	defer tick.Stop()
	for {
		if l.unanswered == "" {
			l.unanswered = l.next()
		}
		resp, err := jobClient.Post(url+"/metric_data_post", "application/json", strings.NewReader(l.unanswered))
		if err != nil {
			return err
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusNoContent {
			return fmt.Errorf("a live point was answered %s: %s", resp.Status, l.unanswered)
		}
		l.unanswered = ""
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// next is a point of a second that had none yet, or of a minute of the past that had none.
func (l *liveTraffic) next() string {
	l.values++
	value := -float64(l.values)
	if now := time.Now().Unix(); now > l.newest {
		l.newest = now
		l.live[now/60*60] = value
		return fmt.Sprintf(`{"metric": %q, "timestamp": %d, "value": %v, "key": %q}`, l.metric, now, value, apiKey)
	}
	at := int64(0)
	for taken := true; taken; _, taken = l.live[at] {
		at = (l.began.Unix()/60 - 10 - rand.Int64N(int64(l.days)*1440-20)) * 60
	}
	l.live[at] = value
	return fmt.Sprintf(`{"metric": %q, "timestamp": %d, "value": %v, "key": %q, "fill": "true"}`, l.metric, at, value, apiKey)
}

// during has live points come in while do runs.
func (l *liveTraffic) during(gw *gateway, do func()) error {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- l.run(ctx, gw.URL) }()
	defer cancel()
	do()
	cancel()
	return <-ended
}

// killing is a populate job that is killed again and again.
type killing struct {
	kills       int
	from        place     // that has web.load
	began       time.Time // when it had it
	resolutions []string
	rate        int           // points a second, so low that the job outlives all kills
	within      time.Duration // a kill comes at a random moment of this from the start on
}

// run has a gateway with a spool populate a metric, kills it that often and starts it again, while live points of the
// metric come in. It ends complete, and what is live is as it was sent.
func (k killing) run(t *testing.T) {
	to := newPlace(t, "60s:95d", nil)
	spool := t.TempDir()
	start := func(rate int) *gateway {
		return startPopulate(t, to, k.from.graphite.URL, "--spool", spool, "--populate-rate", fmt.Sprint(rate))
	}
	gw := start(k.rate)
	id := gw.populate(t, populateBody(k.from.graphite.URL, "web.load", "vista.load", k.resolutions...))
	days := int(ago(t, k.resolutions[0]).Hours() / 24)
	traffic := newLiveTraffic("vista.load", k.began, days)
	advanced, before := 0, 0
	for n := range k.kills {
		err := traffic.during(gw, func() {
			moment := time.NewTimer(rand.N(k.within))
			defer moment.Stop()
			<-moment.C
			j, err := gw.askJob(id)
			require.NoError(t, err)
			require.NotEqual(t, "done", j.State, "before kill %d", n+1)
			if j.Sent > before {
				advanced, before = advanced+1, j.Sent
			}
			gw.Kill()
		})
		if err != nil {
			require.ErrorAs(t, err, new(*url.Error), "and not an answer")
		}
		next := k.rate
		if n+1 == k.kills {
			next = 0
		}
		gw = start(next)
	}
	var j job
	require.NoError(t, traffic.during(gw, func() { j = gw.waitJob(t, id) }))
	want := k.from.expected(t, "web.load", j, k.resolutions...)
	t.Logf("%d kills, of which %d came after the job had advanced; %d minutes of history, %d of them sent and %d left to live points, of which there were %d",
		k.kills, advanced, len(want), j.Sent, j.Live, traffic.values)
	require.Equal(t, len(want), j.Sent+j.Live)
	require.Empty(t, j.Note)
	maps.Copy(want, traffic.live)
	to.requireMinutes(t, "vista.load", want, traffic.newest/60*60+60)
}
