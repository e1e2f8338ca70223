package ingest_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fluxmetrics/fluxkit/flux/ingest"
)

// telegraf parses and validates a body. Neither may fail.
func telegraf(t *testing.T, body string, how ingest.Telegraf, prefix string) *ingest.Request {
	t.Helper()
	var p ingest.Parser
	req, err := p.Telegraf([]byte(body), how)
	require.NoError(t, err, body)
	require.NoError(t, p.Validate(rules(), prefix), body)
	require.True(t, req.OneByOne)
	require.Equal(t, req.Points, len(req.Items)+len(req.Rejected))
	return req
}

// one is a batch of one object with one field.
func one(name, tags, field string) string {
	return fmt.Sprintf(`{"metrics":[{"fields":{%s:1},"name":%s,"tags":%s,"timestamp":1795293175}]}`, field, name, tags)
}

const nginx = `{"fields":{"accepts":1,"a/b.c":2},"name":"nginx",` +
	`"tags":{"a_0_tag":"nginx","host":"nginx-server-1","port":"81","server":"127.0.0.1"},"timestamp":1795293175}`

func TestTelegraf(t *testing.T) {
	ts := now.Unix()
	want := []ingest.Item{
		item("nginx-server-1.nginx.81.127_0_0_1.nginx.accepts", ts, 1, false),
		item("nginx-server-1.nginx.81.127_0_0_1.nginx.a-b_c", ts, 2, false),
	}
	for _, body := range []string{
		`{"metrics":[` + nginx + `]}`,
		` { "key" : "K", "metrics" : [ ` + strings.NewReplacer(":", " : ", ",", "\n,\t", "{", "{ ", "}", " }").Replace(nginx) + " ] }\n",
		nginx, // one that is not a batch
		`{"timestamp":"1795293175","tags":{"a_0_tag":"n\u0067inx","host":"nginx-server-1","port":"81","server":"127.0.0.1"},` +
			`"name":"nginx","fields":{"accepts":1e0,"a\/b.c":0.2E1},"other":[{}]}`,
		`{"metrics":[],` + nginx[1:], `{"metrics":null,` + nginx[1:],
	} {
		req := telegraf(t, body, ingest.Telegraf{}, "")
		require.Equal(t, want, req.Items, body)
		require.Empty(t, req.Rejected)
	}
}

func TestTelegrafNames(t *testing.T) {
	f := func(name, tags, field, want string) {
		t.Helper()
		req := telegraf(t, one(name, tags, field), ingest.Telegraf{}, "")
		require.Empty(t, req.Rejected)
		require.Equal(t, want, string(req.Items[0].Name))
	}
	f(`"cpu"`, `{"cpu":"cpu0","host":"web-1"}`, `"usage_idle"`, "web-1.cpu0.cpu.usage_idle")
	f(`"cpu"`, `{"host":"web-1"}`, `"usage_idle"`, "web-1.cpu.usage_idle")
	f(`"m"`, `{"z":"1","host":"h","a":"2"}`, `"f"`, "h.1.2.m.f") // as they stand
	// A dot and a slash of a tag or a field make no element; those of the host and the measurement do.
	f(`"disk"`, `{"host":"web-1.example.com","path":"/var/log.d"}`, `"used/free.x"`, "web-1.example.com.-var-log_d.disk.used-free_x")
	f(`"a.b/c"`, `{"host":"h"}`, `"f"`, "h.a.b/c.f")
	f(`"my m*"`, `{"host":"h h","t":"it's"}`, `"f f"`, "h_h.it_s.my_m_.f_f")
	f(`"m"`, `{"a":"","host":"h","b":""}`, `"f"`, "h.m.f")
	f(`"m..n."`, `{"host":"h...i"}`, `"f"`, "h.i.m.n.f")
	f(`"m"`, `{"host":"h","t":"."}`, `".."`, "h._.m.__")
	f(`"m"`, `{"host":"h"}`, `"`+strings.Repeat("f", 251)+`"`, "h.m."+strings.Repeat("f", 251))
}

func TestTelegrafPrefix(t *testing.T) {
	f := func(key, header, want string) {
		t.Helper()
		req := telegraf(t, one(`"m"`, `{"host":"h"}`, `"f"`), ingest.Telegraf{Prefix: header}, key)
		require.Equal(t, want, string(req.Items[0].Name))
	}
	f("", "p.q", "p.q.h.m.f")
	f("", "p.", "p.h.m.f")
	f("", "p q", "p_q.h.m.f")
	f("k", "", "k.h.m.f")
	f("k", "p", "k.p.h.m.f")
	f("k", "k", "k.h.m.f")
	f("k", "kk", "k.kk.h.m.f")
	f("h.m", "", "h.m.f")
	f("h.m.f", "", "h.m.f")
}

func TestTelegrafRejects(t *testing.T) {
	good := `{"fields":{"ok":1},"name":"m","tags":{"host":"h"},"timestamp":1795293175}`
	f := func(bad, field, metric string, reason ingest.Reason, message string) {
		t.Helper()
		req := telegraf(t, `{"metrics":[`+good+`,`+bad+`,`+good+`]}`, ingest.Telegraf{}, "k")
		require.Len(t, req.Items, 2)
		require.Len(t, req.Rejected, 1)
		r := req.Rejected[0]
		require.Equal(t, message, r.Message())
		require.Equal(t, reason, r.Reason)
		require.Equal(t, 1, r.Item)
		require.Equal(t, field, string(r.Field))
		require.Equal(t, metric, string(r.Metric))
	}
	value := func(v string) string {
		return `{"fields":{"f":` + v + `},"name":"m","tags":{"host":"h"},"timestamp":1795293175}`
	}
	for v, shown := range map[string]string{
		`"ok"`: `"ok"`, `"5"`: `"5"`, `true`: "true", `false`: "false", `null`: "null", `[1]`: "an array", `{"a":1}`: "an object", `""`: `""`,
	} {
		f(value(v), "f", "h.m.f", ingest.ReasonNonNumeric, `invalid value - `+shown+` - non-numeric value - item 1, field "f" ("h.m.f")`)
	}
	f(value(`1e999`), "f", "h.m.f", ingest.ReasonValue, `invalid value - 1e999 - not a finite number - item 1, field "f" ("h.m.f")`)

	at := func(ts string) string {
		return `{"fields":{"f":1},"name":"m","tags":{"host":"h"},"timestamp":` + ts + `}`
	}
	f(at(`1478021700`), "f", "h.m.f", ingest.ReasonOld, `invalid timestamp - 1478021700 - timestamp is too old, older than 3600 seconds - item 1, field "f" ("h.m.f")`)
	f(at(`1795293236`), "f", "h.m.f", ingest.ReasonFuture, `invalid timestamp - 1795293236 - timestamp is more than 1 minute in the future - item 1, field "f" ("h.m.f")`)
	f(at(`1795293175.5`), "f", "h.m.f", ingest.ReasonTimestamp, `invalid timestamp - 1795293175.5 - timestamp is not an int - item 1, field "f" ("h.m.f")`)
	f(at(`1795293175000`), "f", "h.m.f", ingest.ReasonTimestamp,
		`invalid timestamp - 1795293175000 - timestamp is not a valid current unix timestamp, it has to be in seconds, not milliseconds - item 1, field "f" ("h.m.f")`)
	f(at(`null`), "f", "h.m.f", ingest.ReasonTimestamp, `invalid timestamp - null - timestamp is not an int - item 1, field "f" ("h.m.f")`)
	f(`{"fields":{"f":1},"name":"m","tags":{"host":"h"}}`, "f", "h.m.f", ingest.ReasonMissing, `no timestamp - item 1, field "f" ("h.m.f")`)

	name := func(name, tags, field string) string {
		return `{"fields":{` + field + `:1},"name":` + name + `,"tags":` + tags + `,"timestamp":1795293175}`
	}
	host := `{"host":"h"}`
	f(name(`"m"`, `{"t":"x"}`, `"f"`), "f", "", ingest.ReasonMissing, `no host tag - item 1, field "f"`)
	f(name(`"m"`, `{"host":""}`, `"f"`), "f", "", ingest.ReasonMissing, `no host tag - item 1, field "f"`)
	f(`{"fields":{"f":1},"name":"m","timestamp":1}`, "f", "", ingest.ReasonMissing, `no host tag - item 1, field "f"`)
	f(`{"fields":{"f":1},"tags":{"host":"h"}}`, "f", "", ingest.ReasonMissing, `no name - item 1, field "f"`)
	f(name(`""`, host, `"f"`), "f", "", ingest.ReasonMissing, `no name - item 1, field "f"`)
	f(name(`"m"`, host, `""`), "", "", ingest.ReasonMissing, `a field without a name - item 1, field ""`)
	f(name(`5`, host, `"f"`), "f", "", ingest.ReasonForm, `invalid name - 5 - not a string - item 1, field "f"`)
	f(name(`"m"`, `["h"]`, `"f"`), "f", "", ingest.ReasonForm, `invalid tags - an array - not an object - item 1, field "f"`)
	f(name(`"m"`, `null`, `"f"`), "f", "", ingest.ReasonForm, `invalid tags - null - not an object - item 1, field "f"`)
	f(name(`"m"`, `{"host":"h","port":81}`, `"f"`), "f", "", ingest.ReasonForm, `invalid tag "port" - 81 - not a string - item 1, field "f"`)
	f(name(`"m"`, host, `"x(1)"`), "x(1)", "h.m.x(1)", ingest.ReasonName, `invalid metric - "h.m.x(1)" - invalid characters in name - item 1, field "x(1)"`)
	f(name(`"m"`, host, `"é"`), "é", "h.m.é", ingest.ReasonName, `invalid metric - "h.m.\u00e9" - invalid characters in name - item 1, field "\u00e9"`)
	f(name(`"m"`, host, `"f;a=b"`), "f;a=b", "h.m.f;a=b", ingest.ReasonName, `invalid metric - "h.m.f;a=b" - invalid characters in name - item 1, field "f;a=b"`)
	f(name(`"m"`, `{"host":"h","t":"x;a=b"}`, `"f"`), "f", "h.x;a=b.m.f", ingest.ReasonName,
		`invalid metric - "h.x;a=b.m.f" - invalid characters in name - item 1, field "f"`)
	f(name(`"m"`, `{"host":"/h"}`, `"f"`), "f", "/h.m.f", ingest.ReasonName,
		`invalid metric - "/h.m.f" - name starts or ends with a dot or a slash - item 1, field "f"`)
	f(name(`"m"`, `{"host":"h/../.."}`, `"f"`), "f", "h/./.m.f", ingest.ReasonName,
		`invalid metric - "h/./.m.f" - path element of dots alone - item 1, field "f"`)
	long := strings.Repeat("f", 252)
	f(name(`"m"`, host, `"`+long+`"`), long, "h.m."+long, ingest.ReasonName,
		`invalid metric - `+cite("h.m."+long)+` - longer than 255 characters - item 1, field `+cite(long))
	long = strings.Repeat("f", 4100)
	f(name(`"m"`, host, `"`+long+`"`), long, "", ingest.ReasonName, `invalid field - `+cite(long)+` - name too long - item 1, field `+cite(long))

	f(`{"fields":5,"name":"m","tags":{"host":"h"}}`, "", "", ingest.ReasonForm, "invalid fields - 5 - not an object - item 1")
	f(`{"fields":null,"name":"m"}`, "", "", ingest.ReasonForm, "invalid fields - null - not an object - item 1")
	f(`5`, "", "", ingest.ReasonForm, "invalid metric - a number - not an object - item 1")
	f(`{}`, "", "", ingest.ReasonMissing, "invalid metric - no metric - item 1")
	f(`{"metric":"a"}`, "", "a", ingest.ReasonMissing, `no value parameter present - item 1 ("a")`)
	f(`{"metric":"a","value":"x"}`, "", "a", ingest.ReasonValue, `invalid value - "x" - not a number - item 1 ("a")`)
}

// Points are judged in time order, the good ones of an object that has bad ones too.
func TestTelegrafMixed(t *testing.T) {
	ts := now.Unix()
	req := telegraf(t, `{"metrics":[
		{"fields":{"b":2,"s":"up","c":3},"name":"m","tags":{"host":"h"},"timestamp":1795293175},
		{"fields":{},"name":"m","tags":{"host":"h"},"timestamp":1795293175},
		{"metric":"own","value":"4","timestamp":1478021700,"fill":true,"fields":{"a":1}},
		{"fields":{"s":"up"},"name":"m","tags":{"host":"h"},"timestamp":1795293170},
		{"fields":{"a":1},"name":"m","tags":{"host":"h"},"timestamp":1795293170}]}`, ingest.Telegraf{}, "")
	require.Equal(t, 6, req.Points)
	require.True(t, req.Fill)
	require.Equal(t, []ingest.Item{
		item("own", 1478021700, 4, true), item("h.m.a", ts-5, 1, false), item("h.m.b", ts, 2, false), item("h.m.c", ts, 3, false),
	}, req.Items)
	require.Equal(t, "h.m.s", string(req.Rejected[0].Metric))
	require.Equal(t, 3, req.Rejected[1].Item)

	// Nothing but fields that are no numbers is no error.
	req = telegraf(t, `{"metrics":[{"fields":{"s":"ok","b":true},"name":"m","tags":{"host":"h"},"timestamp":1795293175}]}`, ingest.Telegraf{}, "")
	require.Empty(t, req.Items)
	require.Len(t, req.Rejected, 2)
	req = telegraf(t, `{"metrics":[{"fields":{},"name":"m","tags":{"host":"h"},"timestamp":1795293175}]}`, ingest.Telegraf{}, "")
	require.Zero(t, req.Points)
}

// A request of telegraf's that is not one.
func TestTelegrafRefusals(t *testing.T) {
	f := func(body string, reason ingest.Reason, message string) {
		t.Helper()
		var p ingest.Parser
		req, err := p.Telegraf([]byte(body), ingest.Telegraf{})
		if err == nil {
			require.False(t, req.OneByOne)
			err = p.Validate(rules(), "")
		}
		var e *ingest.Error
		require.ErrorAs(t, err, &e)
		require.Equal(t, message, e.Message)
		require.Equal(t, reason, e.Reason)
		require.Equal(t, http.StatusBadRequest, e.Code)
	}
	f(``, ingest.ReasonJSON, "invalid json data - the text ends where a value is wanted, at byte 0")
	f(`[`+nginx+`]`, ingest.ReasonJSON, "no POST data received")
	f(`{}`, ingest.ReasonJSON, "no POST data received")
	f(`{"metrics":[]}`, ingest.ReasonMissing, "no metric data passed - no metric")
	f(`{"metrics":5}`, ingest.ReasonForm, "invalid metrics - 5 - not an array")
	f(`{"metric":"a","value":1}`, ingest.ReasonMissing, `no metric data passed - no timestamp - "a"`)
	f(`{"metrics":[{"fields":{"a":1,"a":2}}]}`, ingest.ReasonJSON, `invalid json data - the member "a" stands twice in the object that ends at byte 35`)
	f(`{"metrics":[{"fields":{"a":1},"fields":{"b":1}}]}`, ingest.ReasonJSON, `invalid json data - the member "fields" stands twice in the object that ends at byte 47`)
	f(`{"metrics":[{"tags":{"a":"1","b":"","a":"2"}}]}`, ingest.ReasonJSON, `invalid json data - the member "a" stands twice in the object that ends at byte 44`)
	f(`{"fields":{"a":NaN}}`, ingest.ReasonJSON, `invalid json data - "N" where a value is wanted, at byte 15`)
	f(`{"metrics":[{"fields":{"a":1}}`, ingest.ReasonJSON, `invalid json data - the text ends where "," or "]" is wanted, at byte 30`)
	f(`{"metrics":[{"fields":{"a":1.}}]}`, ingest.ReasonJSON, `invalid json data - "}" where a digit is wanted, at byte 29`)
}

func TestTelegrafSwitches(t *testing.T) {
	var p ingest.Parser
	req, err := p.Telegraf([]byte(`{"key":"K","test":true,"metrics":[`+nginx+`]}`), ingest.Telegraf{})
	require.NoError(t, err)
	require.Equal(t, "K", string(req.Key))
	require.True(t, req.HasKey)
	require.True(t, req.Test)
	require.Nil(t, req.Items)
	require.Nil(t, req.Rejected)
}

func TestTelegrafUnit(t *testing.T) {
	f := func(unit time.Duration, ts string, want int64) {
		t.Helper()
		body := `{"metrics":[{"fields":{"f":1},"name":"m","tags":{"host":"h"},"timestamp":` + ts + `}]}`
		req := telegraf(t, body, ingest.Telegraf{Unit: unit}, "")
		if want == 0 {
			require.Equal(t, ingest.ReasonTimestamp, req.Rejected[0].Reason)
			return
		}
		require.Equal(t, want*1000, req.Items[0].Timestamp)
	}
	f(0, "1795293175", 1795293175)
	f(time.Second, "1795293175", 1795293175)
	f(time.Millisecond, "1795293175999", 1795293175)
	f(time.Microsecond, "1795293175999999", 1795293175)
	f(time.Nanosecond, "1795293175999999999", 1795293175)
	f(time.Nanosecond, "10000000000000000000", 0)
	f(time.Nanosecond, "99999999999999999999", 0)
	f(time.Nanosecond, "99999999999999999999999", 0)
	f(time.Nanosecond, "999999999", 0)
	f(time.Millisecond, "10000000000000", 0)
	f(time.Millisecond, "-1795293175999", 0)
}

// So may telegraf's fields: MaxPoints is for arrays that are taken whole.
func TestTelegrafManyPoints(t *testing.T) {
	p := ingest.Parser{MaxPoints: 4}
	object := `{"fields":{"a":1,"b":2},"name":"m","tags":{"host":"h"},"timestamp":1795293175}`
	req, err := p.Telegraf([]byte(`{"metrics":[`+object+","+object+","+object+`,5,{"fields":5},{"metric":"a","value":1}]}`), ingest.Telegraf{})
	require.NoError(t, err)
	require.Equal(t, 9, req.Points)
	require.NoError(t, p.Validate(rules(), ""))
	require.Len(t, req.Items, 7)
	require.Len(t, req.Rejected, 2)
}

// A few bytes of fields beside a long tag make long names: there is a bound.
func TestTelegrafNamesAreBounded(t *testing.T) {
	body := func(tag, fields int) []byte {
		var b strings.Builder
		b.WriteString(`{"metrics":[{"fields":{`)
		for i := range fields {
			fmt.Fprintf(&b, `"%d":1,`, i)
		}
		b.WriteString(`"x":1},"name":"m","tags":{"host":"h","t":"` + strings.Repeat(strings.Repeat("t", 100)+" ", tag/101) + `"},"timestamp":1795293175}]}`)
		return []byte(b.String())
	}
	var p ingest.Parser
	req, err := p.Telegraf(body(240, 4000), ingest.Telegraf{})
	require.NoError(t, err)
	require.NoError(t, p.Validate(rules(), ""))
	require.Len(t, req.Items, 4001)

	req, err = p.Telegraf(body(250*2, 4000), ingest.Telegraf{})
	require.NoError(t, err)
	err = p.Validate(rules(), "")
	var e *ingest.Error
	require.ErrorAs(t, err, &e)
	require.Equal(t, http.StatusRequestEntityTooLarge, e.Code)
	require.Equal(t, ingest.ReasonTooMany, e.Reason)
	require.Equal(t, -1, e.Item)
	require.Nil(t, req.Items)
	require.Nil(t, req.Rejected)

	// What is too long for a name is not made at all.
	req = telegraf(t, string(body(5000, 4000)), ingest.Telegraf{}, "")
	require.Len(t, req.Rejected, 4001)
}

func TestTelegrafValidateAgain(t *testing.T) {
	var p ingest.Parser
	req, err := p.Telegraf([]byte(`{"metrics":[`+nginx+`,{"fields":{"f":1},"name":"m","tags":{"host":"h"},"timestamp":1478021700}]}`), ingest.Telegraf{})
	require.NoError(t, err)
	require.NoError(t, p.Validate(rules(), "a"))
	require.Len(t, req.Items, 2)
	require.Len(t, req.Rejected, 1)
	require.NoError(t, p.Validate(ingest.Rules{Now: now}, "b"))
	require.Len(t, req.Items, 3)
	require.Empty(t, req.Rejected)
	require.Equal(t, "b.h.m.f", string(req.Items[0].Name))
}

func TestTemplate(t *testing.T) {
	f := func(template, want string) {
		t.Helper()
		parsed, err := ingest.ParseTemplate(template)
		require.NoError(t, err)
		require.Equal(t, template, parsed.String())
		req := telegraf(t, one(`"disk"`, `{"dc":"ams.1","device":"sda/1","host":"web.x","path":""}`, `"used.free"`), ingest.Telegraf{Template: parsed}, "")
		if want == "" {
			require.Empty(t, req.Items)
			return
		}
		require.Empty(t, req.Rejected)
		require.Equal(t, want, string(req.Items[0].Name))
	}
	f("host.tags.measurement.field", "web.x.ams_1.sda-1.disk.used_free")
	f("tags.host.measurement.field", "ams_1.sda-1.web.x.disk.used_free")
	f("measurement.field.host", "disk.used_free.web.x")
	f("field", "used_free")
	f("field.tags", "used_free.ams_1.sda-1.web_x")
	f("dc.host.measurement.tags.field", "ams_1.web.x.disk.sda-1.used_free")
	f("dc.rack.path.measurement.field", "ams_1.disk.used_free")
	f("host.field.dc", "web.x.used_free.ams_1")

	for template, rule := range map[string]string{
		"": "empty element", "host..field": "empty element", "host.": "empty element", "host.measurement": "no field",
		"field.field": "field stands twice", "host.field.dc.dc": "dc stands twice",
	} {
		_, err := ingest.ParseTemplate(template)
		require.EqualError(t, err, "ingest: invalid template - "+cite(template)+" - "+rule)
	}
}
