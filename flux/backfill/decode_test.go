package backfill

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"sort"
	"strconv"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"

	"github.com/fluxmetrics/fluxkit/resample"
)

var generous = limits{bytes: 1 << 30, points: 1 << 30}

func TestDecodeGraphite(t *testing.T) {
	a, err := decode(strings.NewReader(` [ {"target":"a","tags":{"name":"a","x":[1,{"y":null}]},"datapoints":[[1,60],[null,120],[2.5e1 , 180],[NaN,240],
		[Infinity,300],[-Infinity,360],[1e9999,420],[-1e9999,480],[-0.5,540.5],[null,600]]} ] `+"\n"), Graphite, "", generous)
	require.NoError(t, err)
	require.Equal(t, answer{
		samples: []resample.Sample{{Timestamp: 60_000, Value: 1}, {Timestamp: 180_000, Value: 25}, {Timestamp: 540_500, Value: -0.5}},
		series:  1, taken: 1, names: []string{`"a"`}, nulls: 7, newest: 600_000, null: true, step: 59_500,
	}, a)

	a, err = decode(strings.NewReader(`[]`), Graphite, "x", generous)
	require.NoError(t, err, "a metric that exists only in part has slices without it")
	require.Zero(t, a.series)

	// Datapoints may come before the name that decides whether they are taken.
	two := `[{"datapoints":[[1,60]],"target":"a"},{"datapoints":[[2,120],[3,60],[4,60]],"target":"\u0062"}]`
	a, err = decode(strings.NewReader(two), Graphite, "b", generous)
	require.NoError(t, err)
	require.Equal(t, []resample.Sample{{Timestamp: 60_000, Value: 4}, {Timestamp: 120_000, Value: 2}}, a.samples, "in order, the last of one time")
	a, err = decode(strings.NewReader(two), Graphite, AllSeries, generous)
	require.NoError(t, err)
	require.Len(t, a.samples, 4)
}

func TestDecodeRefuses(t *testing.T) {
	for _, body := range []string{
		``, ` `, `{}`, `null`, `[`, `[{`, `[{}]`, `[{"target":"a"}]`, `[{"datapoints":[]}]`, `[{"target":"a","datapoints":null}]`,
		`[{"target":5,"datapoints":[]}]`, `[{"target":"a","target":"a","datapoints":[]}]`, `[{"target":"a","datapoints":[[1]]}]`,
		`[{"target":"a","datapoints":[[1,2,3]]}]`, `[{"target":"a","datapoints":[["1",2]]}]`, `[{"target":"a","datapoints":[[1,"2"]]}]`,
		`[{"target":"a","datapoints":[[1,null]]}]`, `[{"target":"a","datapoints":[[1,-60]]}]`, `[{"target":"a","datapoints":[[1,1e300]]}]`,
		`[{"target":"a","datapoints":[[01,60]]}]`, `[{"target":"a","datapoints":[[1.,60]]}]`, `[{"target":"a","datapoints":[[.5,60]]}]`,
		`[{"target":"a","datapoints":[[1,60],]}]`, `[{"target":"a","datapoints":[[+1,60]]}]`, `[{"target":"a","datapoints":[[0x10,60]]}]`,
		`[{"target":"a","datapoints":[]}] x`, `[{"target":"a","datapoints":[]}][]`, `[{"target":"a","datapoints":[],}]`, "[{\"target\":\"a\x01\",\"datapoints\":[]}]",
		`[{"target":"\x","datapoints":[]}]`, `[{"target":"a","datapoints":[[nul,60]]}]`, `<html>`, `[{"target":"a","datapoints":[[nulll,60]]}]`,
		`[{"target":"a","x":` + strings.Repeat("[", 100) + strings.Repeat("]", 100) + `,"datapoints":[]}]`,
	} {
		for _, r := range []io.Reader{strings.NewReader(body), iotest.OneByteReader(strings.NewReader(body))} {
			_, err := decode(r, Graphite, "", generous)
			require.Error(t, err, body)
		}
	}
	for _, body := range []string{
		`{}`, `{"status":"error","errorType":"x","error":"bad"}`, `{"status":"success"}`, `{"status":"success","data":{"resultType":"matrix"}}`,
		`{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":[1,"2"]}]}}`,
		`{"status":"success","data":{"resultType":"scalar","result":[1,"2"]}}`, `{"status":"success","data":null}`,
		`{"status":"success","data":{"resultType":"matrix","result":[{"metric":{},"values":[[60,1]]}]}}`,
		`{"status":"success","data":{"resultType":"matrix","result":[{"metric":{},"values":[[60,"0x10"]]}]}}`,
		`{"status":"success","data":{"resultType":"matrix","result":[{"metric":{},"values":[[60,"1_0"]]}]}}`,
		`{"status":"success","data":{"resultType":"matrix","result":[{"metric":{},"values":[[60,""]]}]}}`,
		`{"status":"success","data":{"resultType":"matrix","result":[{"metric":{},"metric":{}}]}}`,
		`{"status":"success","status":"success","data":{"resultType":"matrix","result":[]}}`,
	} {
		_, err := decode(strings.NewReader(body), Prometheus, "", generous)
		require.Error(t, err, body)
	}
}

func TestDecodePrometheus(t *testing.T) {
	body := `{"data":{"result":[{"values":[[1435781430.781,"1"],[1435781445,"NaN"],[1435781460.5,"+Inf"],[1435781475,"-Inf"],[1435781490,"1.5e-7"]],
		"metric":{"job":"a\"b","__name__":"up","instance":"é"},"histograms":[[1,{"count":"5"}]]}],"resultType":"matrix"},"warnings":["x"],"status":"success"}`
	a, err := decode(iotest.HalfReader(strings.NewReader(body)), Prometheus, `up{instance="é",job="a\"b"}`, generous)
	require.NoError(t, err)
	require.Equal(t, []resample.Sample{{Timestamp: 1435781430_781, Value: 1}, {Timestamp: 1435781490_000, Value: 1.5e-7}}, a.samples)
	require.EqualValues(t, 3, a.nulls)
	require.False(t, a.null)
}

func TestDecodeIsBounded(t *testing.T) {
	point := "[1,60]," // for ever
	endless := io.MultiReader(strings.NewReader(`[{"target":"a","datapoints":[`), &repeat{text: point})
	_, err := decode(endless, Graphite, "", limits{bytes: 1 << 20, points: 1 << 30})
	require.ErrorIs(t, err, errTooLarge)
	_, err = decode(io.MultiReader(strings.NewReader(`[{"target":"a","datapoints":[`), &repeat{text: point}), Graphite, "", limits{bytes: 1 << 30, points: 1000})
	require.ErrorIs(t, err, errTooLarge)
	for _, start := range []string{`[{"target":"`, `[{"`, `[{"target":"a","datapoints":[[1`, ``} {
		text := "1"
		if start == "" {
			text = " "
		}
		_, err = decode(io.MultiReader(strings.NewReader(start), &repeat{text: text}), Graphite, "", limits{bytes: 4 << 20, points: 1000})
		require.Error(t, err)
	}
	body := `[{"target":"a","datapoints":[[1,60]]}]`
	for n := range len(body) {
		_, err = decode(strings.NewReader(body[:n]), Graphite, "", generous)
		require.Error(t, err, "cut at %d", n)
		_, err = decode(strings.NewReader(body), Graphite, "", limits{bytes: int64(n), points: 100})
		require.ErrorIs(t, err, errTooLarge)
		_, err = decode(io.MultiReader(strings.NewReader(body[:n]), iotest.ErrReader(io.ErrClosedPipe)), Graphite, "", generous)
		require.ErrorIs(t, err, io.ErrClosedPipe)
	}
	_, err = decode(strings.NewReader(body), Graphite, "", limits{bytes: int64(len(body)), points: 1})
	require.NoError(t, err)
}

// repeat reads its text again and again.
type repeat struct {
	text string
	at   int
}

func (r *repeat) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = r.text[r.at]
		r.at = (r.at + 1) % len(r.text)
	}
	return len(p), nil
}

// plainGraphite decodes with encoding/json.
func plainGraphite(body []byte) (answer, error) {
	var series []map[string]json.RawMessage
	if err := json.Unmarshal(body, &series); err != nil {
		return answer{}, err
	}
	a := answer{newest: none}
	for _, s := range series {
		var name *string
		var points [][]*json.Number
		if json.Unmarshal(s["target"], &name) != nil || name == nil || json.Unmarshal(s["datapoints"], &points) != nil || points == nil {
			return a, errors.New("no series")
		}
		a.series++
		for _, p := range points {
			if len(p) != 2 || p[1] == nil {
				return a, errors.New("no point")
			}
			value := math.NaN()
			if p[0] != nil {
				value, _ = strconv.ParseFloat(string(*p[0]), 64)
			}
			sec, err := strconv.ParseFloat(string(*p[1]), 64)
			if err != nil {
				return a, err
			}
			a.plain(int64(math.Round(sec*1000)), value)
		}
	}
	a.order()
	return a, nil
}

func (a *answer) plain(ms int64, value float64) {
	if ms >= a.newest {
		a.newest, a.null = ms, math.IsNaN(value) || math.IsInf(value, 0)
	}
	if math.IsNaN(value) || math.IsInf(value, 0) {
		a.nulls++
		return
	}
	a.samples = append(a.samples, resample.Sample{Timestamp: ms, Value: value})
}

func (a *answer) order() {
	sort.SliceStable(a.samples, func(i, k int) bool { return a.samples[i].Timestamp < a.samples[k].Timestamp })
}

func plainPrometheus(body []byte) (answer, error) {
	var doc map[string]json.RawMessage
	var data map[string]json.RawMessage
	var status, kind string
	var result []map[string]json.RawMessage
	if json.Unmarshal(body, &doc) != nil || json.Unmarshal(doc["status"], &status) != nil || json.Unmarshal(doc["data"], &data) != nil ||
		json.Unmarshal(data["resultType"], &kind) != nil || json.Unmarshal(data["result"], &result) != nil || status != "success" || kind != "matrix" {
		return answer{}, errors.New("no matrix")
	}
	a := answer{newest: none}
	for _, s := range result {
		a.series++
		var values [][]any
		if s["values"] != nil {
			dec := json.NewDecoder(strings.NewReader(string(s["values"])))
			dec.UseNumber()
			if err := dec.Decode(&values); err != nil {
				return a, err
			}
		}
		for _, p := range values {
			if len(p) != 2 {
				return a, errors.New("no point")
			}
			sec, ok1 := p[0].(json.Number)
			text, ok2 := p[1].(string)
			f, err := strconv.ParseFloat(string(sec), 64)
			value, err2 := strconv.ParseFloat(text, 64)
			if !ok1 || !ok2 || err != nil || err2 != nil && !math.IsInf(value, 0) {
				return a, errors.New("no point")
			}
			a.plain(int64(math.Round(f*1000)), value)
		}
	}
	a.order()
	return a, nil
}

// same compares an answer with that of encoding/json.
func same(t *testing.T, body []byte, got answer, err error, read func([]byte) (answer, error)) {
	if err != nil {
		return
	}
	want, wantErr := read(body)
	require.NoError(t, wantErr, "encoding/json refuses what was taken")
	require.Equal(t, want.series, got.series)
	require.Equal(t, want.nulls, got.nulls)
	require.Equal(t, want.newest, got.newest)
	require.Equal(t, want.null, got.null)
	require.Equal(t, len(want.samples), len(got.samples))
	for i := range want.samples {
		require.Equal(t, want.samples[i].Timestamp, got.samples[i].Timestamp)
		require.Equal(t, math.Float64bits(want.samples[i].Value), math.Float64bits(got.samples[i].Value))
	}
}

// FuzzGraphiteAnswer checks that what is taken is what encoding/json reads, and that it does not depend on how the bytes
// arrive.
func FuzzGraphiteAnswer(f *testing.F) {
	f.Add([]byte(`[{"target":"a","tags":{"n":"a"},"datapoints":[[1,60],[null,120],[-2.5e3,180]]}]`))
	f.Add([]byte(`[{"datapoints":[[1,60.5]],"target":"\u00e9\ud83d\ude00"},{"target":"b","datapoints":[[1e9999,60]]}]`))
	f.Add([]byte(`[]`))
	f.Add([]byte(`[{"target":"a","datapoints":[[NaN,60]]}]`))
	f.Fuzz(func(t *testing.T, body []byte) {
		got, err := decode(strings.NewReader(string(body)), Graphite, AllSeries, generous)
		again, err2 := decode(iotest.OneByteReader(strings.NewReader(string(body))), Graphite, AllSeries, generous)
		require.Equal(t, err == nil, err2 == nil)
		require.Equal(t, got, again)
		if text := string(body); strings.Contains(text, "NaN") || strings.Contains(text, "Infinity") {
			return // which encoding/json does not read
		}
		same(t, body, got, err, plainGraphite)
	})
}

// FuzzPrometheusAnswer is the same for Prometheus.
func FuzzPrometheusAnswer(f *testing.F) {
	f.Add([]byte(`{"status":"success","data":{"resultType":"matrix","result":[{"metric":{"__name__":"up"},"values":[[1435781430.781,"1"],[1435781445,"NaN"]]}]}}`))
	f.Add([]byte(`{"data":{"result":[{"values":[[1,"+Inf"]],"metric":{}}],"resultType":"matrix"},"status":"success","warnings":[]}`))
	f.Add([]byte(`{"status":"error","error":"x"}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		got, err := decode(strings.NewReader(string(body)), Prometheus, AllSeries, generous)
		again, err2 := decode(iotest.OneByteReader(strings.NewReader(string(body))), Prometheus, AllSeries, generous)
		require.Equal(t, err == nil, err2 == nil)
		require.Equal(t, got, again)
		same(t, body, got, err, plainPrometheus)
	})
}

// FuzzGeneratedAnswers checks the other direction: what a server writes is taken.
func FuzzGeneratedAnswers(f *testing.F) {
	f.Add("web.é\"\\", int64(60), 1.5, uint8(7))
	f.Fuzz(func(t *testing.T, name string, ts int64, value float64, n uint8) {
		if ts < 0 || ts > 1<<33 || math.IsNaN(value) || math.IsInf(value, 0) {
			return
		}
		var points [][2]any
		var values [][2]any
		for i := range int64(n) {
			points = append(points, [2]any{value * float64(i), ts + i}, [2]any{nil, ts + i})
			values = append(values, [2]any{float64(ts+i) + 0.25, strconv.FormatFloat(value*float64(i), 'f', -1, 64)})
		}
		if points == nil {
			points, values = [][2]any{}, [][2]any{}
		}
		if len(points) > 0 && math.IsInf(value*float64(n), 0) {
			return
		}
		g, err := json.MarshalIndent([]any{map[string]any{"target": name, "datapoints": points, "tags": map[string]string{name: name}}}, "", " ")
		require.NoError(t, err)
		got, err := decode(strings.NewReader(string(g)), Graphite, "", generous)
		require.NoError(t, err, string(g))
		require.Len(t, got.samples, int(n))
		p, err := json.Marshal(map[string]any{"status": "success", "data": map[string]any{"resultType": "matrix", "result": []any{map[string]any{"metric": map[string]string{"__name__": name}, "values": values}}}})
		require.NoError(t, err)
		got, err = decode(strings.NewReader(string(p)), Prometheus, "", generous)
		require.NoError(t, err, string(p))
		require.Len(t, got.samples, int(n))
		require.True(t, slices.IsSortedFunc(got.samples, func(a, b resample.Sample) int { return compare(a.Timestamp, b.Timestamp) }), fmt.Sprint(got.samples))
	})
}
