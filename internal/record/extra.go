package record

import (
	"encoding/binary"
	"time"
)

// TTLAndUnit takes apart the extra bytes as a Blueflood endpoint writes them: the time to live in nanoseconds as a varint,
// then the unit. Both are empty when there are none, and the time to live is negative when it cannot be read. The unit is
// a view.
func (p *Point) TTLAndUnit() (ttl time.Duration, unit []byte) {
	if len(p.Extra) == 0 {
		return 0, nil
	}
	n, w := binary.Varint(p.Extra)
	if w <= 0 {
		return -1, nil
	}
	return time.Duration(n), p.Extra[w:]
}
