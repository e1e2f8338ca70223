package dedup_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"

	"github.com/fluxmetrics/fluxkit/dedup"
)

func mark(name string, ts int64, value float64) dedup.Mark {
	return dedup.Mark{Metric: []byte(name), Timestamp: ts, Value: value}
}

func last(t testing.TB, s dedup.Store, name string) int64 {
	t.Helper()
	m := []dedup.Mark{{Metric: []byte(name)}}
	require.NoError(t, s.Last(t.Context(), m))
	return m[0].Timestamp
}

func raise(t testing.TB, s dedup.Store, m ...dedup.Mark) {
	t.Helper()
	require.NoError(t, s.Raise(t.Context(), m))
}

// What every store does.
func testStore(t *testing.T, s dedup.Store) {
	m := []dedup.Mark{mark("a", 7, 7), mark("b", 0, 0)}
	require.NoError(t, s.Last(t.Context(), m))
	for i := range m {
		require.EqualValues(t, dedup.None, m[i].Timestamp)
		require.True(t, math.IsNaN(m[i].Value))
	}
	raise(t, s, mark("a", 1478021700000, 1), mark("b", 1478021700500, 2.5))
	raise(t, s, mark("a", 1478021640000, 9)) // lower
	raise(t, s, mark("a", 1478021700000, 8)) // equal
	raise(t, s, mark("never", dedup.None, 1))
	raise(t, s)
	raise(t, s, mark("c", 1000, 1), mark("c", 3000, 3), mark("c", 2000, 2)) // more than once
	m = []dedup.Mark{mark("a", 0, 0), mark("b", 0, 0), mark("c", 0, 0), mark("a", 0, 0), mark("never", 0, 0)}
	require.NoError(t, s.Last(t.Context(), m))
	require.Equal(t, mark("a", 1478021700000, 1), m[0])
	require.Equal(t, mark("b", 1478021700500, 2.5), m[1])
	require.Equal(t, mark("c", 3000, 3), m[2])
	require.Equal(t, m[0], m[3])
	require.EqualValues(t, dedup.None, m[4].Timestamp)
	require.NoError(t, s.Last(t.Context(), nil))
}

func TestMemory(t *testing.T) {
	testStore(t, &dedup.Memory{})
	testStore(t, &dedup.Memory{MaxMetrics: 10})
}

func TestMemorySet(t *testing.T) {
	s := &dedup.Memory{}
	require.NoError(t, s.Set(t.Context(), mark("a", 2000, 1)))
	require.NoError(t, s.Set(t.Context(), mark("a", 1000, 1)))
	require.EqualValues(t, 1000, last(t, s, "a"))
	require.NoError(t, s.Remove(t.Context(), []byte("a")))
	require.NoError(t, s.Remove(t.Context(), []byte("a")))
	require.EqualValues(t, dedup.None, last(t, s, "a"))
	require.Equal(t, dedup.MemoryStats{}, s.Stats())
}

func TestMemoryEvictsLeastRecentlyUsed(t *testing.T) {
	s := &dedup.Memory{MaxMetrics: 3}
	raise(t, s, mark("a", 1, 0), mark("b", 1, 0), mark("c", 1, 0))
	last(t, s, "a")              // read
	raise(t, s, mark("b", 2, 0)) // raised
	raise(t, s, mark("d", 1, 0)) // c goes
	require.EqualValues(t, dedup.None, last(t, s, "c"))
	require.EqualValues(t, 1, last(t, s, "a"))
	require.EqualValues(t, 2, last(t, s, "b"))
	require.EqualValues(t, 1, last(t, s, "d"))
	st := s.Stats()
	require.EqualValues(t, 3, st.Metrics)
	require.EqualValues(t, 1, st.Evicted)
}

func TestMemoryBounds(t *testing.T) {
	for name, s := range map[string]*dedup.Memory{
		"metrics": {MaxMetrics: 5000},
		"bytes":   {MaxBytes: 500_000},
	} {
		for i := range 20_000 {
			raise(t, s, mark(fmt.Sprintf("some.metric.%d", i), 1, 0))
		}
		st := s.Stats()
		require.LessOrEqual(t, st.Metrics, int64(5200), name)
		require.LessOrEqual(t, st.Bytes, int64(510_000), name)
		require.Greater(t, st.Metrics, int64(4000), name)
		require.EqualValues(t, 20_000-st.Metrics, st.Evicted, name)
	}
}

func TestMemorySaveRestore(t *testing.T) {
	s := &dedup.Memory{MaxMetrics: 10_000}
	for i := range 5000 {
		raise(t, s, mark(fmt.Sprintf("metric.%d", i), int64(i), float64(i)/3))
	}
	raise(t, s, mark("", 5, math.Inf(1)))
	var file bytes.Buffer
	require.NoError(t, s.Save(&file))

	back := &dedup.Memory{MaxMetrics: 10_000}
	raise(t, back, mark("metric.7", 1000, 1)) // later than saved: stays
	require.NoError(t, back.Restore(bytes.NewReader(file.Bytes())))
	require.EqualValues(t, 5001, back.Stats().Metrics)
	require.EqualValues(t, 1000, last(t, back, "metric.7"))
	require.EqualValues(t, 4999, last(t, back, "metric.4999"))
	require.EqualValues(t, 5, last(t, back, ""))

	t.Run("recency", func(t *testing.T) {
		s, back, file := &dedup.Memory{MaxMetrics: 3}, &dedup.Memory{MaxMetrics: 3}, bytes.Buffer{}
		raise(t, s, mark("a", 1, 0), mark("b", 1, 0), mark("c", 1, 0))
		last(t, s, "a")
		require.NoError(t, s.Save(&file))
		require.NoError(t, back.Restore(&file))
		raise(t, back, mark("d", 1, 0))
		require.EqualValues(t, dedup.None, last(t, back, "b"))
	})
	t.Run("damaged", func(t *testing.T) {
		for cut := 0; cut < file.Len(); cut += 1 + file.Len()/97 {
			err := new(dedup.Memory).Restore(bytes.NewReader(file.Bytes()[:cut]))
			require.ErrorIs(t, err, dedup.ErrFormat, "cut at %d", cut)
			bad := bytes.Clone(file.Bytes())
			bad[cut] ^= 0x10
			require.ErrorIs(t, new(dedup.Memory).Restore(bytes.NewReader(bad)), dedup.ErrFormat, "flipped at %d", cut)
		}
	})
	t.Run("errors", func(t *testing.T) {
		broken := errors.New("broken")
		require.ErrorIs(t, new(dedup.Memory).Restore(iotest.ErrReader(broken)), broken)
		require.ErrorIs(t, s.Save(failingWriter{broken}), broken)
	})
}

type failingWriter struct{ err error }

func (w failingWriter) Write([]byte) (int, error) { return 0, w.err }

func FuzzRestore(f *testing.F) {
	s := &dedup.Memory{}
	_ = s.Raise(context.Background(), []dedup.Mark{mark("a.b", 1478021700000, 1), mark("c", -5, 2.5)})
	var file bytes.Buffer
	_ = s.Save(&file)
	f.Add(file.Bytes())
	f.Add(file.Bytes()[:20])
	f.Add([]byte("fluxkit marks 1\n\x00\x00\x00\x00\x00\x00\x00\x00"))
	f.Fuzz(func(t *testing.T, data []byte) {
		s := &dedup.Memory{MaxMetrics: 100}
		if err := s.Restore(bytes.NewReader(data)); err != nil {
			require.ErrorIs(t, err, dedup.ErrFormat)
			return
		}
		var file bytes.Buffer
		require.NoError(t, s.Save(&file))
		require.NoError(t, new(dedup.Memory).Restore(&file))
	})
}

func TestMemoryConcurrent(t *testing.T) {
	s, small := &dedup.Memory{}, &dedup.Memory{MaxMetrics: 1500}
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := range 2000 {
				m := []dedup.Mark{mark(fmt.Sprint(i%700), int64(i*8+g), 1), mark(fmt.Sprint(g, i), 1, 1)}
				_ = small.Raise(t.Context(), m)
				_ = s.Raise(t.Context(), m)
				was := m[0].Timestamp
				_ = s.Last(t.Context(), m)
				if ts := m[0].Timestamp; ts < was {
					t.Errorf("mark %d below %d", ts, was)
				}
			}
		})
	}
	wg.Wait()
	require.LessOrEqual(t, small.Stats().Metrics, int64(1500+64))
}
