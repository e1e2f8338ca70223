package deliver

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fluxmetrics/fluxkit/internal/queue"
	"github.com/fluxmetrics/fluxkit/internal/record"
)

// fakeSender calls its functions and keeps the names of the points that it was given.
type fakeSender struct {
	mu      sync.Mutex
	send    func(names []string) (Result, error)
	confirm func() error
	closed  int
}

func (f *fakeSender) Send(_ context.Context, b record.Batch) (Result, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.send == nil {
		return Result{Taken: b.Len()}, nil
	}
	return f.send(names(b))
}

func (f *fakeSender) Confirm(context.Context) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.confirm == nil {
		return nil
	}
	return f.confirm()
}

func (f *fakeSender) Close() error { f.closed++; return nil }

// order makes what was done before it, by the test or the worker, happen before what the other does after it.
func (f *fakeSender) order() {
	f.mu.Lock()
	//lint:ignore SA2001 an ordering of memory, not a critical section
	f.mu.Unlock()
}

func names(b record.Batch) []string {
	var out []string
	var p record.Point
	for c := b.Cursor(); c.Next(&p); {
		out = append(out, string(p.Name))
	}
	return out
}

// rig is a queue, a worker and what the worker reported.
type rig struct {
	q         *queue.Queue
	w         *Worker
	s         *fakeSender
	delivered []string
	failed    []string
	next      int
}

func newRig(t *testing.T, s *fakeSender, change func(*Options)) *rig {
	t.Helper()
	q, err := queue.Open(queue.Options{MaxBytes: 8 << 20})
	require.NoError(t, err)
	r := &rig{q: q, s: s}
	o := Options{
		Name: "test", Queue: q, Sender: s,
		Delivered: func(b record.Batch) {
			s.order()
			r.delivered = append(r.delivered, names(b)...)
		},
		Failed: func(b record.Batch, rej []Rejected) error {
			s.order()
			for _, x := range rej {
				r.failed = append(r.failed, names(b)[x.Index]+" "+x.Reason)
			}
			return nil
		},
	}
	if change != nil {
		change(&o)
	}
	r.q = o.Queue
	r.w = New(o)
	return r
}

// openMemory opens the smallest queue there is.
func openMemory(t *testing.T, dropOldest bool) *queue.Queue {
	t.Helper()
	q, err := queue.Open(queue.Options{MaxBytes: queue.MinMaxBytes, DropOldest: dropOldest})
	require.NoError(t, err)
	return q
}

// add appends a record of n points named by their ordinal.
func (r *rig) add(t *testing.T, n int) { t.Helper(); r.addSized(t, n, 0) }

// addWide is add with points of about a kilobyte, so that a small queue is soon full.
func (r *rig) addWide(t *testing.T, n int) { t.Helper(); r.addSized(t, n, 1000) }

func (r *rig) addSized(t *testing.T, n, extra int) {
	t.Helper()
	var w record.Writer
	for range n {
		w.Add(&record.Point{Name: strconv.AppendInt(nil, int64(r.next), 10), Extra: make([]byte, extra)})
		r.next++
	}
	_, err := r.q.Append(context.Background(), w.Bytes(), n)
	require.NoError(t, err)
}

// pass lets so much time go by and all come to rest. What the test read before it happens before what the sender does
// from now on.
func (r *rig) pass(d time.Duration) {
	r.s.order()
	time.Sleep(d)
	synctest.Wait()
}

// run starts the worker and returns what stops it and waits for its end.
func (r *rig) run(t *testing.T) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- r.w.Run(ctx) }()
	return func() {
		cancel()
		require.ErrorIs(t, <-done, context.Canceled)
	}
}

func upTo(n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = strconv.Itoa(i)
	}
	return out
}

func TestDeliversInOrderAndAcknowledges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &fakeSender{}
		r := newRig(t, s, nil)
		for range 10 {
			r.add(t, 7)
		}
		stop := r.run(t)
		synctest.Wait()
		require.Equal(t, upTo(70), r.delivered)
		require.Zero(t, r.q.Stats().Points)
		require.EqualValues(t, 70, r.w.Stats().Delivered)
		stop()
		require.Equal(t, 1, s.closed)
	})
}

func TestNothingIsAcknowledgedUnconfirmed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var sent [][]string
		fail := true
		s := &fakeSender{
			send: func(n []string) (Result, error) { sent = append(sent, n); return Result{Taken: len(n)}, nil },
			confirm: func() error {
				if fail {
					return errors.New("peer reset")
				}
				return nil
			},
		}
		r := newRig(t, s, func(o *Options) { o.ConfirmAfter = 2 * time.Second; o.ConfirmBytes = 1 << 20 })
		r.add(t, 3)
		stop := r.run(t)
		r.pass(time.Second)
		require.Equal(t, [][]string{upTo(3)}, sent)
		require.Empty(t, r.delivered, "sent, not yet confirmed")
		require.EqualValues(t, 3, r.q.Stats().Points)
		r.pass(2 * time.Second)
		require.Equal(t, [][]string{upTo(3), upTo(3)}, sent, "sent again after the failed confirmation")
		require.Empty(t, r.delivered)
		require.Equal(t, "peer reset", r.w.Stats().LastError)
		fail = false
		r.pass(3 * time.Second)
		require.Equal(t, upTo(3), r.delivered)
		require.Zero(t, r.q.Stats().Points)
		st := r.w.Stats()
		require.EqualValues(t, 3, st.Resent)
		require.Empty(t, st.LastError)
		stop()
	})
}

func TestBacksOffAndRetriesWithoutNewPoints(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var at []time.Time
		s := &fakeSender{send: func(n []string) (Result, error) {
			at = append(at, time.Now())
			if len(at) < 8 {
				return Result{}, errors.New("503")
			}
			return Result{Taken: len(n)}, nil
		}}
		r := newRig(t, s, func(o *Options) { o.BackoffMin = time.Second; o.BackoffMax = 8 * time.Second })
		r.add(t, 1)
		stop := r.run(t)
		r.pass(time.Minute)
		require.Len(t, at, 8)
		for i := 1; i < len(at); i++ {
			gap, most := at[i].Sub(at[i-1]), min(time.Second<<(i-1), 8*time.Second)
			require.LessOrEqual(t, gap, most)
			require.GreaterOrEqual(t, gap, most/2)
		}
		require.Equal(t, upTo(1), r.delivered)
		require.EqualValues(t, 7, r.w.Stats().Failures)
		stop()
	})
}

// TestPeerThatTakesAndNeverConfirms is a proxy whose backend is dead: it reads, and resets.
func TestPeerThatTakesAndNeverConfirms(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sends := 0
		s := &fakeSender{
			send:    func(n []string) (Result, error) { sends++; return Result{Taken: len(n)}, nil },
			confirm: func() error { return errors.New("reset") },
		}
		r := newRig(t, s, func(o *Options) {
			o.ConfirmAfter, o.ConfirmBytes = time.Second, 1
			o.BackoffMin, o.BackoffMax = time.Second, time.Minute
		})
		r.add(t, 1)
		stop := r.run(t)
		r.pass(2 * time.Minute)
		require.Less(t, sends, 10)
		require.Greater(t, sends, 5)
		require.EqualValues(t, sends, r.w.Stats().Resent, "each was to be sent again")
		stop()
	})
}

func TestPointsGivenUpAreLoggedOnceASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log strings.Builder
		s := &fakeSender{send: func(n []string) (Result, error) {
			res := Result{Taken: len(n)}
			for i := range n {
				res.Rejected = append(res.Rejected, Rejected{Index: i, Reason: "bad_name", Detail: "holds a blank"})
			}
			return res, nil
		}}
		r := newRig(t, s, func(o *Options) { o.Logger = slog.New(slog.NewTextHandler(&log, nil)) })
		stop := r.run(t)
		for range 10 {
			r.add(t, 100)
			r.pass(500 * time.Millisecond)
		}
		stop()
		require.Len(t, r.failed, 1000)
		require.Equal(t, 5, strings.Count(log.String(), "points given up"))
		require.Contains(t, log.String(), `reason=bad_name detail="holds a blank" example="\"0\"" points=1`)
	})
}

func TestRetryAfterIsHonoured(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		calls := 0
		s := &fakeSender{send: func(n []string) (Result, error) {
			if calls++; calls == 1 {
				return Result{RetryAfter: 20 * time.Second}, errors.New("429")
			}
			require.GreaterOrEqual(t, time.Since(start), 20*time.Second)
			return Result{Taken: len(n)}, nil
		}}
		r := newRig(t, s, nil)
		r.add(t, 1)
		stop := r.run(t)
		r.pass(time.Minute)
		require.Equal(t, upTo(1), r.delivered)
		stop()
	})
}

func TestFlushCutsABackoffShortOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		calls := 0
		s := &fakeSender{send: func([]string) (Result, error) { calls++; return Result{}, errors.New("refused") }}
		r := newRig(t, s, func(o *Options) { o.BackoffMin, o.BackoffMax = time.Hour, time.Hour })
		r.add(t, 1)
		stop := r.run(t)
		synctest.Wait()
		require.Equal(t, 1, calls)
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		require.ErrorIs(t, r.w.Flush(ctx), context.DeadlineExceeded)
		synctest.Wait()
		require.Equal(t, 2, calls)
		stop()
	})
}

func TestReplayAge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		now := time.Now()
		fail := true
		var sent [][]string
		s := &fakeSender{
			send: func(n []string) (Result, error) { sent = append(sent, n); return Result{Taken: len(n)}, nil },
			confirm: func() error {
				if fail {
					fail = false
					return errors.New("reset")
				}
				return nil
			},
		}
		r := newRig(t, s, func(o *Options) {
			o.ConfirmAfter, o.ConfirmBytes, o.MaxReplayAge = time.Second, 1<<20, time.Minute
		})
		addAt := func(names string, age time.Duration) {
			var w record.Writer
			for _, name := range names {
				w.Add(&record.Point{Name: []byte(string(name)), Timestamp: now.Add(-age).UnixMilli()})
			}
			_, err := r.q.Append(context.Background(), w.Bytes(), w.Len())
			require.NoError(t, err)
		}
		addAt("ab", time.Hour)
		addAt("cd", 0)
		addAt("ef", time.Hour)
		addAt("g", 0)
		stop := r.run(t)
		r.pass(1500 * time.Millisecond)
		addAt("hi", time.Hour) // never sent before
		require.NoError(t, r.w.Flush(context.Background()))
		require.Equal(t, [][]string{{"a", "b", "c", "d", "e", "f", "g"}, {"c", "d"}, {"g"}, {"h", "i"}}, sent)
		require.Equal(t, []string{"c", "d", "g", "h", "i"}, r.delivered)
		require.Equal(t, []string{"a replay_age", "b replay_age", "e replay_age", "f replay_age"}, r.failed)
		require.Zero(t, r.q.Stats().Points)
		stop()
	})
}

// TestReplayAgeSparesWhatWasNeverSent has the destination refuse connections for longer than the age.
func TestReplayAgeSparesWhatWasNeverSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		up := false
		s := &fakeSender{send: func(n []string) (Result, error) {
			if !up {
				return Result{}, errors.New("connection refused")
			}
			return Result{Taken: len(n)}, nil
		}}
		r := newRig(t, s, func(o *Options) { o.MaxReplayAge = time.Minute })
		var w record.Writer
		w.Add(&record.Point{Name: []byte("a"), Timestamp: time.Now().UnixMilli()})
		_, err := r.q.Append(context.Background(), w.Bytes(), 1)
		require.NoError(t, err)
		stop := r.run(t)
		r.pass(time.Hour)
		up = true
		r.pass(time.Hour)
		require.Equal(t, []string{"a"}, r.delivered)
		require.Empty(t, r.failed)
		stop()
	})
}

func TestClosedQueueIsDeliveredAndRests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, &fakeSender{}, nil)
		r.add(t, 3)
		require.NoError(t, r.q.Close())
		stop := r.run(t)
		synctest.Wait() // does not return while a goroutine is busy
		require.Equal(t, upTo(3), r.delivered)
		stop()
	})
}

// TestLingerOfATail has a sender that is slow to take some of a backlog: what it leaves goes by its own deadline, not by
// one that begins anew.
func TestLingerOfATail(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var sent []time.Duration
		start := time.Now()
		s := &fakeSender{}
		s.send = func(n []string) (Result, error) {
			sent = append(sent, time.Since(start))
			s.mu.Unlock()
			time.Sleep(10 * time.Second)
			s.mu.Lock()
			return Result{Taken: min(5, len(n))}, nil
		}
		r := newRig(t, s, func(o *Options) {
			o.Linger = 30 * time.Second
			o.Full = func(points, _ int) bool { return points >= 5 }
		})
		for range 4 {
			r.add(t, 3)
		}
		stop := r.run(t)
		r.pass(5 * time.Second)
		r.add(t, 1) // is read at 10 s
		r.pass(time.Minute)
		require.Equal(t, []time.Duration{0, 10 * time.Second, 30 * time.Second}, sent)
		require.Equal(t, upTo(13), r.delivered)
		stop()
	})
}

// TestLingerOfARecordThatIsCut has a sender that takes half of a record, late: the rest of it is overdue at once.
func TestLingerOfARecordThatIsCut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var sent []int
		start := time.Now()
		s := &fakeSender{send: func(n []string) (Result, error) {
			sent = append(sent, int(time.Since(start)/time.Second))
			return Result{Taken: min(3, len(n))}, nil
		}}
		r := newRig(t, s, func(o *Options) { o.Linger = 30 * time.Second })
		stop := r.run(t)
		r.add(t, 5)
		r.pass(time.Minute)
		require.Equal(t, []int{30, 30}, sent)
		stop()
	})
}

// TestSpacing has points trickle in: the first after a rest goes at once, the next ones together.
func TestSpacing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var sent [][]string
		s := &fakeSender{send: func(names []string) (Result, error) {
			sent = append(sent, names)
			return Result{Taken: len(names)}, nil
		}}
		r := newRig(t, s, func(o *Options) {
			o.Spacing, o.BatchBytes = 5*time.Millisecond, 4000
			o.ConfirmAfter, o.ConfirmBytes = time.Hour, 1<<30
		})
		defer r.run(t)()
		took := func(want ...[]string) {
			t.Helper()
			s.order()
			require.Equal(t, want, sent)
			sent = nil
		}
		r.add(t, 1)
		r.pass(0)
		took([]string{"0"})
		for range 4 {
			r.add(t, 1)
			r.pass(time.Millisecond)
		}
		took()
		r.pass(time.Millisecond)
		took([]string{"1", "2", "3", "4"})
		r.pass(time.Minute)
		r.add(t, 1)
		r.pass(0)
		took([]string{"5"}) // after a rest
		r.add(t, 1)
		r.pass(0)
		took()
		for range 5 {
			r.addWide(t, 1)
		}
		r.pass(5 * time.Millisecond)
		took([]string{"6", "7", "8", "9", "10"}) // full
		r.pass(5 * time.Millisecond)
		took([]string{"11"})
		r.add(t, 1)
		r.pass(0)
		took()
		go func() { _ = r.w.Flush(t.Context()) }()
		r.pass(0)
		require.NotEmpty(t, sent)
	})
}

func TestLingerAndFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		type call struct {
			at time.Duration
			n  int
		}
		var calls []call
		s := &fakeSender{send: func(n []string) (Result, error) {
			calls = append(calls, call{time.Since(start), len(n)})
			return Result{Taken: min(len(n), 10)}, nil
		}}
		r := newRig(t, s, func(o *Options) {
			o.Linger = 30 * time.Second
			o.Full = func(points, _ int) bool { return points >= 10 }
		})
		stop := r.run(t)
		r.add(t, 4)
		r.pass(10 * time.Second)
		r.add(t, 3)
		r.pass(30 * time.Second)
		require.Equal(t, []call{{30 * time.Second, 7}}, calls, "an unfilled batch waits for the interval")
		calls = nil
		r.add(t, 25)
		synctest.Wait()
		require.Equal(t, []call{{40 * time.Second, 25}, {40 * time.Second, 15}}, calls, "full ones go at once, the rest waits")
		r.pass(time.Minute)
		require.Equal(t, call{70 * time.Second, 5}, calls[2])
		stop()
	})
}

func TestFlushDoesNotWaitForTheInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		r := newRig(t, &fakeSender{}, func(o *Options) { o.Linger = time.Hour; o.ConfirmAfter = time.Hour; o.ConfirmBytes = 1 << 30 })
		stop := r.run(t)
		r.add(t, 4)
		synctest.Wait()
		require.NoError(t, r.w.Flush(context.Background()))
		require.Zero(t, time.Since(start))
		require.Equal(t, upTo(4), r.delivered)
		stop()

		r.add(t, 1)
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		require.ErrorIs(t, r.w.Flush(ctx), context.DeadlineExceeded, "nobody delivers any more")
	})
}

func TestRejectedAndRetried(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var sent [][]string
		s := &fakeSender{}
		s.send = func(n []string) (Result, error) {
			sent = append(sent, n)
			if len(sent) == 1 {
				return Result{Taken: 6, Rejected: []Rejected{{1, "bad", "why"}, {4, "old", ""}}, Retry: []int{2, 5}}, nil
			}
			return Result{Taken: len(n)}, nil
		}
		r := newRig(t, s, nil)
		r.add(t, 4)
		r.add(t, 4)
		stop := r.run(t)
		synctest.Wait()
		require.Equal(t, [][]string{upTo(8), {"2", "5", "6", "7"}}, sent, "what is tried again goes first")
		require.Equal(t, []string{"0", "3", "2", "5", "6", "7"}, r.delivered)
		require.Equal(t, []string{"1 bad", "4 old"}, r.failed)
		require.Equal(t, map[string]uint64{"bad": 1, "old": 1}, r.w.Stats().Rejected)
		require.Zero(t, r.q.Stats().Points)
		stop()
	})
}

func TestRetryHoldsTheAcknowledgement(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		calls := 0
		s := &fakeSender{}
		r := newRig(t, s, nil)
		s.send = func(n []string) (Result, error) {
			calls++
			switch calls {
			case 1:
				return Result{Taken: len(n), Retry: []int{1}}, nil
			case 2:
				require.EqualValues(t, 0, r.q.Acked(), "point 1 stands in the first record")
				return Result{}, errors.New("503")
			}
			return Result{Taken: len(n)}, nil
		}
		r.add(t, 2)
		r.add(t, 2)
		stop := r.run(t)
		require.NoError(t, r.w.Flush(context.Background()))
		require.ElementsMatch(t, upTo(4), r.delivered)
		stop()
	})
}

func TestDamagedRecordIsPassedOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, &fakeSender{}, nil)
		_, err := r.q.Append(context.Background(), []byte("no record"), 1)
		require.NoError(t, err)
		stop := r.run(t)
		synctest.Wait()
		require.Zero(t, r.q.Stats().Records)
		r.add(t, 1)
		require.NoError(t, r.w.Flush(context.Background()))
		require.Equal(t, upTo(1), r.delivered)
		stop()
	})
}

func TestSenderThatTakesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, &fakeSender{send: func([]string) (Result, error) { return Result{}, nil }}, nil)
		r.add(t, 1)
		stop := r.run(t)
		r.pass(time.Minute)
		require.Equal(t, errTookNothing.Error(), r.w.Stats().LastError)
		stop()
	})
}

// TestAccountUnderRandomFaults lets a sender do all that the contract allows and checks that each point ends in one
// account: delivered once or rejected once, the queue empty.
func TestAccountUnderRandomFaults(t *testing.T) {
	for seed := range uint64(60) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				rnd, load := rand.New(rand.NewPCG(seed, 7)), rand.New(rand.NewPCG(seed, 8))
				windowed := seed%2 == 0
				doomed := func(name string) bool { n, _ := strconv.Atoi(name); return n%13 == 5 }
				s := &fakeSender{send: func(n []string) (Result, error) {
					if rnd.IntN(5) == 0 {
						return Result{}, errors.New("send fails")
					}
					res := Result{Taken: 1 + rnd.IntN(len(n))}
					for i := range res.Taken {
						switch {
						case doomed(n[i]):
							res.Rejected = append(res.Rejected, Rejected{Index: i, Reason: "doomed"})
						case !windowed && rnd.IntN(4) == 0:
							res.Retry = append(res.Retry, i)
						}
					}
					return res, nil
				}}
				r := newRig(t, s, func(o *Options) {
					o.BatchBytes = 600
					if windowed {
						o.ConfirmAfter, o.ConfirmBytes = time.Second, 900
					}
				})
				if windowed {
					s.confirm = func() error {
						if rnd.IntN(4) == 0 {
							return errors.New("confirm fails")
						}
						return nil
					}
				}
				stop := r.run(t)
				for range 40 {
					r.add(t, 1+load.IntN(20))
					time.Sleep(time.Duration(load.IntN(2000)) * time.Millisecond)
				}
				require.NoError(t, r.w.Flush(context.Background()))
				stop()
				good, bad := 0, 0
				for i := range r.next {
					if doomed(strconv.Itoa(i)) {
						bad++
					} else {
						good++
					}
				}
				require.Len(t, r.failed, bad)
				require.ElementsMatch(t, func() (want []string) {
					for _, n := range upTo(r.next) {
						if !doomed(n) {
							want = append(want, n)
						}
					}
					return want
				}(), r.delivered)
				st := r.w.Stats()
				require.EqualValues(t, good, st.Delivered)
				require.EqualValues(t, bad, st.Rejected["doomed"])
				require.Zero(t, r.q.Stats().Points)
			})
		})
	}
}
