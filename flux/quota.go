package flux

import (
	"hash/maphash"
	"sync"
)

// quota counts the distinct names that a key has used, by their hashes.
type quota struct {
	mu    sync.RWMutex
	seed  maphash.Seed
	known map[uint64]struct{}
}

// orNew returns q, or a new quota where there is none.
func (q *quota) orNew() *quota {
	if q == nil {
		return &quota{seed: maphash.MakeSeed(), known: map[uint64]struct{}{}}
	}
	return q
}

// has reports whether the name was used before.
func (q *quota) has(hash uint64) bool {
	q.mu.RLock()
	defer q.mu.RUnlock()
	_, ok := q.known[hash]
	return ok
}

// hash returns what stands for a name.
func (q *quota) hash(name []byte) uint64 { return maphash.Bytes(q.seed, name) }

// use takes a name among the known ones if it is one or there is room for it among limit.
func (q *quota) use(name []byte, limit int) bool {
	h := q.hash(name)
	if q.has(h) {
		return true
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if _, ok := q.known[h]; !ok && len(q.known) >= limit {
		return false
	}
	q.known[h] = struct{}{}
	return true
}
