package queue

import (
	"context"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// model is a queue, one reader of it, and what both must agree about.
type model struct {
	t  *testing.T
	r  *rand.Rand
	o  Options
	fs *forgetful // nil: in memory
	q  *Queue

	recs     map[Pos]string
	points   map[Pos]int
	accepted int64 // points that Open found or that were appended
	acked    int64 // points that the reader acknowledged
	read     Pos
	has      []Pos // read, neither acknowledged nor gone back over
	held     []*Reservation
	damaged  bool // since Open
}

func newModel(t *testing.T, seed uint64, dir, dropOldest bool) *model {
	m := &model{t: t, r: rand.New(rand.NewPCG(seed, 5)), recs: map[Pos]string{}, points: map[Pos]int{}}
	m.o = Options{MaxBytes: MinMaxBytes, DropOldest: dropOldest}
	if dir {
		m.fs = newForgetful()
		m.o.Dir, m.o.fs = "d", m.fs
	}
	m.open()
	return m
}

func (m *model) open() {
	var err error
	m.q, err = Open(m.o)
	require.NoError(m.t, err)
	m.accepted, m.acked, m.has, m.held, m.damaged = m.q.Recovered().Points, 0, nil, nil, false
	m.read = m.q.Acked()
}

func (m *model) appendOne() {
	size := m.r.IntN(3000)
	if m.r.IntN(10) == 0 {
		size = m.r.IntN(25 << 10)
	}
	rec, points := fmt.Sprintf("%d %s", m.r.Uint64(), strings.Repeat("m", size)), m.r.IntN(10)
	var pos Pos
	var err error
	switch m.r.IntN(5) {
	case 0:
		var res *Reservation
		if res, err = m.q.Reserve(expiredContext(), len(rec)+m.r.IntN(500)); err != nil {
			break
		}
		if m.r.IntN(2) == 0 {
			m.held = append(m.held, res)
			return
		}
		pos, err = res.Append([]byte(rec), points)
		require.NoError(m.t, err)
		res.Cancel()
	case 1, 2:
		pos, err = m.q.AppendAsync(expiredContext(), []byte(rec), points)
	default:
		pos, err = m.q.Append(expiredContext(), []byte(rec), points)
	}
	if err != nil {
		require.ErrorIs(m.t, err, ErrFull)
		return
	}
	m.take(pos, rec, points)
}

func (m *model) take(pos Pos, rec string, points int) {
	_, taken := m.recs[pos]
	require.False(m.t, taken, "position %d", pos)
	m.recs[pos], m.points[pos] = rec, points
	m.accepted += int64(points)
}

func (m *model) endReservation() {
	if len(m.held) == 0 {
		return
	}
	res := m.held[0]
	m.held = m.held[1:]
	if m.r.IntN(2) == 0 {
		pos, err := res.Append([]byte("short"), 3)
		require.NoError(m.t, err)
		m.take(pos, "short", 3)
	}
	res.Cancel()
	res.Cancel()
}

// readSome returns false at the end.
func (m *model) readSome(n int) bool {
	for range n {
		rec, pos, ok, err := m.q.TryNext(m.read, nil)
		require.NoError(m.t, err)
		if !ok {
			return false
		}
		require.Greater(m.t, pos, m.read)
		require.True(m.t, m.recs[pos] == string(rec), "position %d", pos)
		m.read, m.has = pos, append(m.has, pos)
	}
	return true
}

func (m *model) ack(n int) {
	if n == 0 {
		return
	}
	for _, pos := range m.has[:n] {
		m.acked += int64(m.points[pos])
	}
	require.NoError(m.t, m.q.Ack(m.has[n-1]))
	m.has = m.has[n:]
}

func (m *model) rewind() {
	if n := m.r.IntN(len(m.has) + 1); n > 0 && m.r.IntN(3) == 0 {
		m.read, m.has = m.has[n-1], m.has[:n]
		return
	}
	m.read, m.has = m.q.Acked(), nil
}

// harm damages a segment behind the queue's back.
func (m *model) harm() {
	if m.fs == nil {
		return
	}
	synctest.Wait() // for the committer
	paths := m.fs.segments(m.t)
	if len(paths) == 0 {
		return
	}
	i := m.r.IntN(len(paths))
	b := m.fs.read(paths[i])
	if len(b) == 0 {
		return
	}
	m.damaged = true
	switch m.r.IntN(4) {
	case 0:
		clear(b[m.r.IntN(len(b)):])
	case 1:
		if i < len(paths)-1 { // else what is written next stands elsewhere than a system's file would have it
			b = b[:m.r.IntN(len(b))]
		}
	case 2:
		if i < len(paths)-1 && m.r.IntN(5) == 0 {
			require.NoError(m.t, m.fs.Remove(paths[i]))
			return
		}
		fallthrough
	default:
		b[m.r.IntN(len(b))] ^= 0x20
	}
	m.fs.put(paths[i], b)
}

func (m *model) reopen() {
	if m.fs == nil {
		return
	}
	for _, res := range m.held {
		res.Cancel()
	}
	require.NoError(m.t, m.q.Close())
	was := m.q.Stats()
	require.NoError(m.t, m.q.Release())
	harmed := m.damaged
	m.open()
	rep, s := m.q.Recovered(), m.q.Stats()
	for pos := range m.recs { // of a damaged or dropped newest record
		if pos > m.q.Last() {
			delete(m.recs, pos)
		}
	}
	require.Equal(m.t, s.Points, rep.Points)
	require.Equal(m.t, s.Records, rep.Records)
	require.Zero(m.t, s.Lost)
	if !harmed {
		require.Equal(m.t, was.Points, rep.Points)
		require.Equal(m.t, was.Oldest.UnixNano(), s.Oldest.UnixNano())
	}
	var readable int64
	for m.readSome(1) {
		readable += int64(m.points[m.read])
	}
	require.Equal(m.t, readable, rep.Points, "what was found can be read, and nothing else")
	m.read, m.has = m.q.Acked(), nil
}

func (m *model) check() {
	s := m.q.Stats()
	require.Equal(m.t, m.accepted, m.acked+s.Points+s.Dropped+s.Lost, "acknowledged %d of %+v", m.acked, s)
	require.GreaterOrEqual(m.t, s.Points, int64(0))
	require.GreaterOrEqual(m.t, s.Records, 0)
	if m.fs == nil {
		require.LessOrEqual(m.t, s.Bytes, s.MaxBytes)
		return
	}
	require.LessOrEqual(m.t, s.DiskBytes, s.MaxBytes)
}

func TestTheAccountIsExact(t *testing.T) {
	for seed := range uint64(72) {
		dir, drop, harm := seed%2 == 0, seed%3 > 0, seed%8 < 4
		t.Run(fmt.Sprintf("%d directory %v drop %v", seed, dir, drop), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newModel(t, seed, dir, drop)
				var harmAt int
				for i := range 600 {
					switch k := m.r.IntN(20); {
					case k < 10:
						m.appendOne()
					case k < 11:
						m.endReservation()
					case k < 15:
						m.readSome(1 + m.r.IntN(8))
					case k < 17:
						m.ack(m.r.IntN(len(m.has) + 1))
					case k < 18:
						m.rewind()
					case k < 19 && harm && i > harmAt+30:
						m.harm()
						harmAt = i
					case m.r.IntN(12) == 0:
						m.reopen()
					default:
						time.Sleep(DefaultCommitEvery)
					}
					m.check()
				}
				m.finish()
			})
		})
	}
}

// finish reads and acknowledges what is left.
func (m *model) finish() {
	for len(m.held) > 0 {
		m.endReservation()
	}
	require.NoError(m.t, m.q.Sync(context.Background(), m.q.Last()))
	for m.readSome(1) {
		m.ack(len(m.has))
		m.check()
	}
	m.ack(len(m.has))
	m.check()
	s := m.q.Stats()
	require.Zero(m.t, s.Points)
	require.Zero(m.t, s.Records)
	require.Zero(m.t, s.Bytes)
	require.True(m.t, s.Oldest.IsZero())
	require.Equal(m.t, m.q.Last(), m.q.Acked())
	require.NoError(m.t, m.q.Release())
}

// TestTheAccountOfManyIsExact has appenders, a reader that goes back, and drops at the same time.
func TestTheAccountOfManyIsExact(t *testing.T) {
	for name, dir := range map[string]string{"memory": "", "directory": t.TempDir()} {
		t.Run(name, func(t *testing.T) {
			q, err := Open(Options{Dir: dir, MaxBytes: MinMaxBytes, DropOldest: true})
			require.NoError(t, err)
			var mu sync.Mutex
			var accepted int64
			points := map[string]int64{}
			var appenders sync.WaitGroup
			for a := range 4 {
				appenders.Go(func() {
					r := rand.New(rand.NewPCG(uint64(a), 9))
					for i := range 400 {
						rec := fmt.Sprintf("%d-%d%s", a, i, strings.Repeat("_", r.IntN(2000)))
						mu.Lock()
						points[rec] = int64(r.IntN(5))
						n := points[rec]
						mu.Unlock()
						var err error
						switch i % 3 {
						case 0:
							_, err = q.Append(context.Background(), []byte(rec), int(n))
						case 1:
							_, err = q.AppendAsync(context.Background(), []byte(rec), int(n))
						default:
							var res *Reservation
							if res, err = q.Reserve(context.Background(), len(rec)); err == nil {
								_, err = res.Append([]byte(rec), int(n))
							}
						}
						if err != nil {
							panic(err)
						}
						mu.Lock()
						accepted += n
						mu.Unlock()
					}
				})
			}
			ctx, cancel := context.WithCancel(context.Background())
			go func() { appenders.Wait(); cancel() }()
			var acked, inHand int64
			r := rand.New(rand.NewPCG(1, 1))
			read := Pos(0)
			for {
				rec, pos, err := q.Next(ctx, read, nil)
				if err != nil {
					require.ErrorIs(t, err, context.Canceled)
					break
				}
				mu.Lock()
				inHand += points[string(rec)]
				mu.Unlock()
				read = pos
				switch r.IntN(20) {
				case 0, 1:
					require.NoError(t, q.Ack(pos))
					acked, inHand = acked+inHand, 0
				case 2:
					read, inHand = q.Acked(), 0
				}
			}
			appenders.Wait()
			s := q.Stats()
			require.Equal(t, accepted, acked+s.Points+s.Dropped+s.Lost)
			require.Zero(t, s.Lost)
			require.NoError(t, q.Release())
		})
	}
}

func TestDropOldestSparesWhatTheReaderHas(t *testing.T) {
	for name, fs := range map[string]*forgetful{"memory": nil, "directory": newForgetful()} {
		t.Run(name, func(t *testing.T) {
			o := Options{MaxBytes: MinMaxBytes, DropOldest: true}
			if fs != nil {
				o.Dir, o.fs = "d", fs
			}
			q, err := Open(o)
			require.NoError(t, err)
			big := strings.Repeat("_", 15<<10)
			for i := range 4 {
				mustAppend(t, q, fmt.Sprint(i, big), 1)
			}
			read := func(after Pos) (string, Pos) {
				rec, pos, ok, err := q.TryNext(after, nil)
				require.NoError(t, err)
				require.True(t, ok)
				return strings.TrimRight(string(rec), "_"), pos
			}
			_, first := read(0)
			_, second := read(first)
			mustAppend(t, q, "4"+big, 1)
			mustAppend(t, q, "5"+big, 1)
			require.EqualValues(t, 2, q.Stats().Dropped, "the third and the fourth")
			require.Zero(t, q.Acked())
			rec, third := read(second)
			require.Equal(t, "4", rec)
			_, fourth := read(third)
			require.False(t, isReady(q, fourth))

			lost := mustAppend(t, q, "all is with the reader"+big, 1)
			require.Greater(t, lost, fourth)
			require.EqualValues(t, 3, q.Stats().Dropped, "the new one")
			require.False(t, isReady(q, fourth))
			res, err := q.Reserve(context.Background(), len(big))
			require.NoError(t, err)
			_, err = res.Append([]byte(big), 1)
			require.NoError(t, err)
			require.EqualValues(t, 4, q.Stats().Dropped)

			require.NoError(t, q.Ack(first))
			rec, again := read(q.Acked()) // goes back: the second only is with the reader
			require.Equal(t, "1", rec)
			require.Equal(t, second, again)
			mustAppend(t, q, "6"+big, 1)
			mustAppend(t, q, "7"+big, 1)
			require.EqualValues(t, 5, q.Stats().Dropped)
			require.NoError(t, q.Ack(second))
			var left []string
			for _, rec := range drain(t, q) {
				left = append(left, strings.TrimRight(rec, "_"))
			}
			require.Equal(t, []string{"5", "6", "7"}, left)
			require.NoError(t, q.Ack(q.Last()))
			require.Equal(t, q.Last(), q.Acked())
			require.NoError(t, q.Release())
		})
	}
}

// TestDropOldestTakesASegmentThatIsAcknowledgedInPart as soon as the reader has nothing of it.
func TestDropOldestTakesASegmentThatIsAcknowledgedInPart(t *testing.T) {
	q := openIn(t, newForgetful(), func(o *Options) { o.MaxBytes, o.DropOldest = MinMaxBytes, true })
	fill := func() {
		for range 80 {
			mustAppend(t, q, strings.Repeat("f", 1000), 1)
		}
	}
	fill()
	_, pos, _, err := q.TryNext(0, nil)
	require.NoError(t, err)
	fill()
	require.Equal(t, pos-1, q.Acked(), "the reader has one record of the segment")
	require.NoError(t, q.Ack(pos))
	require.Equal(t, pos, q.Acked())
	fill()
	require.Greater(t, q.Acked(), pos+80)
	require.NoError(t, q.Release())
}

// TestAFewRecordsKeepNoSlab is about the memory of records that the reader has, of which the neighbours were dropped.
func TestAFewRecordsKeepNoSlab(t *testing.T) {
	q, err := Open(Options{MaxBytes: 4 << 20, DropOldest: true})
	require.NoError(t, err)
	m := q.store.(*memory)
	rec := make([]byte, 4000)
	var pos Pos
	for i := range 40 * 1024 {
		_, err := q.Append(context.Background(), rec, 1)
		require.NoError(t, err)
		if i%100 == 0 {
			_, pos, _, err = q.TryNext(pos, nil)
			require.NoError(t, err)
		}
	}
	held := map[*slab]bool{}
	for _, e := range m.entries.all {
		held[e.slab] = true
	}
	require.LessOrEqual(t, len(held), 4<<20/slabSize+4)
	require.Equal(t, 410, m.entries.given-m.entries.head)
	require.NoError(t, q.Release())
}

// TestWhatTheReaderWasGivenStays looks at a record while others come and go, until the reader has done with it.
func TestWhatTheReaderWasGivenStays(t *testing.T) {
	for _, dropOldest := range []bool{false, true} {
		t.Run(fmt.Sprintf("DropOldest=%v", dropOldest), func(t *testing.T) {
			q, err := Open(Options{MaxBytes: 1 << 20, DropOldest: dropOldest})
			require.NoError(t, err)
			appended := 0
			fill := func(bytes int) {
				for n := 0; n < bytes; n += 1000 {
					_, _ = q.Append(expiredContext(), fmt.Appendf(nil, "%01000d", appended), 1)
					appended++
				}
			}
			var scratch []byte
			var read Pos
			for range 40 {
				fill(50_000)
				rec, pos, ok, err := q.TryNext(read, scratch)
				require.NoError(t, err)
				require.True(t, ok)
				want := string(rec)
				fill(2 << 20)
				require.Equal(t, want, string(rec))
				if read = pos; pos%3 == 0 {
					require.NoError(t, q.Ack(pos))
				}
			}
			require.NoError(t, q.Release())
		})
	}
}

func TestAckOfWhatWasNotRead(t *testing.T) {
	for name, readTo := range map[string]Pos{"nothing read": 0, "some": 3, "just so much": 20, "more": 33} {
		t.Run(name, func(t *testing.T) {
			q := openIn(t, newForgetful(), nil)
			for i := range 40 {
				mustAppend(t, q, fmt.Sprint("record ", i), i)
			}
			for pos := Pos(0); pos < readTo; {
				_, next, ok, err := q.TryNext(pos, nil)
				require.NoError(t, err)
				require.True(t, ok)
				pos = next
			}
			require.NoError(t, q.Ack(20))
			s := q.Stats()
			require.Equal(t, 20, s.Records)
			require.EqualValues(t, (20+39)*20/2, s.Points)
			rec, pos, ok, err := q.TryNext(max(readTo, 20), nil)
			require.NoError(t, err)
			require.True(t, ok)
			require.Equal(t, fmt.Sprint("record ", pos-1), string(rec))
			require.NoError(t, q.Release())
		})
	}
}

// TestMorePlacesThanAreRemembered acknowledges step by step what was read long before.
func TestMorePlacesThanAreRemembered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := openIn(t, newForgetful(), func(o *Options) { o.MaxBytes = 64 << 20 })
		start := time.Now()
		appendOne := func() Pos {
			pos, err := q.AppendAsync(context.Background(), []byte("r"), 2)
			require.NoError(t, err)
			time.Sleep(time.Millisecond)
			return pos
		}
		n := Pos(maxPlaces + 5000)
		for appendOne() < n {
		}
		require.NoError(t, q.Sync(context.Background(), n))
		require.Len(t, drain(t, q), int(n))
		for _, upTo := range []Pos{1, 7, maxPlaces - 1, maxPlaces, maxPlaces + 1, maxPlaces + 700, n - 1, n} {
			require.NoError(t, q.Ack(upTo))
			s := q.Stats()
			require.EqualValues(t, n-upTo, s.Records)
			require.EqualValues(t, 2*(n-upTo), s.Points)
			require.Equal(t, upTo < n, !s.Oldest.IsZero())
			require.False(t, s.Oldest.After(start.Add(time.Duration(upTo)*time.Millisecond)))
			if upTo == maxPlaces { // one more is read, and remembered, behind those that are not
				require.NoError(t, q.Sync(context.Background(), appendOne()))
				_, n, _, _ = q.TryNext(n, nil)
				_, read, ok, _ := q.TryNext(n, nil)
				require.False(t, ok)
				require.Equal(t, Pos(maxPlaces+5001), read)
				break
			}
		}
		for _, upTo := range []Pos{maxPlaces + 1, maxPlaces + 700, n - 1, n} {
			require.NoError(t, q.Ack(upTo))
			s := q.Stats()
			require.EqualValues(t, n-upTo, s.Records)
			require.Equal(t, upTo < n, !s.Oldest.IsZero())
			if upTo < n {
				require.Equal(t, start.Add(time.Duration(upTo)*time.Millisecond).UnixNano(), s.Oldest.UnixNano())
			}
		}
		require.NoError(t, q.Release())
	})
}

func TestPlaces(t *testing.T) {
	var p places
	rest := func() (all []Pos) {
		for _, x := range p.all[p.head:] {
			all = append(all, x.pos)
		}
		return all
	}
	for pos := range Pos(10) {
		p.push(place{pos: pos * 2, end: int64(pos)})
	}
	x, ok := p.at(8)
	require.True(t, ok)
	require.EqualValues(t, 4, x.end)
	_, ok = p.at(9)
	require.False(t, ok)
	p.rewind(9)
	require.Equal(t, []Pos{0, 2, 4, 6, 8}, rest())
	p.pop(3)
	require.Equal(t, []Pos{4, 6, 8}, rest())
	_, ok = p.at(2)
	require.False(t, ok, "it is forgotten")
	p.rewind(1)
	require.Empty(t, rest())
	p.pop(100)
	for pos := range Pos(100 * 1000) {
		p.push(place{pos: pos + 1})
		p.pop(max(pos, 50) - 50)
	}
	require.Equal(t, 51, p.len())
	require.Less(t, cap(p.all), 512)
	for pos := range Pos(2 * maxPlaces) {
		p.push(place{pos: 1e6 + pos})
	}
	require.Equal(t, maxPlaces, p.len())
}

func TestOldestFollowsTheAcknowledgement(t *testing.T) {
	onEach := map[string]func() Options{
		"memory":    func() Options { return Options{} },
		"directory": func() Options { return Options{Dir: "d", fs: newForgetful()} },
	}
	for name, options := range onEach {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				q, err := Open(options())
				require.NoError(t, err)
				start := time.Now()
				for range 10 {
					mustAppend(t, q, "hourly", 1)
					time.Sleep(time.Hour)
				}
				for pos := Pos(0); pos < 10; {
					require.Equal(t, start.Add(time.Duration(pos)*time.Hour).UnixNano(), q.Stats().Oldest.UnixNano())
					var err error
					_, pos, _, err = q.TryNext(pos, nil)
					require.NoError(t, err)
					require.NoError(t, q.Ack(pos))
				}
				require.True(t, q.Stats().Oldest.IsZero())
				require.NoError(t, q.Release())
			})
		})
	}
}

// TestRecoveredCountsWhatIsLeft damages any of the records of a directory.
func TestRecoveredCountsWhatIsLeft(t *testing.T) {
	m := newForgetful()
	q := openIn(t, m, func(o *Options) { o.MaxBytes = MinMaxBytes })
	for i := range 12 {
		mustAppend(t, q, strings.Repeat("r", 1500), 1<<i)
	}
	require.NoError(t, q.Ack(2))
	require.NoError(t, q.Release())
	var recs []Record
	_, err := inspect(m, "d", func(r Record) error { recs = append(recs, r); return nil })
	require.NoError(t, err)
	require.Len(t, recs, 10)
	r := rand.New(rand.NewPCG(3, 3))
	for range 300 {
		after := m.reboot(survived, nil)
		var left Report
		for _, rec := range recs {
			if r.IntN(3) > 0 {
				left.Records++
				left.Points += int64(rec.Points)
				continue
			}
			path := filepath.Join("d", rec.File)
			b := after.read(path)
			b[rec.Offset+int64(r.IntN(headerSize+1500))]++
			after.put(path, b)
		}
		q := openIn(t, after, func(o *Options) { o.MaxBytes = MinMaxBytes })
		rep, s := q.Recovered(), q.Stats()
		require.Equal(t, left.Points, rep.Points)
		require.Equal(t, left.Records, rep.Records)
		require.Equal(t, left.Points, s.Points)
		require.Zero(t, s.Lost, "what Open passed over was not pending")
		require.Len(t, drain(t, q), rep.Records)
		require.NoError(t, q.Release())
	}
}

func TestLostIsCounted(t *testing.T) {
	m := newForgetful()
	q := openIn(t, m, nil)
	for i, rec := range []string{"first", "second", "third", "fourth"} {
		mustAppend(t, q, rec, 1<<i)
	}
	path := m.segments(t)[0]
	b := m.read(path)
	b[2*headerSize+5+2]++ // in the second's payload
	m.put(path, b)
	_, pos, _, err := q.TryNext(0, nil)
	require.NoError(t, err)
	rec, third, _, err := q.TryNext(pos, nil)
	require.NoError(t, err)
	require.Equal(t, "third", string(rec))
	require.NoError(t, q.Ack(third))
	s := q.Stats()
	require.EqualValues(t, 8+2, s.Points+s.Lost, "lost or still to be found so")
	rec, fourth, _, err := q.TryNext(third, nil)
	require.NoError(t, err)
	require.Equal(t, "fourth", string(rec))
	s = q.Stats()
	require.EqualValues(t, 2, s.Lost)
	require.EqualValues(t, 8, s.Points)
	require.NoError(t, q.Ack(fourth))
	require.Zero(t, q.Stats().Points)
	require.NoError(t, q.Release())
}
