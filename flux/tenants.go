package flux

import (
	"bytes"
	"regexp"
	"regexp/syntax"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/fluxmetrics/fluxkit/graphite"
)

// tenant is one that a destination writes to.
type tenant struct {
	name    string
	rule    int // the first that names it, counted from 1; 0 for the destination's own
	pattern string
}

// tenantRules choose the outlet of a point by its metric's name. They may be used from many goroutines.
type tenantRules struct {
	rules []tenantRule
}

// tenantRule matches names. What a rule of literal text says is compared without the regular expression.
type tenantRule struct {
	outlet  int
	literal []byte
	kind    matchKind
	re      *regexp.Regexp
}

type matchKind uint8

const (
	matchRegexp matchKind = iota
	matchPrefix
	matchWhole
	matchInside
)

// compile checks the rules of d, and lists its tenants, d's own first, in the order of the plan's outlets.
func (p *plan) compile(d Destination) ([]tenant, error) {
	tenants := []tenant{{name: d.Blueflood.Tenant}}
	if len(d.Tenants) == 0 {
		return tenants, nil
	}
	outlet := map[string]int{d.Blueflood.Tenant: 0}
	p.rules = &tenantRules{}
	for i, r := range d.Tenants {
		if r.Pattern == "" {
			return nil, configError("tenant rule %d of destination %q has no pattern: what no rule matches has EndpointConfig.Tenant", i+1, d.Name)
		}
		if r.Tenant == "" {
			return nil, configError("tenant rule %d of destination %q, %q, names no tenant", i+1, d.Name, r.Pattern)
		}
		to, known := outlet[r.Tenant]
		if !known {
			to = len(tenants)
			outlet[r.Tenant] = to
			tenants = append(tenants, tenant{name: r.Tenant, rule: i + 1, pattern: r.Pattern})
		}
		rule, err := newTenantRule(r.Pattern, to)
		if err != nil {
			return nil, configError("tenant rule %d of destination %q, %q: %w", i+1, d.Name, r.Pattern, err)
		}
		p.rules.rules = append(p.rules.rules, rule)
	}
	return tenants, nil
}

func newTenantRule(pattern string, outlet int) (tenantRule, error) {
	re, err := regexp.Compile(pattern)
	if err != nil {
		return tenantRule{}, err
	}
	r := tenantRule{outlet: outlet, re: re}
	parsed, err := syntax.Parse(pattern, syntax.Perl)
	if err != nil {
		return r, err
	}
	r.kind, r.literal = literalOf(parsed)
	return r, nil
}

// literalOf says how the expression can be told by comparing text alone, if it can.
func literalOf(re *syntax.Regexp) (matchKind, []byte) {
	parts := []*syntax.Regexp{re}
	if re.Op == syntax.OpConcat {
		parts = re.Sub
	}
	var text *syntax.Regexp
	begin, end := false, false
	for i, p := range parts {
		switch {
		case p.Op == syntax.OpBeginText && i == 0:
			begin = true
		case p.Op == syntax.OpLiteral && text == nil && p.Flags&syntax.FoldCase == 0:
			text = p
		case p.Op == syntax.OpEndText && i == len(parts)-1 && text != nil:
			end = true
		case p.Op == syntax.OpStar && p.Sub[0].Op == syntax.OpAnyCharNotNL && i == len(parts)-1 && text != nil:
			// Behind the text it matches anything, nothing too.
		default:
			return matchRegexp, nil
		}
	}
	if text == nil {
		return matchRegexp, nil
	}
	for _, c := range text.Rune {
		if c == utf8.RuneError || !utf8.ValidRune(c) { // the first stands for any byte that is not UTF-8, too
			return matchRegexp, nil
		}
	}
	literal := []byte(string(text.Rune))
	switch {
	case begin && end:
		return matchWhole, literal
	case begin:
		return matchPrefix, literal
	case end:
		return matchRegexp, nil
	}
	return matchInside, literal
}

// choose is the outlet for a metric: that of the first rule that matches, or 0.
func (t *tenantRules) choose(name []byte) int {
	for i := range t.rules {
		if r := &t.rules[i]; r.matches(name) {
			return r.outlet
		}
	}
	return 0
}

func (r *tenantRule) matches(name []byte) bool {
	switch r.kind {
	case matchPrefix:
		return bytes.HasPrefix(name, r.literal)
	case matchWhole:
		return bytes.Equal(name, r.literal)
	case matchInside:
		return bytes.Contains(name, r.literal)
	}
	return r.re.Match(name)
}

// share is what one outlet gets of a run of points.
type share struct {
	pts  []graphite.Point
	tags []byte // nil: all zero
}

// split sorts points by the outlets of their tenants. tags may be nil.
func (t *tenantRules) split(shares []share, pts []graphite.Point, tags []byte) {
	for i := range pts {
		s := &shares[t.choose(pts[i].Name)]
		s.pts = append(s.pts, pts[i])
		if tags != nil {
			s.tags = append(s.tags, tags[i])
		}
	}
}

// escapeTenant makes a tenant part of a directory's name.
func escapeTenant(tenant string) string {
	var b strings.Builder
	for i := range len(tenant) {
		c := tenant[i]
		if c == '.' || nameForm.MatchString(tenant[i:i+1]) {
			b.WriteByte(c)
			continue
		}
		const digits = "0123456789ABCDEF"
		b.Write([]byte{'%', digits[c>>4], digits[c&15]})
	}
	return b.String()
}

// suffix tells the nth of several apart: nothing for the first, then -2, -3.
func suffix(n int) string {
	if n == 1 {
		return ""
	}
	return "-" + strconv.Itoa(n)
}
