package ingest_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fluxmetrics/fluxkit/flux/ingest"
)

// The defects of Flux's listener, by the number that each has in our description of it, as far as they lie in what a
// request is read as. B-9 and the rest of B-4 and B-10 are the gateway's.

// B-1: the prefix was applied to a GET only where the key was the last parameter.
func TestFluxB01PrefixWhereverTheKeyStands(t *testing.T) {
	var p ingest.Parser
	parts := []string{"metric=a.b", "value=1", "key=K", "timestamp=5", "fill=true"}
	for i := range parts {
		req, err := p.Query(strings.Join(append(parts[i:len(parts):len(parts)], parts[:i]...), "&"))
		require.NoError(t, err)
		require.Equal(t, "K", string(req.Key))
		require.True(t, req.Fill)
		require.NoError(t, p.Validate(rules(), "warehouse-1"))
		require.Equal(t, []ingest.Item{item("warehouse-1.a.b", 5, 1, true)}, req.Items)
	}
}

// B-2: the points before a bad one were ingested although the answer was 400.
func TestFluxB02ArraysAreAllOrNothing(t *testing.T) {
	good := `{"metric":"a","value":1}`
	for _, bad := range []string{
		`{"metric":"a","value":1,"timestamp":1}`, `{"metric":"a"}`, `{"value":1}`, `{"metric":"a b;","value":1}`, `5`, `{"metric":"a","value":"x"}`,
	} {
		for _, body := range []string{good + "," + bad, bad + "," + good, good + "," + bad + "," + good} {
			var p ingest.Parser
			req, err := p.JSON([]byte(`{"metrics":[` + body + `]}`))
			require.NoError(t, err)
			require.False(t, req.OneByOne)
			require.Error(t, p.Validate(rules(), ""))
			require.Nil(t, req.Items)
			require.Nil(t, req.Rejected)
		}
	}
}

// B-3: a GET checked the parameter's own name in place of the metric's.
func TestFluxB03GetChecksTheName(t *testing.T) {
	for _, metric := range []string{"a%0Ab", "a;b", "a%00", "%C3%A9", "a%0a1%20b%202%203", strings.Repeat("a", 300), strings.Repeat("a.", 2040) + "a"} {
		items, err := get(t, "metric="+metric+"&value=1&key=K")
		require.ErrorContains(t, err, "ingest: invalid metric - ")
		require.Nil(t, items)
	}
}

// B-4: a GET without a key was answered with 500. It is read like any other, and the gateway sees that there is none.
func TestFluxB04GetWithoutKey(t *testing.T) {
	var p ingest.Parser
	req, err := p.Query("metric=a.b&value=1")
	require.NoError(t, err)
	require.False(t, req.HasKey)
	req, err = p.Query("metric=a.b&value=1&key=")
	require.NoError(t, err)
	require.True(t, req.HasKey)
}

// B-5: fill was ignored in a POST of a single point.
func TestFluxB05FillOnASinglePoint(t *testing.T) {
	for _, fill := range []string{`"true"`, `"True"`, `true`} {
		items, err := post(t, `{"metric":"a","timestamp":"1478021700","value":1,"fill":`+fill+`}`)
		require.NoError(t, err)
		require.Equal(t, []ingest.Item{item("a", 1478021700, 1, true)}, items)
	}
	// It skips the age window and nothing else.
	for _, point := range []string{
		`"metric":"a;","timestamp":1478021700,"value":1`, `"metric":"a","timestamp":1478021700000,"value":1`, `"metric":"a","timestamp":0,"value":1`,
		`"metric":"a","timestamp":-5,"value":1`, `"metric":"a","timestamp":1478021700.5,"value":1`, `"metric":"a","timestamp":"","value":1`,
		`"metric":"a","timestamp":1478021700,"value":"nan"`, `"metric":"a","timestamp":1478021700,"value":true`,
	} {
		_, err := post(t, `{"fill":true,`+point+`}`)
		require.Error(t, err, point)
	}
}

// B-6: a key's prefix had no dot boundary, and an item that had it already took it from all that followed.
func TestFluxB06PrefixConfinesEachItem(t *testing.T) {
	f := func(want []string, metrics ...string) {
		t.Helper()
		var p ingest.Parser
		req, err := p.JSON([]byte(`{"metrics":[{"value":1,"metric":"` + strings.Join(metrics, `"},{"value":1,"metric":"`) + `"}]}`))
		require.NoError(t, err)
		require.NoError(t, p.Validate(rules(), "warehouse-1"))
		var got []string
		for _, it := range req.Items {
			got = append(got, string(it.Name))
		}
		require.Equal(t, want, got)
	}
	f([]string{"warehouse-1.x.y", "warehouse-1.x", "warehouse-1.z.z"}, "x.y", "warehouse-1.x", "z.z")
	f([]string{"warehouse-1.warehouse-1x.a", "warehouse-1.warehouse-1/x", "warehouse-1.a"}, "warehouse-1x.a", "warehouse-1/x", "warehouse-1..a")
}

// B-7: values that are not finite were accepted, and switched deduplication off.
func TestFluxB07ValuesAreFinite(t *testing.T) {
	for _, value := range []string{"nan", "NaN", "inf", "-inf", "+Infinity", " infinity ", "1e999", "-1e999", strings.Repeat("9", 400)} {
		_, err := post(t, `{"metric":"a","timestamp":1795293175,"value":"`+value+`"}`)
		requireError(t, err, 0, ingest.ReasonValue, "invalid value - "+cite(value)+` - not a finite number - "a"`)
		_, err = get(t, "metric=a&value="+percent(value))
		requireError(t, err, 0, ingest.ReasonValue, "invalid value - "+cite(value)+` - not a finite number - "a"`)
		if !strings.Contains(value, " ") {
			require.Equal(t, ingest.ReasonValue, lines(t, "a "+value+" -1", "").Rejected[0].Reason)
		}
	}
	for _, body := range []string{`NaN`, `Infinity`, `-Infinity`} { // not JSON
		_, err := post(t, `{"metric":"a","timestamp":1795293175,"value":`+body+`}`)
		require.ErrorContains(t, err, "invalid json data")
	}
	_, err := post(t, `{"metric":"a","timestamp":1795293175,"value":1e999}`)
	require.ErrorContains(t, err, "invalid value - 1e999 - not a finite number")
}

// B-8: booleans counted as numbers, null as a name, and an empty timestamp as now.
func TestFluxB08Types(t *testing.T) {
	for _, members := range []string{
		`"metric":null,"value":1`, `"metric":5,"value":1`, `"metric":true,"value":1`, `"metric":["a"],"value":1`, `"metric":{},"value":1`,
		`"metric":"a","value":true`, `"metric":"a","value":false`, `"metric":"a","value":null`, `"metric":"a","value":[1]`,
		`"metric":"a","value":1,"timestamp":""`, `"metric":"a","value":1,"timestamp":null`, `"metric":"a","value":1,"timestamp":true`,
	} {
		_, err := post(t, `{"metrics":[{`+members+`}]}`)
		require.Error(t, err, members)
		if !strings.Contains(members, "timestamp") {
			members += `,"timestamp":1795293175`
		}
		_, err = post(t, `{`+members+`}`)
		require.Error(t, err, members)
	}
	items, err := post(t, `{"metric":"a","value":"1.5","timestamp":"1795293175"}`) // as documented
	require.NoError(t, err)
	require.Equal(t, []ingest.Item{item("a", 1795293175, 1.5, false)}, items)
}

// B-10: a bad request left its key in the log. No message has it.
func TestFluxB10NoKeyInMessages(t *testing.T) {
	const key = "secretsecretsecretsecretsecret00"
	var p ingest.Parser
	for _, body := range []string{`{"key":"` + key, `{"key":"` + key + `"}`, `{"key":"` + key + `","metrics":5}`, `{"key":"` + key + `","key":"x"}`} {
		_, err := p.JSON([]byte(body))
		if err == nil {
			err = p.Validate(rules(), "")
		}
		require.Error(t, err)
		require.NotContains(t, err.Error(), key)
	}
	for _, query := range []string{"key=" + key, "key=" + key + "&x=1", "key=" + key + "%", "key=" + key + "&key=" + key} {
		_, err := p.Query(query)
		if err == nil {
			err = p.Validate(rules(), "")
		}
		require.Error(t, err)
		require.NotContains(t, err.Error(), key)
	}
}

// Bodies of another shape were answered with 500.
func TestFluxBodiesOfAnotherShape(t *testing.T) {
	for _, body := range []string{`[1]`, `"x"`, `5`, `true`, `null`, `{}`, `[]`, `{"metrics":5}`, `{"metrics":true}`, `{"metrics":"x"}`, `{"metrics":{"a":1}}`, `{"metrics":[5]}`} {
		_, err := post(t, body)
		var e *ingest.Error
		require.ErrorAs(t, err, &e, body)
		require.Equal(t, 400, e.Code)
	}
}

// A telegraf batch was refused or lost for one field that was no number, null or badly named, one point that was old,
// or one host that was missing, and one that held no number at all was refused.
func TestFluxTelegrafLosesOnlyWhatIsBad(t *testing.T) {
	object := func(fields, tags, ts string) string {
		return `{"fields":{` + fields + `},"name":"m","tags":{` + tags + `},"timestamp":` + ts + `}`
	}
	good := object(`"ok":1`, `"host":"h"`, "1795293175")
	for _, bad := range []string{
		object(`"f":null`, `"host":"h"`, "1795293175"), object(`"f":"x"`, `"host":"h"`, "1795293175"), object(`"x(1)":1`, `"host":"h"`, "1795293175"),
		object(`"f":1`, `"host":"h"`, "1478021700"), object(`"f":1`, ``, "1795293175"), object(`"f":1`, `"host":5`, "1795293175"),
	} {
		for _, body := range []string{bad + "," + good, good + "," + bad} {
			req := telegraf(t, `{"metrics":[`+body+`]}`, ingest.Telegraf{}, "")
			require.Equal(t, []ingest.Item{item("h.m.ok", 1795293175, 1, false)}, req.Items)
			require.Len(t, req.Rejected, 1)
		}
	}
	req := telegraf(t, `{"metrics":[`+object(`"s":"ok","b":true`, `"host":"h"`, "1795293175")+`]}`, ingest.Telegraf{}, "")
	require.Empty(t, req.Items)
	require.Len(t, req.Rejected, 2)
}
