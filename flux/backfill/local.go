package backfill

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"
)

// Slot is what the local Graphite holds at a time.
type Slot struct {
	State SlotState
	Value float64 // of a slot that is Filled
	// Exact tells that the slot begins at that time and is no longer than a minute, so that Value is the one that was
	// written for that minute, and no average.
	Exact bool
}

// SlotState says whether a slot holds something.
type SlotState uint8

// What a slot can hold.
const (
	Unknown SlotState = iota // the metric does not exist
	Null                     // the slot is empty
	Filled                   // the slot has a value
	Outside                  // older than anything that Graphite keeps of the metric
)

// Local is the Graphite that is filled. An error of either method never means that there is no data: it makes the job
// wait and ask again.
type Local interface {
	// Last is the time of the metric's newest datapoint that is not later than until, and whose slot holds none of the
	// minutes of live, given by their beginnings, Unix milliseconds in order; live is called once the answer is there, and
	// nil means none. ok is false when there is none within 90 days.
	Last(ctx context.Context, metric string, until time.Time, live func() []int64) (ms int64, ok bool, err error)
	// Slots returns what the slots hold that the times, Unix milliseconds in order, fall into.
	Slots(ctx context.Context, metric string, times []int64) ([]Slot, error)
}

// Render is a Local over a render API, whose answers to one minute of history show the archive that keeps it. BaseURL is
// required; the zero value of every other field means its default.
type Render struct {
	BaseURL    string           // e.g. http://graphite.example:8080; /render is appended
	HTTPClient *http.Client     // nil: http.DefaultClient
	User       string           // for basic authentication, when User or Password is set
	Password   string           //
	Header     http.Header      // added to each request
	Timeout    time.Duration    // of one request, the body included. Default 30 s
	MaxBody    int64            // longest answer, in bytes after decompression. Default 64 MiB
	Now        func() time.Time // the clock of the server. nil is time.Now
}

// lastWindows are how far back Last looks, in turn: each is answered from the finest archive that covers it.
var lastWindows = [...]time.Duration{
	50 * time.Minute, 6 * time.Hour, 24 * time.Hour, 7 * 24 * time.Hour, 30 * 24 * time.Hour, 90 * 24 * time.Hour,
}

// Last implements Local: it asks for the last 50 minutes, 6 hours, 24 hours, 7, 30 and 90 days.
func (r *Render) Last(ctx context.Context, metric string, until time.Time, live func() []int64) (int64, bool, error) {
	for _, back := range lastWindows {
		w, err := r.ask(ctx, metric, until.Add(-back).Unix(), until.Unix())
		if err != nil {
			return 0, false, err
		}
		var known []int64 // once the answer is there: what it shows was noted before
		if live != nil {
			known = live()
		}
		for _, s := range slices.Backward(w.slots) {
			if s.full && s.at <= until.UnixMilli() && !within(known, floorMinute(s.at), s.at+max(w.step, minute)) {
				return s.at, true, nil
			}
		}
	}
	return 0, false, nil
}

// within reports whether one of the times, in order, lies from the first to before the second.
func within(times []int64, from, until int64) bool {
	i, _ := slices.BinarySearch(times, from)
	return i < len(times) && times[i] < until
}

// Slots implements Local. It asks in windows of an hour for the last day and of a day beyond, so that retentions, which
// mostly end with an hour or a day, do not end within one, and each is answered from the finest archive.
func (r *Render) Slots(ctx context.Context, metric string, times []int64) ([]Slot, error) {
	now := time.Now
	if r.Now != nil {
		now = r.Now
	}
	at := now().UnixMilli()
	out := make([]Slot, 0, len(times))
	for len(times) > 0 {
		width := 24 * time.Hour.Milliseconds()
		if at-times[0] < width {
			width = time.Hour.Milliseconds()
		}
		end := at - floorTo(at-times[0], width) // the window's newest end
		n := 1
		for n < len(times) && times[n] <= end {
			n++
		}
		var err error
		if out, err = r.slots(ctx, out, metric, times[:n]); err != nil {
			return nil, err
		}
		times = times[n:]
	}
	return r.older(ctx, metric, at, out)
}

// older tells what is unknown because it is older than what Graphite keeps, for which it answers as for a metric that
// does not exist, from what is unknown because the metric does not exist.
func (r *Render) older(ctx context.Context, metric string, now int64, out []Slot) ([]Slot, error) {
	if !slices.ContainsFunc(out, func(s Slot) bool { return s.State == Unknown }) {
		return out, nil
	}
	exists := slices.ContainsFunc(out, func(s Slot) bool { return s.State != Unknown })
	if !exists {
		w, err := r.ask(ctx, metric, (now-minute)/second, now/second)
		if err != nil {
			return nil, err
		}
		exists = w.exists
	}
	for i := range out {
		if exists && out[i].State == Unknown {
			out[i].State = Outside
		}
	}
	return out, nil
}

// window is an answer of the local Graphite, slot by slot.
type window struct {
	exists bool // the metric does
	slots  []slotAt
	step   int64 // between slots; 0 where there are too few to tell
}

type slotAt struct {
	at    int64
	full  bool
	value float64
}

// ask gets a window. The slot that from lies in is part of it only if it begins after from.
func (r *Render) ask(ctx context.Context, metric string, from, until int64) (window, error) {
	a, nulls, err := r.get(ctx, metric, from, until)
	if err != nil {
		return window{}, err
	}
	return windowOf(a, nulls), nil
}

// windowOf brings an answer's slots into order.
func windowOf(a answer, nulls []int64) window {
	w := window{exists: a.series > 0}
	for _, s := range a.samples {
		w.slots = append(w.slots, slotAt{s.Timestamp, true, s.Value})
	}
	for _, ms := range nulls {
		w.slots = append(w.slots, slotAt{at: ms})
	}
	slices.SortFunc(w.slots, func(a, b slotAt) int { return compare(a.at, b.at) })
	for i := 1; i < len(w.slots); i++ {
		if d := w.slots[i].at - w.slots[i-1].at; d > 0 && (w.step == 0 || d < w.step) {
			w.step = d
		}
	}
	return w
}

// slots appends what the slots of the times hold, which one request answers, or two: the slot of a coarse archive that
// the first time lies in begins before it.
func (r *Render) slots(ctx context.Context, out []Slot, metric string, times []int64) ([]Slot, error) {
	from, until := times[0]/second-1, times[len(times)-1]/second+1
	w, err := r.ask(ctx, metric, from, until)
	if err == nil && len(w.slots) > 0 && w.slots[0].at > times[0] && w.step != minute {
		earlier := w.step / second
		if earlier == 0 {
			earlier = 3600
		}
		w, err = r.ask(ctx, metric, from-earlier, until)
	}
	known := w.step
	if err == nil && len(w.slots) == 1 && known == 0 { // the slot before it tells how long it is
		var wide window
		wide, err = r.ask(ctx, metric, from-minute/second, until)
		known = wide.step
	}
	if err != nil {
		return nil, err
	}
	if w.step == 0 {
		w.step = minute
	}
	i := 0
	for _, t := range times {
		for i+1 < len(w.slots) && w.slots[i+1].at <= t {
			i++
		}
		s := Slot{State: w.state(i, t)}
		if s.State == Filled {
			s.Value, s.Exact = w.slots[i].value, w.slots[i].at == t && 0 < known && known <= minute
		}
		out = append(out, s)
	}
	return out, nil
}

// state is that of the slot of time t; i is the last that does not begin after t, or the first.
func (w *window) state(i int, t int64) SlotState {
	switch {
	case !w.exists:
		return Unknown
	case len(w.slots) == 0:
		return Null
	case w.slots[i].at > t:
		return Outside
	case w.slots[i].full && t < w.slots[i].at+w.step:
		return Filled
	}
	return Null
}

// get asks for a metric. The times are Unix seconds; Graphite leaves out what lies at from.
func (r *Render) get(ctx context.Context, metric string, from, until int64) (answer, []int64, error) {
	fail := func(err error) (answer, []int64, error) {
		return answer{}, nil, fmt.Errorf("backfill: local graphite: %w", err)
	}
	timeout := r.Timeout
	if timeout <= 0 {
		timeout = 30 * time.Second
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	u, err := url.Parse(r.BaseURL)
	if err != nil || u.Host == "" {
		return fail(errors.New("Render.BaseURL is no URL"))
	}
	u = u.JoinPath("render")
	u.RawQuery = url.Values{
		"target": {metric}, "format": {"json"}, "from": {strconv.FormatInt(max(0, from), 10)}, "until": {strconv.FormatInt(until, 10)},
	}.Encode()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return fail(err)
	}
	for k, v := range r.Header {
		req.Header[http.CanonicalHeaderKey(k)] = v
	}
	if r.User != "" || r.Password != "" {
		req.SetBasicAuth(r.User, r.Password)
	}
	client := r.HTTPClient
	if client == nil {
		client = http.DefaultClient
	}
	resp, err := client.Do(req)
	if err != nil {
		return fail(plain(err))
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 512))
		return fail(fmt.Errorf("status %s: %s", resp.Status, quote(text)))
	}
	a, nulls, err := decodeLocal(resp.Body, r.MaxBody)
	if err != nil {
		return fail(err)
	}
	return a, nulls, nil
}

// decodeLocal reads an answer, and the times whose slots are null. A name that is also a pattern may have several
// series: they count together.
func decodeLocal(body io.Reader, most int64) (answer, []int64, error) {
	if most <= 0 {
		most = 64 << 20
	}
	var nulls []int64
	d := decoder{scanner: newScanner(body, most), want: AllSeries, points: math.MaxInt, limit: math.MaxInt}
	d.newest = none
	d.onNull = func(ms int64) { nulls = append(nulls, ms) }
	if err := d.graphite(); err != nil {
		return answer{}, nil, err
	}
	if err := d.finish(); err != nil {
		return answer{}, nil, err
	}
	err := d.choose()
	d.samples = lastOfEach(d.samples)
	return d.answer, nulls, err
}

var _ Local = (*Render)(nil)
