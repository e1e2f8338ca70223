//go:build interop

package pickle

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// python runs a script with input on standard input; without a python3 on the
// path it fails.
func python(t testing.TB, script, input string) string {
	cmd := exec.Command("python3", "-c", script)
	cmd.Stdin = strings.NewReader(input)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	require.NoError(t, err, errs.String())
	return string(out)
}

// picklersScript pickles each payload with both picklers in all protocols and prints
// label, body in hex, and the points that carbon's receiver would take from it:
// those with numbers, whatever their values.
const picklersScript = `
import pickle, io, json, random
random.seed(5)
def points(payload):
    out = []
    for item in payload:
        try:
            name, dp = item
            ts, value = dp
            if isinstance(name, bytes): name = name.decode('utf-8')
            if not isinstance(name, str): continue
            out.append([name, repr(float(ts)), repr(float(value))])
        except (TypeError, ValueError, OverflowError, UnicodeDecodeError):
            pass
    return out
T = 1700000000
shared, item = [T, 1.5], ('same.item', (T, 2))
cases = {
  'empty': [], 'one': [('a.b', (T, 1.5))], 'tuple': (('a', (T, 1)), ('b', (T, 2))),
  'lists': [['a', [T, 1.5]], ['b', [T, 2.5]]], 'shared': [('a', shared), ('b', shared)],
  'item twice': [item, item, ('other', item[1])],
  'repeated': [('web.cpu.%d' % (i % 7), (T + i, i / 3)) for i in range(700)],
  'distinct': [('servers.dc1.host%05d.cpu.user' % i, (T + i, random.random())) for i in range(2500)],
  'floats': [('carbon.relay', (float(T) + .25, v)) for v in (0.0, -0.0, 1e-320, 1e308, float('inf'), float('nan'), 0.1)],
  'integers': [('n', (t, v)) for t in (0, -1, T, 2**31, 2**32, 2**40) for v in (0, 7, -7, 255, 256, 70000, -2**31, 2**31, 2**53 + 1, -2**63, 2**64, 2**70 + 1, -2**100, 2**1000, -2**1023)],
  'too large': [('ok', (T, 1)), ('big', (T, 2**2100)), ('ok', (T, 2))],
  'bools': [('t', (T, True)), ('f', (T, False))],
  'strings': [('s', ('1700000000.5', ' 1_0 ')), ('s', (T, 'abc')), ('s', (T, '')), ('s', (T, '-Infinity'))],
  'none': [('a', (T, None)), (None, (T, 1)), None, ('b', (T, 1))],
  'shapes': [('a',), ('b', (T, 1)), ('c', T, 1), ('d', (T, 1, 2)), 5, 'xyz', {}, ('e', (T, 1))],
  'bytes': [(b'plain.name', (T, 1)), ('b\xc3\xbccher'.encode('latin1'), (T, 2)), (b'', (T, 3)), (b'\xff', (T, 4))],
  'unicode': [(n, (T, 1)) for n in ('b\u00fccher', '\u03b1\u03b2\u03b3', '\u6570\u636e', '\U0001f600', 'back\\slash', 'new\nline', 'nul\0', "it's \"it\"", '\x1a')],
  'long': [('n' * k, (T, 1)) for k in (254, 255, 256, 257, 5000)],
  'large frames': [('m' * 300 + str(i), (T, i)) for i in range(600)],
}
sets = {'set': {('a', (T, 1)), ('b', (T, 2))}, 'frozen set': frozenset({('a', (T, 1))})}
for label, payload in list(cases.items()) + list(sets.items()):
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        if label in sets and protocol < 4: continue
        buf = io.BytesIO(); pickle._Pickler(buf, protocol).dump(payload)
        fast = io.BytesIO(); pickle.Pickler(fast, protocol).dump(payload)
        for kind, body in (('C', fast.getvalue()), ('Python', buf.getvalue())):
            print(json.dumps(['%s/%d/%s' % (label, protocol, kind), body.hex(), points(payload)]))
`

func TestInteropPicklersOfPython(t *testing.T) {
	lines := strings.Split(strings.TrimSpace(python(t, picklersScript, "")), "\n")
	require.Greater(t, len(lines), 190)
	for _, line := range lines {
		var c []any
		require.NoError(t, json.Unmarshal([]byte(line), &c))
		body, err := hex.DecodeString(c[1].(string))
		require.NoError(t, err)
		var want, got []string
		for _, p := range c[2].([]any) {
			p := p.([]any)
			want = append(want, fmt.Sprintf("%q %x %x", p[0], bitsOf(t, p[1].(string)), bitsOf(t, p[2].(string))))
		}
		for _, slow := range []bool{false, true} {
			got = nil
			d := &Decoder{slow: slow}
			require.NoError(t, d.Decode(body, func(p Datapoint) {
				got = append(got, fmt.Sprintf("%q %x %x", p.Name, oneNaN(p.Timestamp), oneNaN(p.Value)))
			}), c[0])
			if strings.Contains(c[0].(string), "set/") {
				require.ElementsMatch(t, want, got, c[0])
			} else {
				require.Equal(t, want, got, c[0])
			}
		}
	}
}

// oneNaN returns the bits of f, the same for every NaN.
func oneNaN(f float64) uint64 {
	if f != f {
		f = math.NaN()
	}
	return math.Float64bits(f)
}

func bitsOf(t *testing.T, repr string) uint64 {
	f, err := strconv.ParseFloat(repr, 64)
	require.NoError(t, err)
	return oneNaN(f)
}

// What the tests take for the bytes of Python's pickler is that.
func TestInteropProducersArePython(t *testing.T) {
	const script = `
import sys, json, pickle
protocol, points = json.loads(sys.stdin.read())
print(pickle.dumps([(sys.intern(n), (int(t), v)) for n, t, v in points], protocol).hex())`
	for _, n := range []int{1, 2, 300, 900} {
		pts := samplePoints(n, 1+n*2/3)
		var list []any
		for _, p := range pts {
			list = append(list, []any{string(p.Name), p.Timestamp, p.Value})
		}
		for _, p := range producers {
			protocol := map[string]int{"p0-py3": 0, "p2-py3": 2, "p4-py3": 4}[p.name]
			if !strings.HasSuffix(p.name, "py3") {
				continue
			}
			input, err := json.Marshal([]any{protocol, list})
			require.NoError(t, err)
			got := strings.TrimSpace(python(t, script, string(input)))
			require.Equal(t, got, hex.EncodeToString(p.encode(pts)), "%s, %d points", p.name, n)
		}
	}
}

// What we encode, pickle.loads reads as the same points.
func TestInteropPythonReadsOurs(t *testing.T) {
	const script = `
import sys, struct, pickle, json
stream, points = bytes.fromhex(sys.stdin.read()), []
while stream:
    n, = struct.unpack('>I', stream[:4])
    for name, (ts, value) in pickle.loads(stream[4:4+n]):
        assert type(name) is str and type(value) is float
        assert type(ts) is int or ts != int(ts) or abs(ts) >= 2**63 or ts == 0, ts
        points.append([name, struct.pack('>d', ts).hex(), struct.pack('>d', value).hex()])
    stream = stream[4+n:]
print(json.dumps(points))`
	r := rand.New(rand.NewPCG(8, 9))
	names := randomNamesOf(r, 700)
	pts := make([]Datapoint, 5000)
	for i := range pts {
		pts[i] = randomPoint(r, names)
	}
	stream := encodeAll(t, &Encoder{}, pts)
	var got [][]string
	require.NoError(t, json.Unmarshal([]byte(python(t, script, hex.EncodeToString(stream))), &got))
	require.Len(t, got, len(pts))
	for i, p := range pts {
		require.Equal(t, string(p.Name), got[i][0])
		require.Equal(t, fmt.Sprintf("%016x", math.Float64bits(p.Timestamp)), got[i][1], "%v", p.Timestamp)
		if p.Value == p.Value {
			require.Equal(t, fmt.Sprintf("%016x", math.Float64bits(p.Value)), got[i][2])
		}
	}
}

// BenchmarkPython is CPython's C unpickler on the bytes of BenchmarkDecode, the
// loop over the points not counted. It reports the best of many runs.
func BenchmarkPython(b *testing.B) {
	const script = `
import sys, pickle, time
body, best = bytes.fromhex(sys.stdin.read()), 1e9
n = len(pickle.loads(body, encoding='utf-8'))
for _ in range(2000):
    t = time.perf_counter(); pickle.loads(body, encoding='utf-8'); best = min(best, time.perf_counter() - t)
print(best * 1e9 / n)`
	for _, names := range []struct {
		label    string
		distinct int
	}{{"distinct", 1000}, {"repeated", 50}} {
		for _, p := range producers {
			b.Run(p.name+"/"+names.label, func(b *testing.B) {
				body := p.encode(samplePoints(1000, names.distinct))
				ns, err := strconv.ParseFloat(strings.TrimSpace(python(b, script, hex.EncodeToString(body))), 64)
				require.NoError(b, err)
				for b.Loop() {
				}
				b.ReportMetric(ns, "ns/point")
			})
		}
	}
}
