package backfill

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// vista is what Vista sends for a metric that is new.
const vista = `{"remote_host_type": "graphite",
 "remote_target": "stats.web01.cpu.user",
 "metric": "vista.graphite_example_org.stats.web01.cpu.user",
 "namespace_prefix": "vista.graphite_example_org",
 "key": "YOURown32charSkylineAPIkeySecret", "token": "None", "user": "None", "password": "None",
 "fetch_resolution_urls": "\"['https://graphite.example.org/render/?from=-24hours&until=-6hours&format=json&target=stats.web01.cpu.user', 'https://graphite.example.org/render/?from=-90days&until=-7days&format=json&target=stats.web01.cpu.user']\""}`

func TestParseRequestOfVista(t *testing.T) {
	r, err := ParseRequest([]byte(vista))
	require.NoError(t, err)
	require.Equal(t, &Request{
		HostType: Graphite, RemoteTarget: "stats.web01.cpu.user", Metric: "vista.graphite_example_org.stats.web01.cpu.user",
		NamespacePrefix: "vista.graphite_example_org", Key: "YOURown32charSkylineAPIkeySecret", Vista: true,
		URLs: []string{
			"https://graphite.example.org/render/?from=-24hours&until=-6hours&format=json&target=stats.web01.cpu.user",
			"https://graphite.example.org/render/?from=-90days&until=-7days&format=json&target=stats.web01.cpu.user",
		},
	}, r)
	r, err = ParseRequest([]byte(`{"remote_host_type": "prometheus",
 "remote_target": "node_network_transmit_bytes_total{device=\"eth0\"}",
 "metric": "vista.prometheus_example_org.node_network_transmit_bytes_total.eth0",
 "namespace_prefix": "vista.prometheus_example_org",
 "key": "YOURown32charSkylineAPIkeySecret", "token": "None", "user": "None", "password": "None",
 "fetch_resolution_urls": "\"['http://prometheus.example.org:9090/api/v1/query?query=node_network_transmit_bytes_total%7Bdevice%3D%22eth0%22%7D[15d]']\""}`))
	require.NoError(t, err)
	require.Equal(t, []string{"http://prometheus.example.org:9090/api/v1/query?query=node_network_transmit_bytes_total%7Bdevice%3D%22eth0%22%7D[15d]"}, r.URLs)
}

func TestParseRequestPlain(t *testing.T) {
	r, err := ParseRequest([]byte(`{"remote_host_type":"prometheus","metric":"a.b;host=x","fetch_resolution_urls":["u1","u2"],
		"since":1700000000,"missing":"render","series":"*","key":"k","unknown":{"a":[1]}}`))
	require.NoError(t, err)
	require.Equal(t, &Request{
		HostType: Prometheus, Metric: "a.b;host=x", URLs: []string{"u1", "u2"}, Since: "1700000000", MissingRender: true, Series: "*", Key: "k",
	}, r)
	require.NoError(t, r.Under(""))
	require.NoError(t, r.Under("a"))
	require.NoError(t, r.Under("a.b"))
	require.ErrorContains(t, r.Under("a.bc"), `"a.b;host=x"`)
	require.Error(t, r.Under("b"))
	require.Error(t, (&Request{Metric: "warehouse-1x.a"}).Under("warehouse-1"))
}

func TestParseRequestRefuses(t *testing.T) {
	plain := func(change func(m map[string]string)) string {
		m := map[string]string{"remote_host_type": `"graphite"`, "metric": `"a"`, "key": `"` + key + `"`, "fetch_resolution_urls": `["http://h/render?target=x"]`}
		change(m)
		var parts []string
		for k, v := range m {
			parts = append(parts, `"`+k+`":`+v)
		}
		return "{" + strings.Join(parts, ",") + "}"
	}
	_, err := ParseRequest([]byte(plain(func(map[string]string) {})))
	require.NoError(t, err)
	for _, c := range []struct{ field, value, says string }{
		{"remote_host_type", `"influx"`, `invalid remote_host_type: "influx"`},
		{"remote_host_type", `5`, "no string"},
		{"remote_host_type", `null`, "missing"},
		{"metric", `""`, "missing"},
		{"metric", `null`, "missing"},
		{"metric", `["a"]`, "no string"},
		{"metric", `"a b"`, "invalid characters"},
		{"metric", `"a..b"`, "empty element"},
		{"metric", `"` + strings.Repeat("a.", 2040) + `"`, "bytes"},
		{"metric", `"a;b=1;a=2"`, "canonical"},
		{"key", `5`, "no string"},
		{"series", `[]`, "no string"},
		{"missing", `"all"`, `"all"`},
		{"missing", `true`, "no string"},
		{"since", `true`, "no time"},
		{"since", `[1]`, "no time"},
		{"fetch_resolution_urls", `{}`, "neither"},
		{"fetch_resolution_urls", `"x"`, "literal"},
		{"fetch_resolution_urls", `"None"`, "missing"},
		{"fetch_resolution_urls", `[null]`, "null"},
		{"fetch_resolution_urls", `[1]`, "array of strings"},
		{"fetch_resolution_urls", `["` + strings.Repeat("a", 9000) + `"]`, "9000 bytes"},
		{"fetch_resolution_urls", `[` + strings.Repeat(`"a",`, 100) + `"a"]`, "101 URLs"},
	} {
		_, err := ParseRequest([]byte(plain(func(m map[string]string) { m[c.field] = c.value })))
		var refused *RequestError
		require.ErrorAs(t, err, &refused, c.value)
		require.Contains(t, refused.Message(), c.field)
		require.Contains(t, refused.Message(), c.says)
		require.NotContains(t, refused.Message(), key)
	}
	for _, body := range []string{
		``, `null`, `[1]`, `5`, `{`, `{"a"}`, `{"a":1,}`, `{"a":1} x`, `{"a":1}{}`, `{"metric":"a","metric":"b"}`, "{\"a\":\"\xff\"}", `{"a":nan}`,
	} {
		_, err := ParseRequest([]byte(body))
		var refused *RequestError
		require.ErrorAs(t, err, &refused, body)
	}
}
