package pickle

import (
	"encoding/binary"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Bodies that cost a careless reader far more time than they took to send: what the
// memo makes short to say again has to be counted, or judged once. Each took 10 s
// or more before it was. The bound is generous, for slow machines.
func TestWork(t *testing.T) {
	const most = 5 * time.Second
	repeat := func(head, unit, tail string) string {
		return head + strings.Repeat(unit, (DefaultMaxBody-len(head)-len(tail))/len(unit)) + tail
	}
	counted := func(text string) string {
		return string(binary.LittleEndian.AppendUint32([]byte{opBinunicode}, uint32(len(text)))) + text
	}
	f := func(name, body string) {
		t.Helper()
		var told [2]string
		for i, slow := range []bool{false, true} {
			d := &Decoder{MultiPoint: true, slow: slow}
			points, start := 0, time.Now()
			err := d.Decode([]byte(body), func(Datapoint) { points++ })
			require.Less(t, time.Since(start), most, name)
			requireWork(t, d, len(body))
			told[i] = fmt.Sprint(err, points, d.BadItems(), d.Consumed())
		}
		require.Equal(t, told[1], told[0], name)
		start := time.Now()
		_, _ = Unmarshal([]byte(body), Limits{})
		require.Less(t, time.Since(start), most, name)
	}
	n := 16000
	f("cut, with an item of many points", "]("+"(U\x01aK\x01K\x02\x86q\x01"+strings.Repeat("h\x01", n)+"Ntq\x02"+strings.Repeat("h\x02", n))
	f("cut, with an item of many bad points", "]("+"(U\x01aK\x01K\x02\x86q\x01"+strings.Repeat("N", n)+"tq\x02"+strings.Repeat("h\x02", n))

	const t1 = "J\x01\x00\x00\x00K\x01\x86\x86"
	good, bad := counted(strings.Repeat("ä", 8191)), counted(strings.Repeat("ä", 8191)+"\xff")
	other := counted(strings.Repeat("ö", 8191) + "\xff")
	f("name as an item", repeat("]("+good+"q\x00"+t1, "h\x00", "e."))
	f("bad name as an item", repeat("]("+bad+"q\x00"+t1, "h\x00", "e."))
	f("item with a long name", repeat("]("+good+t1+"q\x01", "h\x01", "e."))
	f("item with a bad name", repeat("]("+bad+t1+"q\x01", "h\x01", "e."))
	f("the same, put by the fast path", repeat("]("+bad+"q\x00"+t1+"q\x01", "h\x01", "e."))
	f("items with a bad name", repeat("]("+bad+"q\x00"+t1, "h\x00"+t1, "e."))
	f("items with two bad names", repeat("]("+bad+"q\x00"+t1+other+"q\x01"+t1, "h\x00"+t1+"h\x01"+t1, "e."))
	f("items with a bad name, cut", repeat("]("+bad+"q\x00"+t1, "h\x00"+t1, "h"))
	f("items with a bad name, in one tuple", repeat("]("+bad+"q\x00"+t1, "h\x00"+t1, "tq\x01h\x01h\x01e."))
	f("item for a pair", repeat("]("+bad+"q\x00"+t1+"q\x01U\x01bh\x01\x86q\x02", "h\x02", "e."))
	codecs := "c_codecs\nencode\nq\x000" + counted(strings.Repeat("ä", 8190)+"Ж")
	f("text that is not Latin-1", repeat(codecs+counted("latin1")+"\x86q\x010](", "h\x00h\x01R0", "e."))
	f("long codec", repeat(codecs+counted(strings.Repeat("x", 16000))+"\x86q\x010](", "h\x00h\x01R0", "e."))
	f("long module", repeat(good+"q\x000](", "h\x00h\x00\x930", "e."))
	f("long number", repeat("S'"+strings.Repeat("9", 1000)+".'\nq\x000](U\x01ah\x00h\x00\x86\x86q\x01", "h\x01", "e."))
}

// requireWork checks what bounds the time of the last Decode: names are judged, and
// text is encoded, only as long as these counts allow.
func requireWork(t *testing.T, d *Decoder, body int) {
	t.Helper()
	require.LessOrEqual(t, d.count, d.lim.Items+max(1, len(d.points)))
	require.LessOrEqual(t, d.handed, d.lim.TotalBytes+d.lim.StringBytes)
	require.LessOrEqual(t, d.encoded, 2*body+d.lim.StringBytes)
}
