package ingest_test

import (
	"encoding/json"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fluxmetrics/fluxkit/flux/ingest"
)

// named returns the final name of a metric under a prefix, after checking that each form of a request agrees on it.
func named(t *testing.T, metric, prefix string) (string, error) {
	t.Helper()
	var p ingest.Parser
	b, err := json.Marshal(metric)
	require.NoError(t, err)
	quoted := string(b)
	var names []string
	var last error
	for _, parse := range []func() (*ingest.Request, error){
		func() (*ingest.Request, error) {
			return p.JSON([]byte(`{"timestamp":1795293175,"value":1,"metric":` + quoted + `}`))
		},
		func() (*ingest.Request, error) {
			return p.JSON([]byte(`{"metrics":[{"metric":` + quoted + `,"value":1}]}`))
		},
		func() (*ingest.Request, error) {
			return p.JSON([]byte(`{"metrics":[{"value":1,"metric":` + quoted + `,"unknown":1}]}`))
		},
		func() (*ingest.Request, error) { return p.Query("value=1&metric=" + percent(metric)) },
	} {
		req, err := parse()
		require.NoError(t, err, metric)
		if last = p.Validate(rules(), prefix); last == nil {
			names = append(names, string(req.Items[0].Name))
		}
	}
	if last != nil {
		require.Empty(t, names)
		return "", last
	}
	require.Len(t, names, 4)
	for _, n := range names {
		require.Equal(t, names[0], n)
	}
	return names[0], nil
}

// percent escapes every byte.
func percent(s string) string {
	var b strings.Builder
	for i := range len(s) {
		b.WriteByte('%')
		b.WriteString(strconv.FormatUint(uint64(s[i])|0x100, 16)[1:])
	}
	return b.String()
}

func TestNames(t *testing.T) {
	f := func(metric, want string) {
		t.Helper()
		got, err := named(t, metric, "")
		require.NoError(t, err, metric)
		require.Equal(t, want, got)
	}
	same := func(metric string) {
		t.Helper()
		f(metric, metric)
	}
	same("a")
	same("vista.nodes.skyline-1.cpu.user")
	same("AZaz09+-%._x/=:y")
	same("disk./var/log.used")
	same("a//b")
	same("a=b:c%d+e_f-g/h")
	same(strings.Repeat("a", 251))
	same(strings.Repeat("a", 255) + "." + strings.Repeat("b", 255) + "/" + strings.Repeat("c", 251))
	long := strings.Repeat("abcdefghi.", 406)
	same(long + "ab")
	require.Len(t, long+"ab", 4062)

	f("a b", "a_b")
	f(" a ", "_a_")
	f("it's *", "it_s__")
	f("a..b", "a.b")
	f("a...b....c", "a.b.c")
	f("a. .b", "a._.b")

	same("a;k=v")
	f("a;b=2;a=1", "a;a=1;b=2")
	f("a;k=1;j=x;k=2", "a;j=x;k=2")
	f("a;a=1;a-b=2", "a;a-b=2;a=1")
	same("a;k=v=w")
	same("a;k=~v"[:4] + "v~")
	same("a;k=/x/é")
	f("a;k=x y;l='*'", "a;k=x_y;l=___")
	f("a;name=b;k=v", "a;k=v")
	same(strings.Repeat("x", 300) + ";k=v")
}

func TestBadNames(t *testing.T) {
	f := func(metric, rule string) {
		t.Helper()
		_, err := named(t, metric, "")
		var e *ingest.Error
		require.ErrorAs(t, err, &e, metric)
		if metric != "" { // GET has words of its own for it
			requireError(t, err, 0, ingest.ReasonName, "invalid metric - "+cite(metric)+" - "+rule)
		}
	}
	const chars = "invalid characters in name"
	const edge = "name starts or ends with a dot or a slash"
	f("", "empty name")
	for _, c := range "\x00\t\n\r\x1f!\"#$&(),<>?@[\\]^`{|}~\x7f" {
		f("a"+string(c), chars)
		f("a"+string(c)+"b", chars)
	}
	f("é", chars)
	f("\u00a0", chars)
	f("a\u2028b", chars)
	for _, s := range []string{".a", "a.", ".", "..", "/", "/a", "a/", "a/.", "./a", "...a", "/../a", "a/.."} {
		f(s, edge)
	}
	for _, s := range []string{"a/../b", "a/./b", "a/.../b", "a/../../b"} {
		f(s, "path element of dots alone")
	}
	f(strings.Repeat("a", 252), "longer than 255 characters")
	f("x."+strings.Repeat("a", 252), "longer than 255 characters")
	f(strings.Repeat("a", 256)+".x", "longer than 255 characters")
	f(strings.Repeat("a", 256)+"/x.y", "longer than 255 characters")
	f(strings.Repeat("abcdefghi.", 406)+"abc", "name too long")
	f("a;k="+strings.Repeat("v", 4059), "name too long")

	f(";k=v", "empty name")
	f("a;", `tag "": not key=value`)
	f("a;b", `tag "b": not key=value`)
	f("a;=v", `tag "=v": not key=value`)
	f("a;k=", `tag "k=": the value is empty`)
	f("a;k=~v", `tag "k=~v": the value starts with "~"`)
	f("a;k!=v", `tag "k!=v": the key holds one of ; ! ^ =`)
	f("a;k^=v", `tag "k^=v": the key holds one of ; ! ^ =`)
	f("a;k=v;", `tag "": not key=value`)
	f("a;k=v\n", chars)
	f("a;k=\u2003", chars)
	f(`a;k={k="v"}`, chars)
	f(`a{k="v"}`, chars)
	f("a.;k=v", edge)
	f("a/../b;k=v", "path element of dots alone")
}

// cite is how a message cites text.
func cite(s string) string {
	if len(s) > 100 {
		return strconv.QuoteToASCII(s[:100]) + "..."
	}
	return strconv.QuoteToASCII(s)
}

func TestNameMustBeAString(t *testing.T) {
	for body, shown := range map[string]string{
		`null`: "null", `5`: "5", `1.5`: "1.5", `true`: "true", `false`: "false", `["a"]`: "an array", `{"a":"b"}`: "an object",
	} {
		_, err := post(t, `{"metrics":[{"metric":`+body+`,"value":1}]}`)
		requireError(t, err, 0, ingest.ReasonName, "invalid metric - "+shown+" - not a string - item 0")
	}
}

func TestPrefix(t *testing.T) {
	f := func(metric, want string) {
		t.Helper()
		got, err := named(t, metric, "warehouse-1")
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
	f("x.y", "warehouse-1.x.y")
	f("warehouse-1.x", "warehouse-1.x")
	f("warehouse-1", "warehouse-1")
	f("warehouse-1;k=v", "warehouse-1;k=v")
	f("warehouse-1x.a", "warehouse-1.warehouse-1x.a")
	f("warehouse-1/x", "warehouse-1.warehouse-1/x")
	f("warehouse", "warehouse-1.warehouse")
	f("warehouse-1..x", "warehouse-1.x")
	f("z;b=1;a=2", "warehouse-1.z;a=2;b=1")
	f("warehouse-1.z;b=1;a=2", "warehouse-1.z;a=2;b=1")
	f("a b", "warehouse-1.a_b")

	_, err := named(t, strings.Repeat("abcdefghi.", 405)+"a", "warehouse-1")
	require.ErrorContains(t, err, "name too long")
	_, err = named(t, ".x", "warehouse-1")
	require.ErrorContains(t, err, "starts or ends with a dot")

	// Each point is judged by itself.
	var p ingest.Parser
	req, err := p.JSON([]byte(`{"metrics":[{"metric":"x.y","value":1},{"metric":"warehouse-1.x","value":1},{"metric":"z.z","value":1}]}`))
	require.NoError(t, err)
	require.NoError(t, p.Validate(rules(), "warehouse-1"))
	var got []string
	for _, it := range req.Items {
		got = append(got, string(it.Name))
	}
	require.Equal(t, []string{"warehouse-1.x.y", "warehouse-1.x", "warehouse-1.z.z"}, got)
}

func TestCheckPrefix(t *testing.T) {
	for _, s := range []string{"", "a", "warehouse-1", "a.b", "a/b=c"} {
		require.NoError(t, ingest.CheckPrefix(s))
	}
	for s, rule := range map[string]string{
		"a.": "name starts or ends with a dot or a slash", ".a": "name starts or ends with a dot or a slash", "a..b": "empty element", "a b": "invalid characters in name",
		"a;k=v": "a prefix cannot have tags", "a/../b": "empty element", "a/./b": "path element of dots alone", strings.Repeat("a", 252): "longer than 255 characters",
	} {
		require.EqualError(t, ingest.CheckPrefix(s), "ingest: invalid prefix - "+cite(s)+" - "+rule)
	}
}

func TestNameOfAPoint(t *testing.T) {
	f := func(name, prefix, want string) {
		t.Helper()
		var p ingest.Parser
		got, err := p.Name([]byte(name), prefix)
		require.NoError(t, err)
		require.Equal(t, want, string(got))
		req, err := p.JSON([]byte(`{"timestamp":1795293175,"value":1,"metric":"` + name + `"}`))
		require.NoError(t, err)
		require.NoError(t, p.Validate(rules(), prefix))
		require.Equal(t, want, string(req.Items[0].Name), "as a point has it")
	}
	f("a.b", "", "a.b")
	f("a b..c*'", "", "a_b.c__")
	f("a", "w-1", "w-1.a")
	f("w-1.a", "w-1", "w-1.a")
	f("w-1", "w-1", "w-1")
	f("w-1x.a", "w-1", "w-1.w-1x.a")
	f("a;t=2;b=1", "w", "w.a;b=1;t=2")
	f("w;t=2", "w", "w;t=2")
	for _, name := range []string{"", "a/../b", ".a", "a\nb", "a;b", "é", strings.Repeat("a", 5000)} {
		var p ingest.Parser
		_, err := p.Name([]byte(name), "w")
		var e *ingest.Error
		require.ErrorAs(t, err, &e, name)
		require.Equal(t, ingest.ReasonName, e.Reason)
	}
}

func TestNamesOfARefusedRequest(t *testing.T) {
	var p ingest.Parser
	_, err := p.JSON([]byte(`{"metrics":[{"metric":"a b","value":1},{"metric":5},{"metric":"c","value":"x"},7,{"value":1},{"metric":"d;"}]}`))
	require.NoError(t, err)
	require.Error(t, p.Validate(rules(), "w"))
	got := map[int]string{}
	p.Names("w", func(i int, name []byte) { got[i] = string(name) })
	require.Equal(t, map[int]string{0: "w.a_b", 2: "w.c"}, got)
}
