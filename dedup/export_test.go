package dedup

// Lookups returns the number of round trips under way, and of the calls that
// wait for the next one.
func Lookups(r *Redis) (running, waiting int) {
	r.lookups.mu.Lock()
	defer r.lookups.mu.Unlock()
	return r.lookups.running, len(r.lookups.waiting)
}

// StoredTexts are string keys and the marks that they are.
func StoredTexts() map[string]int64 {
	m := map[string]int64{}
	for _, c := range storedTexts {
		m[c.list] = c.ms
	}
	return m
}
