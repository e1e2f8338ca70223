package deliver

import (
	"context"
	"errors"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fluxmetrics/fluxkit/internal/deadletter"
	"github.com/fluxmetrics/fluxkit/internal/record"
)

// refusing makes a rig's Failed return err until that is nil. It keeps count of its calls.
func refusing(o *Options, err *error, calls *int) {
	failed := o.Failed
	o.Failed = func(b record.Batch, rej []Rejected) error {
		o.Sender.(*fakeSender).order()
		*calls++
		if *err != nil {
			return *err
		}
		return failed(b, rej)
	}
}

func TestFailedThatFails(t *testing.T) {
	for name, c := range map[string]struct {
		confirmAfter time.Duration
		retry        []int
		sent         [][]string
	}{
		"confirmed later":       {time.Second, nil, [][]string{upTo(4)}},
		"confirmed by the send": {0, []int{3}, [][]string{upTo(4), {"3"}}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var sent [][]string
				s := &fakeSender{send: func(n []string) (Result, error) {
					if sent = append(sent, n); len(sent) == 1 {
						return Result{Taken: 4, Rejected: []Rejected{{Index: 1, Reason: "bad"}}, Retry: c.retry}, nil
					}
					return Result{Taken: len(n)}, nil
				}}
				full, calls := errors.New("no space left"), 0
				r := newRig(t, s, func(o *Options) {
					o.ConfirmAfter, o.ConfirmBytes = c.confirmAfter, int(c.confirmAfter)
					o.BackoffMin, o.BackoffMax = time.Second, time.Second
					refusing(o, &full, &calls)
				})
				r.add(t, 2)
				r.add(t, 2)
				stop := r.run(t)
				r.pass(4 * time.Second)
				require.Greater(t, calls, 2, "it is tried again")
				require.Less(t, calls, 8, "after a wait")
				require.Len(t, sent, 1, "nothing is sent twice, nor anything else")
				require.Empty(t, r.delivered)
				require.Empty(t, r.failed)
				require.EqualValues(t, 4, r.q.Stats().Points, "the queue keeps them")
				st := r.w.Stats()
				require.Equal(t, "no space left", st.LastError)
				require.Zero(t, st.Resent)
				require.Zero(t, st.Delivered)
				require.Empty(t, st.Rejected)

				full = nil
				r.pass(4 * time.Second)
				require.Equal(t, c.sent, sent)
				require.ElementsMatch(t, []string{"0", "2", "3"}, r.delivered)
				require.Equal(t, []string{"1 bad"}, r.failed)
				require.Zero(t, r.q.Stats().Points)
				st = r.w.Stats()
				require.Empty(t, st.LastError)
				require.EqualValues(t, 3, st.Delivered)
				require.EqualValues(t, 1, st.Rejected["bad"])
				stop()
			})
		})
	}
}

// TestFailedIsToldFirst: what cannot be put on record must keep its companions from being reported.
func TestFailedIsToldFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var order []string
		s := &fakeSender{send: func(n []string) (Result, error) {
			return Result{Taken: len(n), Rejected: []Rejected{{Index: 1, Reason: "bad"}}}, nil
		}}
		r := newRig(t, s, func(o *Options) {
			o.Delivered = func(b record.Batch) { order = append(order, "delivered") }
			o.Failed = func(record.Batch, []Rejected) error { order = append(order, "failed"); return nil }
		})
		r.add(t, 3)
		stop := r.run(t)
		synctest.Wait()
		require.Equal(t, []string{"failed", "delivered"}, order)
		stop()
	})
}

func TestWorkerEndsWhileFailedFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &fakeSender{send: func(n []string) (Result, error) {
			return Result{Taken: len(n), Rejected: []Rejected{{Index: 0, Reason: "bad"}}}, nil
		}}
		full, calls := errors.New("no space left"), 0
		r := newRig(t, s, func(o *Options) { refusing(o, &full, &calls) })
		r.add(t, 2)
		stop := r.run(t)
		r.pass(time.Minute)
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		require.ErrorIs(t, r.w.Flush(ctx), context.DeadlineExceeded)
		stop()
		require.EqualValues(t, 2, r.q.Stats().Points)
	})
}

// TestDeadLettersAreWrittenOnce has the callback behind the file fail after the file took the points.
func TestDeadLettersAreWrittenOnce(t *testing.T) {
	path := t.TempDir() + "/dead"
	d, err := OpenDeadLetters(path, 0, nil)
	require.NoError(t, err)
	d.Destination, d.Tenant = "carbon a:2004", "acme"
	d.Now = func() time.Time { return time.Unix(1700000000, 0) }
	var w record.Writer
	var rejected []Rejected
	const n = 3*entriesAtOnce + 5
	for i := range n {
		w.Add(&record.Point{Name: strconv.AppendInt(nil, int64(i), 10), Timestamp: int64(i), Value: 0.5, Tag: 3})
		if i%2 == 1 {
			rejected = append(rejected, Rejected{Index: i, Reason: "bad", Detail: "why"})
		}
	}
	b, err := record.Decode(w.Bytes())
	require.NoError(t, err)
	for range 3 {
		require.NoError(t, d.Record(b, rejected))
	}
	d.Settled()
	require.EqualValues(t, len(rejected), d.Stats().Points)
	require.NoError(t, d.Record(b, rejected[:1]), "others are put on record again")
	d.Settled()
	require.NoError(t, d.Close())
	require.ErrorIs(t, d.Record(b, rejected), deadletter.ErrClosed)

	var got []deadletter.Entry
	_, err = deadletter.Read(path, func(e deadletter.Entry) error { got = append(got, e); return nil })
	require.NoError(t, err)
	require.Len(t, got, len(rejected)+1)
	for i, e := range got[:len(rejected)] {
		require.Equal(t, strconv.Itoa(2*i+1), string(e.Name))
		require.EqualValues(t, 2*i+1, e.Timestamp)
		require.EqualValues(t, 3, e.Tag)
		require.Equal(t, "carbon a:2004 acme bad why", strings.Join([]string{e.Destination, e.Tenant, e.Reason, e.Detail}, " "))
		require.Equal(t, time.Unix(1700000000, 0).UTC(), e.At.UTC())
	}
	var none *DeadLetters
	require.NoError(t, none.Record(b, rejected))
	none.Settled()
	require.Zero(t, none.Stats())
	require.NoError(t, none.Close())
	_, err = OpenDeadLetters(t.TempDir()+"/missing/dead", 0, nil)
	require.ErrorContains(t, err, "missing")
}

// TestAccountWhenTheQueueDrops lets all that can fail fail, in a queue that drops its oldest records: each point is
// delivered, rejected, dropped or pending, and none is reported twice.
func TestAccountWhenTheQueueDrops(t *testing.T) {
	for seed := range uint64(60) {
		synctest.Test(t, func(t *testing.T) {
			rnd, load := rand.New(rand.NewPCG(seed, 17)), rand.New(rand.NewPCG(seed, 18))
			windowed, down := seed%2 == 0, false
			s := &fakeSender{send: func(n []string) (Result, error) {
				if down || rnd.IntN(5) == 0 {
					return Result{}, errors.New("send fails")
				}
				res := Result{Taken: 1 + rnd.IntN(len(n))}
				for i := range res.Taken {
					switch {
					case strings.HasSuffix(n[i], "7"):
						res.Rejected = append(res.Rejected, Rejected{Index: i, Reason: "seven"})
					case !windowed && rnd.IntN(4) == 0:
						res.Retry = append(res.Retry, i)
					}
				}
				return res, nil
			}}
			r := newRig(t, s, func(o *Options) {
				o.Queue = openMemory(t, true)
				o.BatchBytes = 4000
				if windowed {
					o.ConfirmAfter, o.ConfirmBytes = time.Second, 9000
				}
				failed := o.Failed
				o.Failed = func(b record.Batch, rej []Rejected) error {
					if rnd.IntN(3) == 0 {
						return errors.New("failed fails")
					}
					return failed(b, rej)
				}
			})
			if windowed {
				s.confirm = func() error {
					if down || rnd.IntN(4) == 0 {
						return errors.New("confirm fails")
					}
					return nil
				}
			}
			stop := r.run(t)
			balance := func() {
				t.Helper()
				st := r.w.Stats()
				pending, dropped := st.Balance(r.q.Stats())
				require.EqualValues(t, r.next, int64(st.Delivered+st.Rejected["seven"]+dropped[DroppedFull])+pending, "%+v %+v", st, r.q.Stats())
				require.Len(t, r.delivered, int(st.Delivered))
				require.Len(t, r.failed, int(st.Rejected["seven"]))
			}
			for round := range 6 {
				s.mu.Lock()
				down = round%2 == 1
				s.mu.Unlock()
				for range 30 {
					r.addWide(t, 1+load.IntN(20))
					time.Sleep(time.Duration(load.IntN(2000)) * time.Millisecond)
				}
				r.pass(time.Millisecond)
				balance()
			}
			s.mu.Lock()
			down = false
			s.mu.Unlock()
			require.NoError(t, r.w.Flush(context.Background()))
			stop()
			balance()
			require.Zero(t, r.q.Stats().Points)
			require.Positive(t, r.q.Stats().Dropped)
			seen := map[string]bool{}
			for _, n := range append(r.delivered, r.failed...) {
				require.False(t, seen[n], n)
				seen[n] = true
			}
		})
	}
}
