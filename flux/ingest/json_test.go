package ingest_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fluxmetrics/fluxkit/flux/ingest"
)

func TestBrokenJSON(t *testing.T) {
	f := func(body, what string) {
		t.Helper()
		_, err := post(t, body)
		requireError(t, err, -1, ingest.ReasonJSON, "invalid json data - "+what)
	}
	f("", "the text ends where a value is wanted, at byte 0")
	f("  ", "the text ends where a value is wanted, at byte 2")
	f(`{"metric":"a"`, `the text ends where "," or "}" is wanted, at byte 13`)
	f(`{"metric":"a"]`, `"]" where "," or "}" is wanted, at byte 13`)
	f(`{"metric":"a",}`, `"}" where a member's name is wanted, at byte 14`)
	f(`{,}`, `"," where a member's name is wanted, at byte 1`)
	f(`{metric:1}`, `"m" where a member's name is wanted, at byte 1`)
	f(`{"a" 1}`, `"1" where ":" is wanted, at byte 5`)
	f(`{"a":}`, `"}" where a value is wanted, at byte 5`)
	f(`{"a":NaN}`, `"N" where a value is wanted, at byte 5`)
	f(`{"a":tru}`, `"t" where a value is wanted, at byte 5`)
	f(`{"a":nul`, `"n" where a value is wanted, at byte 5`)
	f(`{"a":-}`, `"}" where a digit is wanted, at byte 6`)
	f(`{"a":01}`, `"1" where "," or "}" is wanted, at byte 6`)
	f(`{"a":1.}`, `"}" where a digit is wanted, at byte 7`)
	f(`{"a":1e}`, `"}" where a digit is wanted, at byte 7`)
	f(`{"a":+1}`, `"+" where a value is wanted, at byte 5`)
	f(`{"a":.5}`, `"." where a value is wanted, at byte 5`)
	f(`{"a":[1,]}`, `"]" where a value is wanted, at byte 8`)
	f(`{"a":[1 2]}`, `"2" where "," or "]" is wanted, at byte 8`)
	f(`{"a":"b`, `the text ends where the end of a string is wanted, at byte 7`)
	f("{\"a\":\"b\n\"}", `a control character in a string at byte 7`)
	f(`{"a":"\x"}`, `"x" where an escape is wanted, at byte 7`)
	f(`{"a":"\u12g4"}`, `"g" where a hexadecimal digit is wanted, at byte 10`)
	f(`{"a":"\ud800"}`, `half of a surrogate pair at byte 12`)
	f(`{"a":"\ud800\u0041"}`, `half of a surrogate pair at byte 18`)
	f(`{"a":"\udc00\ud800"}`, `half of a surrogate pair at byte 18`)
	f("{\"a\":\"\xff\"}", `a string that is not UTF-8 at byte 6`)
	f("{\"a\":\"\xed\xa0\x80\"}", `a string that is not UTF-8 at byte 6`)
	f("\xef\xbb\xbf{}", `"\xef" where a value is wanted, at byte 0`)
	f(`{} {}`, `"{" where the end is wanted, at byte 3`)
	f(`{"a":1}x`, `"x" where the end is wanted, at byte 7`)
	f(`[1`, `the text ends where "," or "]" is wanted, at byte 2`)
	f(`{"metrics":[{"metric":"a","value":1]}`, `"]" where "," or "}" is wanted, at byte 35`)
	f(`{"metrics":[{"metric":"a","value":1}}`, `"}" where "," or "]" is wanted, at byte 36`)
	f(`{"metrics":[{"metric":"a","value":01}]}`, `"1" where "," or "}" is wanted, at byte 35`)
	f(`{"metrics":[{"metric":"a","value":"1}]}`, `the text ends where the end of a string is wanted, at byte 39`)
}

func TestRepeatedMembers(t *testing.T) {
	many := ""
	for i := range 40 {
		many += fmt.Sprintf(`"m%02d":1,`, i)
	}
	for _, body := range []string{
		`{"metric":"a","metric":"a"}`,
		`{"metric":"a","m\u0065tric":"a"}`,
		`{"x":1,"x":2}`,
		`{"x":{"y":1,"y":2}}`,
		`{"x":[{"y":1,"z":{},"y":2}]}`,
		`{"metrics":[{"metric":"a","value":1,"metric":"b"}]}`,
		`{"metrics":[{"metric":"a","value":1,"value":1}]}`,
		`{"metrics":[{"metric":"a","value":1,"fill":true,"fill":true}]}`,
		`{"metrics":[{"timestamp":1,"timestamp":1,"metric":"a","value":1}]}`,
		`{"metrics":[{"metric":"a","value":1}],"metrics":[]}`,
		`{` + many + `"m20":2}`,
	} {
		_, err := post(t, body)
		require.ErrorContains(t, err, "ingest: invalid json data - the member", body)
		require.ErrorContains(t, err, "stands twice in the object that ends at byte", body)
	}
	_, err := post(t, `{`+many+`"x":{"m20":2},"metric":"a","timestamp":"1795293175","value":1}`)
	require.NoError(t, err)
}

func TestDepth(t *testing.T) {
	body := func(open, shut string, n int) string {
		return `{"metric":"a","timestamp":1795293175,"value":1,"x":` + strings.Repeat(open, n) + `1` + strings.Repeat(shut, n) + `}`
	}
	for _, b := range [][2]string{{"[", "]"}, {`{"x":`, "}"}} {
		_, err := post(t, body(b[0], b[1], 31))
		require.NoError(t, err)
		_, err = post(t, body(b[0], b[1], 32))
		require.ErrorContains(t, err, "nested more than 32 levels deep")
	}
	_, err := post(t, strings.Repeat("[", 1<<20))
	require.ErrorContains(t, err, "nested more than 32 levels deep at byte 32")
}

func TestTooManyMembers(t *testing.T) {
	var b strings.Builder
	b.WriteString(`{"x":{`)
	for i := range 5000 {
		fmt.Fprintf(&b, `"%d":1,`, i)
	}
	b.WriteString(`"y":1}}`)
	_, err := post(t, b.String())
	require.ErrorContains(t, err, "more than 4096 members")

	// Closed objects do not count.
	b.Reset()
	b.WriteString(`{"x":[{"a":1}`)
	for range 5000 {
		b.WriteString(`,{"a":1}`)
	}
	b.WriteString(`],"metric":"a","timestamp":1795293175,"value":1}`)
	_, err = post(t, b.String())
	require.NoError(t, err)
}

func TestEscapes(t *testing.T) {
	var p ingest.Parser
	req, err := p.JSON([]byte(`{"key":"\"\\\/\b\f\n\r\t\u0041\u00e9\u20AC\ud83d\ude00é😀\u0000"}`))
	require.NoError(t, err)
	require.Equal(t, "\"\\/\b\f\n\r\tAé€😀é😀\x00", string(req.Key))
}

// Whatever a client sends, a message is one short line of printable ASCII, and the key is not in it.
func TestMessagesAreHarmless(t *testing.T) {
	const key = "secretsecretsecretsecretsecret00"
	long := strings.Repeat("x\\n\\u0007é\\\"", 500)
	var p ingest.Parser
	var messages []string
	for _, body := range []string{
		`{"key":"` + key + `","metric":"` + long + `","timestamp":1,"value":1}`,
		`{"key":"` + key + `","metric":"a","timestamp":"` + long + `","value":1}`,
		`{"key":"` + key + `","metric":"a","timestamp":` + strings.Repeat("1", 5000) + `,"value":1}`,
		`{"key":"` + key + `","metric":"a","timestamp":1795293175,"value":"` + long + `"}`,
		`{"key":"` + key + `","metric":"a","timestamp":1795293175,"value":` + strings.Repeat("1", 5000) + `}`,
		`{"key":"` + key + `","metric":"a;` + long + `","timestamp":1795293175,"value":1}`,
		`{"key":"` + key + `","metric":"a;` + strings.Repeat("x", 3000) + `","timestamp":1795293175,"value":1}`,
		`{"key":"` + key + `","metrics":"` + long + `"}`,
		`{"` + long + `":1,"` + long + `":1,"key":"` + key + `"}`,
		`{"key":"` + key + `\q"}`,
		`{"key":"` + key + `","key":"` + key + `"}`,
		`{"key":"` + key,
	} {
		_, err := p.JSON([]byte(body))
		if err == nil {
			err = p.Validate(rules(), "")
		}
		require.Error(t, err)
		messages = append(messages, err.Error())
	}
	for _, query := range []string{
		"key=" + key + "&" + strings.Repeat("%0Ax", 500) + "=1",
		"key=" + key + "&key=" + key,
		"key=" + key + "%",
		"key=" + key + "&metric=" + strings.Repeat("%0Ax", 500) + "&value=1",
	} {
		_, err := p.Query(query)
		if err == nil {
			err = p.Validate(rules(), "")
		}
		require.Error(t, err)
		messages = append(messages, err.Error())
	}
	for _, m := range messages {
		require.NotContains(t, m, key)
		require.Less(t, len(m), 1000)
		for _, c := range []byte(m) {
			require.True(t, c >= ' ' && c <= '~', "%q", m)
		}
	}
}
