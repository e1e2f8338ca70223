package dedup

import (
	"context"
	"hash/maphash"
	"math"
	"runtime"
	"sync"
	"sync/atomic"
)

const (
	// DefaultMaxMetrics is Memory's bound where MaxMetrics is 0.
	DefaultMaxMetrics = 1_000_000
	// DefaultMaxBytes is Memory's bound where MaxBytes is 0: 256 MiB, enough
	// for DefaultMaxMetrics names of 150 bytes.
	DefaultMaxBytes = 256 << 20
)

// Memory is a Store in this process: a table of bounded size. When it is full
// the metric that was read or raised least recently goes first; a point of it
// may then be delivered twice. To a Filter that judges by it a metric counts as
// used when a point of it is found to be Duplicate or Late by its mark, and when
// a point that was New is delivered, not when it is judged.
//
// The zero value is ready for use. Fields are read at the first call and must
// not change afterwards. Memory must not be copied.
//
// On more than two cores the table is sharded by name from 1,025 metrics up: least
// recently used is then meant within the shard that needs room. Last and Raise of a
// known metric allocate nothing. Neither ever fails.
type Memory struct {
	// MaxMetrics bounds the number of metrics; 0 means DefaultMaxMetrics.
	MaxMetrics int
	// MaxBytes bounds the memory of names and marks, roughly counted; 0 means
	// DefaultMaxBytes.
	MaxBytes int64

	once    sync.Once
	seed    maphash.Seed
	filters atomic.Int32 // how many judge by it
	shift   uint         // hash >> shift is the shard
	shards  []memoryShard
	metrics atomic.Int64
	bytes   atomic.Int64
	evicted atomic.Uint64
}

// MemoryStats is a snapshot of a Memory.
type MemoryStats struct {
	Metrics int64  // metrics that have a mark now
	Bytes   int64  // memory they take, roughly
	Evicted uint64 // marks dropped to make room, since the start
}

type memoryShard struct {
	mu     sync.Mutex
	t      table[memoryMark]
	newest int32 // ends of the list by last use, slot plus one; 0: empty
	oldest int32

	touched uint64   // nobody reads it
	edits   uint32   // changes with each change of a mark that is not the only Filter's own; never 0
	shared  bool     // there are several Filters
	_       [11]byte // keeps neighbours' locks off this cache line
}

// memoryMark is a mark in the list by last use; the links are slots plus one.
type memoryMark struct {
	ts           int64
	value        float64
	newer, older int32
}

// memoryMarkBytes is what a metric takes besides its name: slot and cells.
const memoryMarkBytes = 80

func (s *Memory) init() {
	s.once.Do(func() {
		s.seed = maphash.MakeSeed()
		if s.MaxMetrics <= 0 {
			s.MaxMetrics = DefaultMaxMetrics
		}
		if s.MaxBytes <= 0 {
			s.MaxBytes = DefaultMaxBytes
		}
		bits := uint(0)
		if s.MaxMetrics > 1024 {
			bits = shardBits()
		}
		s.shift = 64 - bits
		s.shards = make([]memoryShard, 1<<bits)
		for i := range s.shards {
			s.shards[i].edits = 1
		}
	})
}

// maxShards is the most shards that a table has.
const (
	maxShardsBits = 3
	maxShards     = 1 << maxShardsBits
)

// shardBits is the logarithm of the number of shards of a table that is large
// enough to have several. Few cores seldom meet at a lock, and what one shard
// holds lies in the order in which it came.
func shardBits() uint {
	switch n := runtime.GOMAXPROCS(0); {
	case n <= 2:
		return 0
	case n <= 4:
		return 2
	}
	return maxShardsBits
}

// Last implements Store.
func (s *Memory) Last(_ context.Context, m []Mark) error {
	s.init()
	var sh *memoryShard
	for i := range m {
		h := hashName(s.seed, m[i].Metric)
		sh = s.hold(sh, h)
		m[i].Timestamp, m[i].Value = sh.last(h, m[i].Metric)
	}
	sh.unlock()
	return nil
}

// Raise implements Store.
func (s *Memory) Raise(_ context.Context, m []Mark) error {
	s.init()
	var sh *memoryShard
	for i := range m {
		h := hashName(s.seed, m[i].Metric)
		sh = s.hold(sh, h)
		sh.edited()
		if k := sh.t.find(h, m[i].Metric); k >= 0 {
			sh.touch(k)
			sh.raise(k, m[i].Timestamp, m[i].Value)
		} else if m[i].Timestamp != None {
			k = s.add(sh, h, string(m[i].Metric))
			sh.raise(k, m[i].Timestamp, m[i].Value)
		}
	}
	sh.unlock()
	return nil
}

// join is called by each Filter that is to judge by s.
func (s *Memory) join() {
	s.init()
	if s.filters.Add(1) == 1 {
		return
	}
	for i := range s.shards {
		sh := &s.shards[i]
		sh.mu.Lock()
		sh.shared = true
		sh.mu.Unlock()
	}
}

// edited is called before a mark changes of which a Filter does not know.
func (sh *memoryShard) edited() { sh.edits = max(sh.edits+1, 1) }

// raiseFor raises the mark of a filter's metric in a shard that is held, and makes
// it the newest.
func (sh *memoryShard) raiseFor(s *Memory, sl *metric, ts int64, value float64) {
	k := sh.slotOf(sl)
	if sh.shared {
		sh.edited()
	}
	if k < 0 {
		k = s.add(sh, sl.hash, sl.name)
		sl.val.mark = k + 1
	} else {
		sh.touch(k)
	}
	sh.raise(k, ts, value)
}

// slotOf returns the slot of a filter's metric in a shard that is held, or -1,
// by what the filter remembers of it.
func (sh *memoryShard) slotOf(sl *metric) int32 {
	k := sl.val.mark - 1
	if k < 0 && sl.val.seen == sh.edits {
		return -1 // only the filter could have added it
	}
	name := asBytes(sl.name)
	if k < 0 || !sh.t.at(k).is(sl.hash, name) {
		k = sh.t.find(sl.hash, name)
		sl.val.mark = k + 1
	}
	return k
}

// hold returns the hash's shard, locked, given the one that is held, or nil:
// neighbours that share a shard cost one lock.
func (s *Memory) hold(held *memoryShard, hash uint64) *memoryShard {
	sh := &s.shards[hash>>s.shift]
	if sh != held {
		held.unlock()
		sh.mu.Lock()
	}
	return sh
}

// unlock releases a shard that hold returned, or nil.
func (sh *memoryShard) unlock() {
	if sh != nil {
		sh.mu.Unlock()
	}
}

func (sh *memoryShard) last(hash uint64, metric []byte) (int64, float64) {
	k := sh.t.find(hash, metric)
	if k < 0 {
		return None, math.NaN()
	}
	sh.touch(k)
	v := &sh.t.at(k).val
	return v.ts, v.value
}

func (sh *memoryShard) raise(k int32, ts int64, value float64) {
	if v := &sh.t.at(k).val; ts > v.ts {
		v.ts, v.value = ts, value
	}
}

// add inserts a metric without a mark at the new end of the list, having evicted
// from the old end of the same shard what the whole would be over its bounds by.
func (s *Memory) add(sh *memoryShard, hash uint64, name string) int32 {
	n, b := int64(1), memoryBytes(name)
	for sh.oldest != 0 && (s.metrics.Load()+n > int64(s.MaxMetrics) || s.bytes.Load()+b > s.MaxBytes) {
		n--
		b -= sh.drop(sh.oldest - 1)
		s.evicted.Add(1)
	}
	s.account(n, b)
	i := sh.t.insert(hash, name)
	sh.t.at(i).val.ts = None
	sh.link(i)
	return i
}

// account moves the figures of the whole.
func (s *Memory) account(metrics, bytes int64) {
	if metrics != 0 { // it is not where each newcomer drives out another
		s.metrics.Add(metrics)
	}
	if bytes != 0 {
		s.bytes.Add(bytes)
	}
}

// memoryBytes is what a metric takes.
func memoryBytes(name string) int64 { return int64(len(name)) + memoryMarkBytes }

// drop removes slot i and returns how many bytes that frees.
func (sh *memoryShard) drop(i int32) int64 {
	size := memoryBytes(sh.t.at(i).name)
	sh.unlink(i)
	sh.t.remove(i)
	return size
}

// touch makes slot i the newest.
func (sh *memoryShard) touch(i int32) {
	if sh.newest != i+1 {
		sh.unlink(i)
		sh.link(i)
	}
}

func (sh *memoryShard) link(i int32) {
	v := &sh.t.at(i).val
	v.newer, v.older = 0, sh.newest
	if sh.newest != 0 {
		sh.t.at(sh.newest - 1).val.newer = i + 1
	} else {
		sh.oldest = i + 1
	}
	sh.newest = i + 1
}

func (sh *memoryShard) unlink(i int32) {
	v := &sh.t.at(i).val
	if v.newer != 0 {
		sh.t.at(v.newer - 1).val.older = v.older
	} else {
		sh.newest = v.older
	}
	if v.older != 0 {
		sh.t.at(v.older - 1).val.newer = v.newer
	} else {
		sh.oldest = v.newer
	}
}

// Get implements Editor.
func (s *Memory) Get(ctx context.Context, metric []byte) (Stored, error) {
	m := []Mark{absent(append([]byte(nil), metric...))}
	_ = s.Last(ctx, m)
	return Stored{Mark: m[0]}, nil
}

// Set implements Editor.
func (s *Memory) Set(_ context.Context, m Mark) error {
	s.init()
	h := hashName(s.seed, m.Metric)
	sh := s.hold(nil, h)
	defer sh.unlock()
	sh.edited()
	k := sh.t.find(h, m.Metric)
	switch {
	case k >= 0 && m.Timestamp == None:
		s.account(-1, -sh.drop(k))
	case k >= 0:
		sh.t.at(k).val.ts, sh.t.at(k).val.value = m.Timestamp, m.Value
	case m.Timestamp != None:
		sh.raise(s.add(sh, h, string(m.Metric)), m.Timestamp, m.Value)
	}
	return nil
}

// Remove implements Editor.
func (s *Memory) Remove(ctx context.Context, metric []byte) error {
	return s.Set(ctx, Mark{Metric: metric, Timestamp: None})
}

// Stats returns the table's figures.
func (s *Memory) Stats() MemoryStats {
	return MemoryStats{Metrics: s.metrics.Load(), Bytes: s.bytes.Load(), Evicted: s.evicted.Load()}
}
