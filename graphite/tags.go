package graphite

import (
	"fmt"
	"slices"
	"strings"
)

// Tag is one tag of a TaggedSeries.
type Tag struct{ Key, Value string }

// TaggedSeries is a metric's name taken apart by carbon's rules: the name proper and its tags.
//
// Carbon's receivers do not look at tags, and neither do those of this package. Normalising is for places where two
// spellings of one series must meet, such as the key of a deduplication mark.
type TaggedSeries struct {
	// Name is the metric's name without tags and without leading "~", which carbon strips since the name is a tag's
	// value to it.
	Name string
	// Tags are sorted as carbon sorts them, by the bytes of ";key=value", so that "a-b" comes before "a". No key occurs
	// twice, and none is "name", which carbon keeps for the name itself.
	Tags []Tag
}

// TagError tells why a name with tags cannot be read.
type TagError struct {
	Series  string // the whole name
	Segment string // the part that is wrong; empty if it is the name
	Problem string // what is wrong with it
}

// Error tells the problem, the part and the name.
func (e *TagError) Error() string {
	if e.Segment == "" {
		return fmt.Sprintf("graphite: tagged series %q: %s", shorten([]byte(e.Series)), e.Problem)
	}
	return fmt.Sprintf("graphite: tagged series %q: tag %q: %s", shorten([]byte(e.Series)), shorten([]byte(e.Segment)), e.Problem)
}

// ParseTaggedSeries reads "name;key=value;key=value", or the OpenMetrics form name{key="value",key="value"}, which is
// known by its last two characters. A name without tags is one too.
//
// The name must not be empty nor all "~". A key must not be empty nor hold any of ; ! ^ =. A value must not be empty,
// hold a semicolon or start with "~". Where a key is repeated the last one counts, and a tag called "name" is dropped.
// In the OpenMetrics form \" and \\ stand for a quote and a backslash. The error is a *TagError.
func ParseTaggedSeries(s string) (TaggedSeries, error) {
	if strings.HasSuffix(s, `"}`) && strings.Contains(s, "{") {
		return parseOpenMetrics(s)
	}
	name, rest, more := strings.Cut(s, ";")
	t, err := newTagged(s, name)
	for more && err == nil {
		var segment string
		segment, rest, more = strings.Cut(rest, ";")
		key, value, ok := strings.Cut(segment, "=")
		if !ok || key == "" {
			return TaggedSeries{}, &TagError{s, segment, "not key=value"}
		}
		err = t.add(s, key, value)
	}
	if err != nil {
		return TaggedSeries{}, err
	}
	t.sort()
	return t, nil
}

// NormaliseSeries returns the canonical spelling of a name: ParseTaggedSeries(s).String(), without work for a name that
// has no tags.
func NormaliseSeries(s string) (string, error) {
	if s != "" && s[0] != '~' && !strings.Contains(s, ";") && !strings.HasSuffix(s, `"}`) {
		return s, nil
	}
	t, err := ParseTaggedSeries(s)
	if err != nil {
		return "", err
	}
	return t.String(), nil
}

// String is carbon's canonical spelling: the name, then ";key=value" for each tag in order.
func (t TaggedSeries) String() string {
	if len(t.Tags) == 0 {
		return t.Name
	}
	var b strings.Builder
	b.WriteString(t.Name)
	for _, tag := range t.Tags {
		b.WriteByte(';')
		b.WriteString(tag.Key)
		b.WriteByte('=')
		b.WriteString(tag.Value)
	}
	return b.String()
}

// Value returns the value of a tag, and of "name" the name.
func (t TaggedSeries) Value(key string) (string, bool) {
	if key == "name" {
		return t.Name, true
	}
	for _, tag := range t.Tags {
		if tag.Key == key {
			return tag.Value, true
		}
	}
	return "", false
}

func newTagged(s, name string) (TaggedSeries, error) {
	if name == "" {
		return TaggedSeries{}, &TagError{s, "", "no name"}
	}
	stripped := strings.TrimLeft(name, "~")
	if stripped == "" {
		return TaggedSeries{}, &TagError{s, "", `the name is nothing but "~"`}
	}
	return TaggedSeries{Name: stripped}, nil
}

// add checks a tag and appends it.
func (t *TaggedSeries) add(s, key, value string) error {
	problem := ""
	switch {
	case strings.ContainsAny(key, ";!^="):
		problem = "the key holds one of ; ! ^ ="
	case value == "":
		problem = "the value is empty"
	case value[0] == '~':
		problem = `the value starts with "~"`
	case strings.Contains(value, ";"):
		problem = "the value holds a semicolon"
	}
	if problem != "" {
		return &TagError{s, key + "=" + value, problem}
	}
	if key != "name" {
		t.Tags = append(t.Tags, Tag{key, value})
	}
	return nil
}

// sort brings the tags into carbon's order and keeps the last of each key.
func (t *TaggedSeries) sort() {
	slices.Reverse(t.Tags)
	slices.SortStableFunc(t.Tags, func(a, b Tag) int { return strings.Compare(a.Key, b.Key) })
	t.Tags = slices.CompactFunc(t.Tags, func(a, b Tag) bool { return a.Key == b.Key })
	slices.SortFunc(t.Tags, compareRendered)
}

// compareRendered compares the tags as they are rendered, "key=value", byte by byte.
func compareRendered(a, b Tag) int {
	if n := min(len(a.Key), len(b.Key)); a.Key[:n] != b.Key[:n] {
		return strings.Compare(a.Key[:n], b.Key[:n])
	}
	return strings.Compare(a.Key+"="+a.Value, b.Key+"="+b.Value)
}

// parseOpenMetrics reads name{key="value",...}. Carbon splits at the braces first, so neither the name nor a value can
// hold an opening one.
func parseOpenMetrics(s string) (TaggedSeries, error) {
	name, rest, _ := strings.Cut(s[:len(s)-1], "{")
	if strings.Contains(rest, "{") {
		return TaggedSeries{}, &TagError{s, rest, "a second opening brace"}
	}
	t, err := newTagged(s, name)
	for rest != "" && err == nil {
		var key, value string
		var ok bool
		whole := rest
		key, value, rest, ok = openMetricsTag(rest)
		if !ok {
			return TaggedSeries{}, &TagError{s, whole, `not key="value"`}
		}
		err = t.add(s, key, value)
	}
	if err != nil {
		return TaggedSeries{}, err
	}
	t.sort()
	return t, nil
}

// openMetricsTag cuts key="value" and the comma after it off s. A colon before the comma is let through, as carbon
// does.
func openMetricsTag(s string) (key, value, rest string, ok bool) {
	key, rest, ok = strings.Cut(s, "=")
	if !ok || key == "" || rest == "" || rest[0] != '"' {
		return "", "", "", false
	}
	var b strings.Builder
	i := 1
	for i < len(rest) && rest[i] != '"' {
		if rest[i] == '\\' {
			i++
			if i == len(rest) || rest[i] != '"' && rest[i] != '\\' {
				return "", "", "", false
			}
		}
		b.WriteByte(rest[i])
		i++
	}
	if i >= len(rest) {
		return "", "", "", false
	}
	rest = rest[i+1:]
	if after, found := strings.CutPrefix(rest, ":,"); found {
		return key, b.String(), after, true
	}
	after, found := strings.CutPrefix(rest, ",")
	return key, b.String(), after, found || rest == ""
}
