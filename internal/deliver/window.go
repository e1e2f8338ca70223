package deliver

import "github.com/fluxmetrics/fluxkit/internal/record"

// points are encoded points and their number.
type points struct {
	b []byte
	n int
}

// window is what was sent and is not confirmed: how much, and the points themselves when somebody wants to be told.
type window struct {
	keep  bool
	n     int
	size  int
	parts []points // as they were sent
	spare []points // memory for later parts
}

// add counts the points of b and keeps a copy of them.
func (w *window) add(b record.Batch) {
	if b.Len() == 0 {
		return
	}
	w.n += b.Len()
	w.size += b.Size()
	if !w.keep {
		return
	}
	if len(w.parts) == 0 || len(w.parts[len(w.parts)-1].b)+b.Size() > defaultBatchBytes {
		w.parts = append(w.parts, w.fresh())
	}
	w.parts[len(w.parts)-1].add(b)
}

// swap adds all of p, without a copy, and returns empty points to go on with.
func (w *window) swap(p points) points {
	w.n += p.n
	w.size += len(p.b)
	if !w.keep {
		p.reset()
		return p
	}
	w.parts = append(w.parts, p)
	return w.fresh()
}

func (w *window) fresh() (p points) {
	if last := len(w.spare) - 1; last >= 0 {
		p, w.spare = w.spare[last], w.spare[:last]
	}
	return p
}

func (w *window) reset() {
	for _, p := range w.parts {
		p.reset()
		w.spare = append(w.spare, p)
	}
	clear(w.parts)
	w.n, w.size, w.parts = 0, 0, w.parts[:0]
}

func (p *points) batch() record.Batch { return record.Concat(p.b, p.n) }
func (p *points) reset()              { p.b, p.n = p.b[:0], 0 }
func (p *points) add(b record.Batch)  { p.b, p.n = append(p.b, b.Points()...), p.n+b.Len() }
