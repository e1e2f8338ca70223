package graphite_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fluxmetrics/fluxkit/graphite"
)

// The spellings and refusals are those of carbon 1.1, asked case by case.
func TestTaggedSeries(t *testing.T) {
	f := func(s, want string, tags ...graphite.Tag) {
		t.Helper()
		got, err := graphite.ParseTaggedSeries(s)
		require.NoError(t, err, s)
		require.Equal(t, want, got.String(), s)
		require.Equal(t, tags, got.Tags, s)
		again, err := graphite.NormaliseSeries(want)
		require.NoError(t, err)
		require.Equal(t, want, again, "the canonical form is not stable")
		again, err = graphite.NormaliseSeries(s)
		require.NoError(t, err)
		require.Equal(t, want, again, s)
	}
	type tag = graphite.Tag
	f("a.b", "a.b")
	f("a;b=c", "a;b=c", tag{"b", "c"})
	f("a;b=2;a=1", "a;a=1;b=2", tag{"a", "1"}, tag{"b", "2"})
	f("a;a=2;a-b=1", "a;a-b=1;a=2", tag{"a-b", "1"}, tag{"a", "2"})
	f("a;ab=1;a=2", "a;a=2;ab=1", tag{"a", "2"}, tag{"ab", "1"})
	f("~x;a=1", "x;a=1", tag{"a", "1"})
	f("~~foo", "foo")
	f("a;name=zzz;b=1", "a;b=1", tag{"b", "1"})
	f("a;a=1;b=x;a=2", "a;a=2;b=x", tag{"a", "2"}, tag{"b", "x"})
	f("a;a=b=c", "a;a=b=c", tag{"a", "b=c"})
	f("é;ü=ß", "é;ü=ß", tag{"ü", "ß"})
	f(`m{a="1"}`, "m;a=1", tag{"a", "1"})
	f(`m{b="2",a="1"}`, "m;a=1;b=2", tag{"a", "1"}, tag{"b", "2"})
	f(`m{a="x\"y"}`, `m;a=x"y`, tag{"a", `x"y`})
	f(`m{a="x\\y"}`, `m;a=x\y`, tag{"a", `x\y`})
	f(`m{a="1", b="2"}`, "m; b=2;a=1", tag{" b", "2"}, tag{"a", "1"})
	f(`m{name="q",a="1"}`, "m;a=1", tag{"a", "1"})
	f(`m{a="1":,b="2"}`, "m;a=1;b=2", tag{"a", "1"}, tag{"b", "2"})
	f(`m{a="1",:b="2"}`, "m;:b=2;a=1", tag{":b", "2"}, tag{"a", "1"})
	f(`m{}`, `m{}`)
	f(`m"}`, `m"}`)
	f(`m;a="}`, `m;a="}`, tag{"a", `"}`})
	f(`m{b="2",}`, `m{b="2",}`)
}

func TestTaggedSeriesErrors(t *testing.T) {
	f := func(s, segment, problem string) {
		t.Helper()
		_, err := graphite.ParseTaggedSeries(s)
		var te *graphite.TagError
		require.True(t, errors.As(err, &te), "%s: %v", s, err)
		require.Equal(t, graphite.TagError{Series: s, Segment: segment, Problem: problem}, *te)
		require.Contains(t, err.Error(), "graphite: tagged series ")
		_, err = graphite.NormaliseSeries(s)
		require.Error(t, err)
	}
	f("", "", "no name")
	f(";a=1", "", "no name")
	f("~~~", "", `the name is nothing but "~"`)
	f("~;a=1", "", `the name is nothing but "~"`)
	f("a;=1", "=1", "not key=value")
	f("a;b", "b", "not key=value")
	f("a;", "", "not key=value")
	f("a;b=", "b=", "the value is empty")
	f("a;b=~x", "b=~x", `the value starts with "~"`)
	f("a;b!=1", "b!=1", "the key holds one of ; ! ^ =")
	f("a;b^=1", "b^=1", "the key holds one of ; ! ^ =")
	f("a;name=;b=1", "name=", "the value is empty")
	f(`{a="1"}`, "", "no name")
	f(`m{a=""}`, "a=", "the value is empty")
	f(`m{a="~x"}`, "a=~x", `the value starts with "~"`)
	f(`m{a="b;c"}`, "a=b;c", "the value holds a semicolon")
	f(`m{a!="1"}`, "a!=1", "the key holds one of ; ! ^ =")
	f(`m{a="1"b="2"}`, `a="1"b="2"`, `not key="value"`)
	f(`m{a="\n"}`, `a="\n"`, `not key="value"`)
	f(`m{a=b="1"}`, `a=b="1"`, `not key="value"`)
	f(`m;x={"}`, `"`, `not key="value"`)
	f(`m{a="{}"}`, `a="{}"`, "a second opening brace")
	f(`a{b="c"};d="}`, `b="c"};d="`, `not key="value"`)
}

func FuzzTaggedSeries(f *testing.F) {
	for _, s := range []string{"a;b=c;a=1", `m{a="1",b="x\"y"}`, "~a;name=b", "a;a=1;a=2;a-b=3", `m{a="1":,b="2"}`, "a;b", `{"}`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got, err := graphite.ParseTaggedSeries(s)
		if err != nil {
			return
		}
		// The canonical form reads back as the same series, unless it happens to look like the other form.
		canonical := got.String()
		if !strings.HasSuffix(canonical, `"}`) {
			again, err := graphite.ParseTaggedSeries(canonical)
			require.NoError(t, err)
			require.Equal(t, got, again)
		}
		last := ""
		for _, tag := range got.Tags {
			require.NotEqual(t, "name", tag.Key)
			require.NotEmpty(t, tag.Key)
			require.NotEmpty(t, tag.Value)
			rendered := ";" + tag.Key + "=" + tag.Value
			require.Less(t, last, rendered)
			last = rendered
		}
	})
}

func ExampleParseTaggedSeries() {
	s, err := graphite.ParseTaggedSeries("disk.used;host=web1;dc=eu")
	fmt.Println(s, err)
	host, _ := s.Value("host")
	fmt.Println(s.Name, host)
	_, err = graphite.ParseTaggedSeries("disk.used;host")
	fmt.Println(err)
	// Output:
	// disk.used;dc=eu;host=web1 <nil>
	// disk.used web1
	// graphite: tagged series "disk.used;host": tag "host": not key=value
}
