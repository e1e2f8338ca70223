package backfill

import (
	"errors"
	"net/url"
	"strconv"
	"strings"
)

// query is the query of an URL, whose parameters stay as they are written unless they are set.
type query struct {
	params []param
}

type param struct {
	name, value string // decoded
	raw         string // as written
}

func parseQuery(raw string) (*query, error) {
	q := &query{}
	for part := range strings.SplitSeq(raw, "&") {
		if part == "" {
			continue
		}
		name, value, _ := strings.Cut(part, "=")
		n, err1 := url.QueryUnescape(name)
		v, err2 := url.QueryUnescape(value)
		if err1 != nil || err2 != nil {
			return nil, errors.New("its query has a % that encodes nothing")
		}
		q.params = append(q.params, param{n, v, part})
	}
	return q, nil
}

// get returns the first value of a parameter, and how often it stands there.
func (q *query) get(name string) (value string, n int) {
	for _, p := range q.params {
		if p.name == name {
			if n == 0 {
				value = p.value
			}
			n++
		}
	}
	return value, n
}

// set replaces the parameter where it stands, or appends it.
func (q *query) set(name, value string) {
	p := param{name, value, url.QueryEscape(name) + "=" + url.QueryEscape(value)}
	for i := range q.params {
		if q.params[i].name == name {
			q.params[i] = p
			return
		}
	}
	q.params = append(q.params, p)
}

// setSecond sets a time in Unix seconds, of which none is before 1970.
func (q *query) setSecond(name string, sec int64) { q.set(name, strconv.FormatInt(max(0, sec), 10)) }

func (q *query) String() string {
	var b strings.Builder
	for i, p := range q.params {
		if i > 0 {
			b.WriteByte('&')
		}
		b.WriteString(p.raw)
	}
	return b.String()
}

// encodeVista encodes the target of one of Vista's URLs to Graphite, which stands at the end as the operator wrote it.
// Where it is the remote target, everything after target= is the target; otherwise it ends at an ampersand.
func encodeVista(raw, target string) string {
	if target != "" && strings.HasSuffix(raw, "target="+target) {
		return strings.TrimSuffix(raw, target) + encodeTarget(target, true)
	}
	parts := strings.Split(raw, "&")
	for i, part := range parts {
		before, value, ok := strings.Cut(part, "target=")
		if ok && (before == "" || strings.HasSuffix(before, "?")) {
			parts[i] = before + "target=" + encodeTarget(value, false)
		}
	}
	return strings.Join(parts, "&")
}

// encodeTarget encodes what cannot stand in a query and keeps what is encoded already. A plus is a plus there, and %2F
// after a dot is part of a name, as Skyline reads both.
func encodeTarget(s string, whole bool) string {
	const hex = "0123456789ABCDEF"
	var b strings.Builder
	for i := range len(s) {
		c := s[i]
		switch {
		case c == '%' && isEscape(s[i:]) && !(i > 0 && s[i-1] == '.' && strings.EqualFold(s[i:i+3], "%2F")):
			b.WriteByte(c)
		case c <= ' ' || c >= 0x7f || strings.IndexByte("%+#\"<>\\^`{|}", c) >= 0, whole && c == '&':
			b.Write([]byte{'%', hex[c>>4], hex[c&15]})
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}

func isEscape(s string) bool {
	isHex := func(c byte) bool { return c >= '0' && c <= '9' || c|0x20 >= 'a' && c|0x20 <= 'f' }
	return len(s) >= 3 && isHex(s[1]) && isHex(s[2])
}
