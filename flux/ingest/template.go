package ingest

import (
	"fmt"
	"slices"
	"strings"
)

// Template says what the name of a telegraf point is made of: elements with dots between them, each of which is
//
//	host         the tag of that name, which has to be there
//	tags         the values of all tags that the template does not name, in the order of the body
//	measurement  the object's name
//	field        the name of the field
//	KEY          the value of the tag KEY, or nothing where it is missing
//
// Telegraf writes tags in the order of their names.
type Template struct{ words []string }

// defaultTemplate is the one that Flux has.
var defaultTemplate = Template{[]string{"host", "tags", "measurement", "field"}}

// ParseTemplate reads a template such as "host.tags.measurement.field". It has to have field, and nothing twice.
func ParseTemplate(s string) (*Template, error) {
	words := strings.Split(s, ".")
	rule := ""
	switch {
	case slices.Contains(words, ""):
		rule = "empty element"
	case !slices.Contains(words, "field"):
		rule = "no field"
	}
	for i, w := range words {
		if rule == "" && slices.Contains(words[:i], w) {
			rule = w + " stands twice"
		}
	}
	if rule != "" {
		return nil, fmt.Errorf("ingest: invalid template - %s - %s", quote(s), rule)
	}
	return &Template{words}, nil
}

// String is what ParseTemplate reads.
func (t *Template) String() string { return strings.Join(t.words, ".") }

// names reports whether the template names a tag, so that it is not one of tags.
func (t *Template) names(key []byte) bool {
	for _, w := range t.words {
		if w == string(key) {
			return w != "tags" && w != "measurement" && w != "field"
		}
	}
	return false
}
