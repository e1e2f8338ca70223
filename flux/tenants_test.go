package flux

import (
	"fmt"
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fluxmetrics/fluxkit/blueflood"
	"github.com/fluxmetrics/fluxkit/graphite"
)

func rulesOf(t testing.TB, patterns ...string) *tenantRules {
	d := Destination{Name: "blueflood", Blueflood: &blueflood.EndpointConfig{Tenant: "own"}}
	for i, p := range patterns {
		d.Tenants = append(d.Tenants, TenantRule{Pattern: p, Tenant: fmt.Sprint("t", i+1)})
	}
	var p plan
	_, err := p.compile(d)
	require.NoError(t, err)
	return p.rules
}

func TestRulesAreReadInOrder(t *testing.T) {
	r := rulesOf(t, `^acme\.`, `cpu`, `^(a|b)\.[0-9]+$`, `^exact$`)
	for name, want := range map[string]int{
		"acme.cpu": 1, "acme": 0, "acmex": 0, "x.cpu.y": 2, "cpu": 2, "a.12": 3, "b.1x": 0, "exact": 4, "exactly": 0, "": 0,
	} {
		require.Equal(t, want, r.choose([]byte(name)), name)
	}
}

// TestRulesOfLiteralText checks which patterns need no regular expression, and that they say the same as one.
func TestRulesOfLiteralText(t *testing.T) {
	names := []string{"", "abc", "abc.", "abc.d", "x.abc.d", "abcd", "ABC.d", "abc.\n", "abc.\xff", "x.abc", "a.c"}
	f := func(kind matchKind, pattern string) {
		t.Helper()
		rule := rulesOf(t, pattern).rules[0]
		require.Equal(t, kind, rule.kind, pattern)
		re := regexp.MustCompile(pattern)
		for _, n := range names {
			require.Equal(t, re.MatchString(n), rule.matches([]byte(n)), "%s on %q", pattern, n)
		}
	}
	f(matchPrefix, `^abc\.`)
	f(matchPrefix, `^abc`)
	f(matchPrefix, `\Aabc`)
	f(matchPrefix, `^abc\..*`)
	f(matchWhole, `^abc$`)
	f(matchInside, `abc`)
	f(matchInside, `\.abc\.`)
	f(matchRegexp, `^a.c`)
	f(matchRegexp, `(?i)^abc\.`)
	f(matchRegexp, `^abc.*$`)
	f(matchRegexp, `abc$`)
	f(matchRegexp, `^(abc|x)\.`)
	f(matchRegexp, `(?m)^abc`)
	f(matchRegexp, `^`)
	f(matchRegexp, `.*`)
	f(matchRegexp, "^abc.\ufffd")
}

func TestEscapedTenants(t *testing.T) {
	for tenant, want := range map[string]string{
		"acme": "acme", "a.b-c_9": "a.b-c_9", "a b": "a%20b", "%41": "%2541", "ä": "%C3%A4", "~": "%7E",
	} {
		require.Equal(t, want, escapeTenant(tenant))
	}
}

// TestChoosingATenantAllocatesNothing has rules of literal text alone: what package regexp pools the race detector drops.
func TestChoosingATenantAllocatesNothing(t *testing.T) {
	r := rulesOf(t, `^acme\.`, `^other\.`, `web7`)
	pts := make([]graphite.Point, 100)
	for i := range pts {
		pts[i].Name = fmt.Appendf(nil, "%s.cpu.%d", []string{"acme", "other", "web7", "none"}[i%4], i)
	}
	shares := make([]share, 4)
	split := func() {
		for i := range shares {
			shares[i].pts = shares[i].pts[:0]
		}
		r.split(shares, pts, nil)
	}
	split()
	for i := range shares {
		require.Len(t, shares[i].pts, 25)
	}
	require.Zero(t, testing.AllocsPerRun(100, split))
}

func BenchmarkChooseTenant(b *testing.B) {
	f := func(name string, patterns ...string) {
		b.Run(name, func(b *testing.B) {
			r := rulesOf(b, patterns...)
			metric := []byte("servers.web-0001.cpu.0.user")
			b.ReportAllocs()
			for b.Loop() {
				r.choose(metric)
			}
		})
	}
	f("prefixes", `^a\.`, `^b\.`, `^c\.`, `^servers\.db`, `^servers\.`)
	f("regexps", `^a\.[0-9]`, `^b\.[0-9]`, `^c\.[0-9]`, `^servers\.db[0-9]`, `^servers\.[a-z]+`)
}
