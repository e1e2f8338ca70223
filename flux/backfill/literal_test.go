package backfill

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
)

func TestParseURLLiteral(t *testing.T) {
	for text, want := range map[string][]string{
		`"['a', 'b']"`:             {"a", "b"},
		`'["a","b",]'`:             {"a", "b"},
		`['a']`:                    {"a"},
		` "('a',)" `:               {"a"},
		`"('a', 'b')"`:             {"a", "b"},
		`"[]"`:                     nil,
		`"()"`:                     nil,
		`"['a\\'b']"`:              {"a'b"},
		`"[\"a\"]"`:                {"a"},
		`['\x41\u00e9\U0001F600']`: {"Aé😀"},
		`['a\tb\\']`:               {"a\tb\\"},
		"\"['é']\"":                {"é"},
	} {
		got, err := parseURLLiteral(text)
		require.NoError(t, err, text)
		require.Equal(t, want, got, text)
	}
	for _, text := range []string{
		``, `"`, `""`, `[`, `['a'`, `['a' 'b']`, `['a',,'b']`, `[,]`, `('a')`, `"['a']" x`, `['a'] x`, `[a]`, `[5]`, `[['a']]`,
		`u'['a']'`, `"['a'"`, `['a\d']`, `['\x4']`, `['\xzz']`, `['\ud800']`, `['\U00110000']`, `['\UFFFFFFFF']`, "['a\n']", `['a\`,
		`"['x(a,'y')']"`, `"""['a']"""`, `{'a'}`, `['a')`, `None`, "['\x00']",
		`[` + strings.Repeat(`'a',`, 101) + `]`, strings.Repeat(" ", maxLiteral+1),
	} {
		_, err := parseURLLiteral(text)
		require.Error(t, err, text[:min(len(text), 100)])
	}
}

// FuzzLiteral checks that what is read is bounded, and reads the same after it was written as Python does.
func FuzzLiteral(f *testing.F) {
	for _, s := range []string{`"['http://a/?x=1&y=-2h', 'b']"`, `('a',)`, `['\x41\\\'']`, `"[\"a\"]"`, `['`, `[]`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		list, err := parseURLLiteral(s)
		if err != nil {
			return
		}
		require.LessOrEqual(t, len(list), maxURLs)
		size := 0
		for i, e := range list {
			size += len(e)
			if utf8.ValidString(s) {
				require.True(t, utf8.ValidString(e))
			}
			list[i] = "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`, "\n", `\n`, "\r", `\r`, "\x00", `\x00`).Replace(e) + "'"
		}
		require.LessOrEqual(t, size, len(s))
		again, err := parseURLLiteral("[" + strings.Join(list, ", ") + "]")
		require.NoError(t, err)
		require.Len(t, again, len(list))
		for i := range again {
			require.Equal(t, list[i], "'"+strings.NewReplacer(`\`, `\\`, `'`, `\'`, "\n", `\n`, "\r", `\r`, "\x00", `\x00`).Replace(again[i])+"'")
		}
	})
}
