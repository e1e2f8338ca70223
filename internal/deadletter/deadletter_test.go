package deadletter

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

var when = time.Date(2026, 5, 4, 12, 0, 0, 250e6, time.UTC)

func pathIn(t *testing.T) string { return filepath.Join(t.TempDir(), "dead.jsonl") }

func open(t *testing.T, o Options) *File {
	t.Helper()
	f, err := Open(o)
	require.NoError(t, err)
	t.Cleanup(func() { f.Close() })
	return f
}

func entry(name string) Entry {
	return Entry{Destination: "carbon", Reason: "nan", At: when, Name: []byte(name), Timestamp: 1777800000000, Value: 1}
}

func entries(from, n int) (es []Entry) {
	for i := range n {
		es = append(es, entry(fmt.Sprintf("metric.%06d", from+i)))
	}
	return es
}

// read returns what stands at path.
func read(t *testing.T, path string) ([]Entry, Report) {
	t.Helper()
	var es []Entry
	rep, err := Read(path, func(e Entry) error { es = append(es, e); return nil })
	require.NoError(t, err)
	require.EqualValues(t, len(es), rep.Points)
	return es, rep
}

func namesOf(es []Entry) (s []string) {
	for _, e := range es {
		s = append(s, string(e.Name))
	}
	return s
}

// equalEntries compares bit by bit what a file keeps.
func equalEntries(t *testing.T, want, got Entry) {
	t.Helper()
	if math.IsNaN(want.Value) {
		require.True(t, math.IsNaN(got.Value))
		want.Value, got.Value = 0, 0
	}
	require.Equal(t, math.Float64bits(want.Value), math.Float64bits(got.Value))
	require.True(t, want.At.Equal(got.At), "%v %v", want.At, got.At)
	want.At = got.At
	require.Equal(t, want, got)
}

func TestFormat(t *testing.T) {
	path := pathIn(t)
	f := open(t, Options{Path: path, Now: func() time.Time { return when }})
	all := []Entry{
		{Destination: "blueflood", Tenant: "acme", Reason: "too_old", Detail: "400 \"Out\" of\nbounds", At: when.In(time.FixedZone("", 3600)),
			Name: []byte("servers.web.cpu"), Timestamp: 1777800000000, Value: 0.5, TTL: 24 * time.Hour, Unit: "percent", Tag: 1},
		{Destination: "carbon", Reason: "bad_name", Name: []byte("a\xffb"), Timestamp: math.MinInt64, Value: math.NaN(), Unit: "\xfe"},
		{Name: []byte{}, Value: math.Inf(1), Timestamp: math.MaxInt64, TTL: math.MinInt64},
		{Name: []byte("ä\x00\x7f\u2028 b"), Value: math.Copysign(0, -1), TTL: 1, Tag: 255},
		{Name: []byte("c"), Value: math.Inf(-1)},
		{Name: []byte("d"), Value: math.SmallestNonzeroFloat64},
	}
	require.NoError(t, f.Append(all))
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, `{"at":"2026-05-04T12:00:00.25Z","destination":"blueflood","tenant":"acme","reason":"too_old","detail":"400 \"Out\" of\u000abounds","metric":"servers.web.cpu","timestamp":1777800000000,"value":0.5,"ttl":"24h0m0s","unit":"percent","tag":1}
{"at":"2026-05-04T12:00:00.25Z","destination":"carbon","reason":"bad_name","metric_base64":"Yf9i","timestamp":-9223372036854775808,"value":"NaN","unit_base64":"/g=="}
`, strings.Join(strings.SplitAfter(string(text), "\n")[:2], ""))
	got, rep := read(t, path)
	require.Equal(t, Report{Points: 6, Bytes: int64(len(text))}, rep)
	for i := range all {
		if all[i].At.IsZero() {
			all[i].At = when
		}
		equalEntries(t, all[i], got[i])
	}
	require.Equal(t, Stats{Points: 6, Bytes: int64(len(text)), Appended: 6}, f.Stats())
}

func TestTextIsCut(t *testing.T) {
	f := func(in, want string) {
		t.Helper()
		path := pathIn(t)
		e := entry("a")
		e.Detail, e.Reason, e.Destination = in, in, in
		require.NoError(t, open(t, Options{Path: path}).Append([]Entry{e}))
		got, _ := read(t, path)
		require.Equal(t, []string{want, want, want}, []string{got[0].Detail, got[0].Reason, got[0].Destination})
	}
	f(strings.Repeat("x", 500), strings.Repeat("x", 500))
	f(strings.Repeat("x", 501), strings.Repeat("x", 497)+"...")
	f(strings.Repeat("x", 1<<20), strings.Repeat("x", 497)+"...")
	f(strings.Repeat("ä", 251), strings.Repeat("ä", 248)+"...")
	f(strings.Repeat("\U0001f600", 200), strings.Repeat("\U0001f600", 124)+"...")
	f("a\xffb", "a\ufffdb")
}

func TestDamagedLines(t *testing.T) {
	good := string(appendLine(nil, &Entry{Name: []byte("a"), At: when}))
	f := func(bad, why string) {
		t.Helper()
		path := pathIn(t)
		require.NoError(t, os.WriteFile(path, []byte(good+bad+"\n"+good), 0o600))
		es, rep := read(t, path)
		require.Len(t, es, 2)
		require.EqualValues(t, 1, rep.Damaged)
		require.Zero(t, rep.Torn)
		require.Equal(t, path, rep.Places[0].File)
		require.EqualValues(t, 2, rep.Places[0].Line)
		require.EqualValues(t, len(good), rep.Places[0].Offset)
		require.ErrorContains(t, rep.Places[0].Err, why)
	}
	f("", "end of JSON")
	f("\x00\x00\x00", "")
	f(`{"at":"2026-05-04T12:00:00Z"`, "end of JSON")
	f(`{"at":"2026-05-04T12:00:00Z","metric":"a","value":1}`, "no timestamp")
	f(`{"at":"2026-05-04T12:00:00Z","metric":"a","timestamp":1}`, "no value")
	f(`{"at":"2026-05-04T12:00:00Z","metric":"a","timestamp":1,"value":null}`, "no value")
	f(`{"at":"2026-05-04T12:00:00Z","metric":"a","timestamp":1,"value":"1"}`, "value")
	f(`{"at":"2026-05-04T12:00:00Z","metric":"a","timestamp":1,"value":[1]}`, "array")
	f(`{"at":"2026-05-04T12:00:00Z","metric":"a","timestamp":1.5,"value":1}`, "1.5")
	f(`{"at":"2026-05-04T12:00:00Z","timestamp":1,"value":1}`, "no metric")
	f(`{"at":"2026-05-04T12:00:00Z","metric":"a","metric_base64":"","timestamp":1,"value":1}`, "both")
	f(`{"at":"2026-05-04T12:00:00Z","metric_base64":"!","timestamp":1,"value":1}`, "metric_base64")
	f(`{"at":"2026-05-04T12:00:00Z","metric":"a","timestamp":1,"value":1,"ttl":"soon"}`, "ttl")
	f(`{"at":"yesterday","metric":"a","timestamp":1,"value":1}`, "at:")
	f("{\"at\":\"2026-05-04T12:00:00Z\",\"metric\":\"a\xff\",\"timestamp\":1,\"value\":1}", "UTF-8")
	f(strings.Repeat("x", maxLine+1), "longer than")

	path := pathIn(t)
	require.NoError(t, os.WriteFile(path, []byte(good+good[:len(good)-3]), 0o600))
	es, rep := read(t, path)
	require.Len(t, es, 1)
	require.Equal(t, Report{Points: 1, Bytes: int64(2*len(good) - 3), Torn: int64(len(good) - 3)}, rep)
	require.NoError(t, os.WriteFile(path, []byte(good+good[:len(good)-1]), 0o600))
	es, rep = read(t, path)
	require.Len(t, es, 2, "it lacks nothing but its end")
	require.Zero(t, rep.Torn)
}

// TestCutAtEveryByte is a crash that leaves any part of what was written.
func TestCutAtEveryByte(t *testing.T) {
	path := pathIn(t)
	var whole []byte
	var ends []int
	for _, e := range []Entry{entry("a"), {Name: []byte("b\xff"), At: when, Detail: strings.Repeat("long ", 200)}, entry("c")} {
		whole = appendLine(whole, &e)
		ends = append(ends, len(whole))
	}
	for n := range len(whole) + 1 {
		require.NoError(t, os.WriteFile(path, whole[:n], 0o600))
		f := open(t, Options{Path: path})
		require.NoError(t, f.Append([]Entry{entry("new"), entry("newer")}))
		want := []string{}
		for i, end := range ends {
			if n >= end-1 {
				want = append(want, []string{"a", "b\xff", "c"}[i])
			}
		}
		es, rep := read(t, path)
		require.Equal(t, append(want, "new", "newer"), namesOf(es), "cut at %d", n)
		require.Zero(t, rep.Damaged)
		require.Zero(t, rep.Torn)
		require.EqualValues(t, len(want)+2, f.Stats().Points)
		require.NoError(t, f.Close())
	}
	// A line of which only the beginning is left, longer than one look behind.
	long := append(append([]byte{}, whole...), bytes.Repeat([]byte("x"), 3<<20)...)
	require.NoError(t, os.WriteFile(path, long, 0o600))
	require.NoError(t, open(t, Options{Path: path}).Append([]Entry{entry("new")}))
	es, _ := read(t, path)
	require.Equal(t, []string{"a", "b\xff", "c", "new"}, namesOf(es))
}

// TestWriteFails has the disk take a part of what is written, or the sync fail.
func TestWriteFails(t *testing.T) {
	path := pathIn(t)
	room, syncErr := math.MaxInt, error(nil)
	f := open(t, Options{Path: path,
		write: func(f *os.File, b []byte) (int, error) {
			n, err := f.Write(b[:min(len(b), room)])
			if err == nil && n < len(b) {
				err = syscall.ENOSPC
			}
			return n, err
		},
		sync: func(*os.File) error { return syncErr },
	})
	require.NoError(t, f.Append(entries(0, 3)))
	before := f.Stats()
	size := int(before.Bytes) / 3 * 4
	for room = range size {
		err := f.Append(entries(10, 4))
		require.ErrorIs(t, err, syscall.ENOSPC)
		require.ErrorContains(t, err, "deadletter: ")
		require.Equal(t, before, f.Stats())
	}
	room, syncErr = math.MaxInt, syscall.EIO
	require.ErrorIs(t, f.Append(entries(10, 4)), syscall.EIO)
	require.Equal(t, before, f.Stats())
	syncErr = nil
	require.NoError(t, f.Append(entries(3, 4)))
	es, rep := read(t, path)
	require.Equal(t, namesOf(entries(0, 7)), namesOf(es))
	require.Zero(t, rep.Damaged)
	require.EqualValues(t, 7, f.Stats().Appended)
}

func TestBound(t *testing.T) {
	path := pathIn(t)
	var log bytes.Buffer
	now := when
	f := open(t, Options{Path: path, MaxBytes: MinMaxBytes, Logger: slog.New(slog.NewTextHandler(&log, nil)), Now: func() time.Time { return now }})
	line := len(appendLine(nil, &entries(0, 1)[0]))
	half := MinMaxBytes / 2 / line // lines
	total := 0
	for _, n := range []int{1, half - 1, 1, 17, half, 5, half, 100, 30, 1, 1, half - 1} {
		require.NoError(t, f.Append(entries(total, n)))
		total += n
		s := f.Stats()
		require.LessOrEqual(t, s.Bytes, int64(MinMaxBytes))
		require.EqualValues(t, total, s.Appended)
		require.Equal(t, s.Appended, s.Points+s.Dropped)
		es, rep := read(t, path)
		require.Equal(t, s.Points, rep.Points)
		require.Equal(t, s.Bytes, rep.Bytes)
		require.Equal(t, namesOf(entries(total-len(es), len(es))), namesOf(es), "the newest")
	}
	require.Equal(t, 1, strings.Count(log.String(), "dropped"), "once a second")
	now = now.Add(time.Second)
	require.NoError(t, f.Append(entries(total, 1)))
	require.Equal(t, 2, strings.Count(log.String(), "dropped"))
	require.Contains(t, log.String(), "file="+path)

	require.NoError(t, f.Append(entries(0, 3*half)))
	before := f.Stats()
	require.Equal(t, before.Appended, before.Points+before.Dropped)
	es, _ := read(t, path)
	require.Equal(t, namesOf(entries(2*half, half)), namesOf(es[len(es)-half:]), "the newest of too many")

	big := entry(strings.Repeat("x", MinMaxBytes/2))
	require.NoError(t, f.Append([]Entry{entry("before"), big, entry("behind")}))
	s := f.Stats()
	require.Equal(t, s.Appended, s.Points+s.Dropped)
	es, _ = read(t, path)
	require.Equal(t, []string{"before", "behind"}, namesOf(es[len(es)-2:]))
	require.NoError(t, f.Append([]Entry{big}))
	require.Equal(t, f.Stats().Dropped, s.Dropped+1)
}

func TestWarningsAtClose(t *testing.T) {
	var log bytes.Buffer
	f := open(t, Options{Path: pathIn(t), MaxBytes: MinMaxBytes, Logger: slog.New(slog.NewTextHandler(&log, nil)), Now: func() time.Time { return when }})
	for range 10 {
		require.NoError(t, f.Append(entries(0, 150)))
	}
	require.NoError(t, f.Close())
	sum := 0
	for _, l := range strings.Split(strings.TrimSpace(log.String()), "\n") {
		var n int
		_, err := fmt.Sscanf(l[strings.Index(l, "points="):], "points=%d", &n)
		require.NoError(t, err)
		sum += n
	}
	require.EqualValues(t, f.Stats().Dropped, sum)
	require.NoError(t, f.Close())
	require.ErrorIs(t, f.Append(entries(0, 1)), ErrClosed)
}

func TestOpenRefuses(t *testing.T) {
	f := func(o Options, text string) {
		t.Helper()
		_, err := Open(o)
		require.ErrorContains(t, err, text)
	}
	f(Options{}, "path is empty")
	f(Options{Path: pathIn(t), MaxBytes: -1}, "bound of -1 bytes")
	f(Options{Path: pathIn(t), MaxBytes: MinMaxBytes - 1}, "65536")
	f(Options{Path: t.TempDir()}, "not a regular file")
	f(Options{Path: os.DevNull}, "not a regular file")
	f(Options{Path: filepath.Join(t.TempDir(), "none", "file")}, "no such file")
	_, err := Read(pathIn(t), nil)
	require.ErrorIs(t, err, fs.ErrNotExist)
	_, err = SetAside(pathIn(t))
	require.ErrorIs(t, err, fs.ErrNotExist)
}

// TestLink keeps both halves beside the file that the path links to.
func TestLink(t *testing.T) {
	real, link := pathIn(t), pathIn(t)
	require.NoError(t, os.Symlink(real, link))
	f := open(t, Options{Path: link, MaxBytes: MinMaxBytes})
	for i := range 3 {
		require.NoError(t, f.Append(entries(i*150, 150)))
	}
	require.FileExists(t, real+".old")
	require.NoFileExists(t, link+".old")
	a, _ := read(t, link)
	b, _ := read(t, real)
	require.Equal(t, a, b)
	r, err := SetAside(link)
	require.NoError(t, err)
	_, err = r.Remove()
	require.NoError(t, err)
	r.Close()
	require.NoFileExists(t, real)
}

// TestSharedFile has two Files of one path take turns, across rotations.
func TestSharedFile(t *testing.T) {
	path := pathIn(t)
	a := open(t, Options{Path: path, MaxBytes: MinMaxBytes})
	b := open(t, Options{Path: path, MaxBytes: MinMaxBytes})
	n := 0
	for i := range 60 {
		f := []*File{a, b}[i%2]
		require.NoError(t, f.Append(entries(n, 1+i%29)))
		n += 1 + i%29
	}
	es, _ := read(t, path)
	require.Equal(t, namesOf(entries(n-len(es), len(es))), namesOf(es))
	sa, sb := a.Stats(), b.Stats()
	require.EqualValues(t, n, sa.Appended+sb.Appended)
	require.EqualValues(t, len(es), sa.Points)
	require.EqualValues(t, len(es), sb.Points)
	require.EqualValues(t, n, sa.Points+sa.Dropped+sb.Dropped)
}

func TestConcurrentAppends(t *testing.T) {
	path := pathIn(t)
	files := []*File{open(t, Options{Path: path}), open(t, Options{Path: path})}
	var wg sync.WaitGroup
	const writers, rounds = 8, 20
	for w := range writers {
		wg.Go(func() {
			for i := range rounds {
				e := entry(fmt.Sprintf("w%d.%d", w, i))
				if err := files[w%2].Append([]Entry{e, e}); err != nil {
					t.Error(err)
				}
				files[w%2].Stats()
			}
		})
	}
	wg.Wait()
	es, rep := read(t, path)
	require.Zero(t, rep.Damaged)
	require.Len(t, es, 2*writers*rounds)
	next := map[string]int{}
	for i := 0; i < len(es); i += 2 {
		require.Equal(t, es[i].Name, es[i+1].Name, "an Append's lines stand together")
		w, n, _ := strings.Cut(string(es[i].Name), ".")
		require.Equal(t, fmt.Sprint(next[w]), n)
		next[w]++
	}
}

// TestReplayWhileAppending sets the file aside again and again while others append: each point is found once.
func TestReplayWhileAppending(t *testing.T) {
	path := pathIn(t)
	files := []*File{open(t, Options{Path: path}), open(t, Options{Path: path})}
	const writers, rounds = 4, 60
	var wg sync.WaitGroup
	done := make(chan struct{})
	for w := range writers {
		wg.Go(func() {
			for i := range rounds {
				if err := files[w%2].Append([]Entry{entry(fmt.Sprintf("w%d.%d", w, i))}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	go func() { wg.Wait(); close(done) }()
	seen := map[string]int{}
	take := func() {
		r, err := SetAside(path)
		if errors.Is(err, fs.ErrNotExist) {
			return
		}
		require.NoError(t, err)
		defer r.Close()
		_, err = r.Read(func(e Entry) error { seen[string(e.Name)]++; return nil })
		require.NoError(t, err)
		_, err = r.Remove()
		require.NoError(t, err)
	}
	for going := true; going; {
		select {
		case <-done:
			going = false
		default:
			take()
		}
	}
	take()
	require.Len(t, seen, writers*rounds)
	for name, n := range seen {
		require.Equal(t, 1, n, name)
	}
	left, err := os.ReadDir(filepath.Dir(path))
	require.NoError(t, err)
	require.Empty(t, left)
}

// TestReplayCutShort leaves a replay without removing anything, as a crash does.
func TestReplayCutShort(t *testing.T) {
	path := pathIn(t)
	f := open(t, Options{Path: path, MaxBytes: MinMaxBytes})
	require.NoError(t, f.Append(entries(0, 150)))
	require.NoError(t, f.Append(entries(150, 150)))
	require.FileExists(t, path+".old")
	r, err := SetAside(path)
	require.NoError(t, err)
	require.NoFileExists(t, path)
	_, err = SetAside(path)
	require.ErrorIs(t, err, ErrInUse)
	require.Zero(t, f.Stats().Points)
	require.NoError(t, f.Append(entries(300, 3)))
	require.EqualValues(t, 3, f.Stats().Points)
	r.Close()

	es, rep := read(t, path)
	require.Equal(t, namesOf(entries(0, 303)), namesOf(es))
	require.EqualValues(t, 300, rep.SetAside)
	r, err = SetAside(path)
	require.NoError(t, err)
	var again []Entry
	rep, err = r.Read(func(e Entry) error { again = append(again, e); return nil })
	require.NoError(t, err)
	require.EqualValues(t, 303, rep.SetAside)
	require.Equal(t, namesOf(es), namesOf(again))
	kept, err := r.Remove()
	require.NoError(t, err)
	require.Empty(t, kept)
	r.Close()
	r.Close()
	_, err = SetAside(path)
	require.ErrorIs(t, err, fs.ErrNotExist)
	require.NoError(t, f.Append(entries(303, 1)))
	es, _ = read(t, path)
	require.Equal(t, namesOf(entries(303, 1)), namesOf(es))
}

// TestReplayKeepsDamage has damaged lines in one of the files that a replay removes.
func TestReplayKeepsDamage(t *testing.T) {
	path := pathIn(t)
	for i := range 2 {
		good := appendLine(nil, &Entry{Name: []byte("a"), At: when})
		require.NoError(t, os.WriteFile(path+oldSuffix, append([]byte("what is this\n"), good...), 0o600))
		require.NoError(t, os.WriteFile(path, good, 0o600))
		r, err := SetAside(path)
		require.NoError(t, err)
		rep, err := r.Read(func(Entry) error { return nil })
		require.NoError(t, err)
		require.EqualValues(t, 2, rep.Points)
		require.EqualValues(t, 1, rep.Damaged)
		kept, err := r.Remove()
		require.NoError(t, err)
		r.Close()
		require.Equal(t, []string{fmt.Sprintf("%s.damaged.%d", path, i+1)}, kept)
		text, err := os.ReadFile(kept[0])
		require.NoError(t, err)
		require.Contains(t, string(text), "what is this\n")
		ok, err := Exists(path)
		require.NoError(t, err)
		require.False(t, ok)
	}
}

func TestExists(t *testing.T) {
	f := func(suffix string, want bool) {
		t.Helper()
		path := pathIn(t)
		require.NoError(t, os.WriteFile(path+suffix, nil, 0o600))
		ok, err := Exists(path)
		require.NoError(t, err)
		require.Equal(t, want, ok)
	}
	f("", true)
	f(".old", true)
	f(".replay.7", true)
	f(".replay.07", false)
	f(".replay", false)
	f(".else", false)
	ok, err := Exists(filepath.Join(t.TempDir(), "none", "file"))
	require.NoError(t, err)
	require.False(t, ok)
	_, err = Exists(t.TempDir())
	require.ErrorContains(t, err, "not a regular file")
}
