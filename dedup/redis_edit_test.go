package dedup_test

import (
	"bytes"
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fluxmetrics/fluxkit/dedup"
)

var (
	_ dedup.Editor = (*dedup.Memory)(nil)
	_ dedup.Editor = (*dedup.Redis)(nil)
)

// What every editor does.
func testEditor(t *testing.T, s dedup.Editor) {
	mark1 := func(ts int64, v float64) dedup.Mark { return mark("edited", ts, v) }
	get := func() dedup.Mark {
		t.Helper()
		g, err := s.Get(t.Context(), []byte("edited"))
		require.NoError(t, err)
		require.Equal(t, "edited", string(g.Mark.Metric))
		require.Equal(t, last(t, s, "edited"), g.Mark.Timestamp)
		return g.Mark
	}
	require.EqualValues(t, dedup.None, get().Timestamp)
	require.True(t, math.IsNaN(get().Value))
	require.NoError(t, s.Set(t.Context(), mark1(1478021700_000, 2)))
	require.Equal(t, mark1(1478021700_000, 2), get())
	require.NoError(t, s.Set(t.Context(), mark1(1478021640_500, 3)), "lower")
	require.Equal(t, mark1(1478021640_500, 3), get())
	raise(t, s, mark1(1478021650_000, 4))
	require.Equal(t, mark1(1478021650_000, 4), get())
	require.NoError(t, s.Set(t.Context(), mark1(dedup.None, 0)))
	require.EqualValues(t, dedup.None, get().Timestamp)
	raise(t, s, mark1(5000, 4))
	for range 2 {
		require.NoError(t, s.Remove(t.Context(), []byte("edited")))
		require.EqualValues(t, dedup.None, get().Timestamp)
	}
}

func TestEditor(t *testing.T) {
	testEditor(t, &dedup.Memory{})
	for _, opts := range []dedup.RedisOptions{{}, {SkylineHash: true, TTL: time.Hour}} {
		_, s := miniStore(t, opts)
		testEditor(t, s)
	}
}

// A saved file can be mended, too.
func TestEditorOfAFile(t *testing.T) {
	var file bytes.Buffer
	s := &dedup.Memory{}
	raise(t, s, mark("m", 5000, 1), mark("other", 7000, 1))
	require.NoError(t, s.Save(&file))
	s = &dedup.Memory{}
	require.NoError(t, s.Restore(&file))
	require.NoError(t, s.Set(t.Context(), mark("m", 2000, 1)))
	require.NoError(t, s.Save(&file))
	s = &dedup.Memory{}
	require.NoError(t, s.Restore(&file))
	require.EqualValues(t, 2000, last(t, s, "m"))
	require.EqualValues(t, 7000, last(t, s, "other"))
}

func TestRedisGetTellsWhatIsStored(t *testing.T) {
	srv, s := miniStore(t, dedup.RedisOptions{})
	get := func() dedup.Stored {
		g, err := s.Get(t.Context(), []byte("m"))
		require.NoError(t, err)
		return g
	}
	require.Empty(t, get().Texts)
	require.NoError(t, srv.Set("flux.last.m", "[100, nan]"))
	srv.SetTTL("flux.last.m", time.Hour)
	srv.HSet(skylineHash, "m", "{'timestamp': 90, 'value': 1.5}")
	g := get()
	require.Equal(t, mark("m", 90_000, 1.5), g.Mark)
	require.Len(t, g.Texts, 2)
	require.Equal(t, "flux.last.m", g.Texts[0].Key)
	require.Empty(t, g.Texts[0].Field)
	require.Equal(t, "[100, nan]", g.Texts[0].Value)
	require.EqualValues(t, dedup.None, g.Texts[0].Mark.Timestamp, "as Skyline would read it: not at all")
	require.Equal(t, time.Hour, g.Texts[0].TTL)
	require.Equal(t, dedup.Text{
		Key: skylineHash, Field: "m", Value: "{'timestamp': 90, 'value': 1.5}", Mark: mark("m", 90_000, 1.5),
	}, g.Texts[1])

	require.NoError(t, srv.Set("flux.last.m", "[100, 2.0]"))
	require.Equal(t, mark("m", 100_000, 2), get().Mark, "the later of the two")
	srv.Del("flux.last.m")
	_, err := srv.SAdd("flux.last.m", "x")
	require.NoError(t, err)
	require.Len(t, get().Texts, 1, "another type is no mark")
	require.NoError(t, s.Set(t.Context(), mark("m", 50_000, 1)))
	require.Equal(t, mark("m", 50_000, 1), get().Mark)
}

func TestRedisSetWritesAsRaise(t *testing.T) {
	srv, s := miniStore(t, dedup.RedisOptions{SkylineHash: true, TTL: time.Hour})
	raise(t, s, mark("m", 5000, 1))
	require.NoError(t, s.Set(t.Context(), mark("m", 2500, math.NaN())))
	require.EqualValues(t, 2500, last(t, s, "m"))
	require.Equal(t, "[2.5, None]", get(t, srv, "m"))
	require.Equal(t, "{'timestamp': 2.5, 'value': None}", srv.HGet(skylineHash, "m"))
	require.Equal(t, time.Hour, srv.TTL("flux.last.m"))
	require.NoError(t, s.Remove(t.Context(), []byte("m")))
	require.False(t, srv.Exists("flux.last.m"))
	require.Empty(t, srv.HGet(skylineHash, "m"))

	srv, s = miniStore(t, dedup.RedisOptions{})
	require.NoError(t, s.Set(t.Context(), mark("m", 2000, 1)))
	require.False(t, srv.Exists(skylineHash))
	require.Zero(t, srv.TTL("flux.last.m"))
	srv.HSet(skylineHash, "m", "{'timestamp': 9, 'value': 1.0}")
	require.NoError(t, s.Set(t.Context(), mark("m", 3000, 1)))
	require.Equal(t, "{'timestamp': 3, 'value': 1.0}", srv.HGet(skylineHash, "m"), "where it exists it is written")
}

func TestEditorAway(t *testing.T) {
	srv, s := miniStore(t, dedup.RedisOptions{})
	srv.Close()
	_, err := s.Get(t.Context(), []byte("m"))
	require.ErrorIs(t, err, dedup.ErrUnavailable)
	require.ErrorIs(t, s.Set(t.Context(), mark("m", 1, 1)), dedup.ErrUnavailable)
	require.ErrorIs(t, s.Remove(t.Context(), []byte("m")), dedup.ErrUnavailable)
	require.NoError(t, srv.Restart())
	srv.SetError("OOM command not allowed")
	_, err = s.Get(t.Context(), []byte("m"))
	require.ErrorIs(t, err, dedup.ErrUnavailable)
	require.ErrorContains(t, err, "OOM")
}
