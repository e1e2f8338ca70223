package graphitetest

import (
	"fmt"
	"math"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// handler answers /render?target=…&from=…&until=…&format=json by GET or POST.
func (s *Server) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/render", s.serveRender)
	mux.HandleFunc("/render/{$}", s.serveRender)
	return mux
}

// serveRender answers with a series for each metric that a target names: exactly, or by a pattern of *, ?, [...] and
// {a,b} in which no * crosses a dot. As in whisper a metric has one value a second, the last that was written, and the
// range excludes from and includes until. Seconds without a value are left out, where Graphite has null.
func (s *Server) serveRender(w http.ResponseWriter, r *http.Request) {
	if err := r.ParseForm(); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	if f := r.Form.Get("format"); f != "json" {
		http.Error(w, fmt.Sprintf("format %q is not supported, only json", f), http.StatusBadRequest)
		return
	}
	now := s.clock.get()
	from, err1 := parseTime(r.Form.Get("from"), now, now.Add(-24*time.Hour))
	until, err2 := parseTime(r.Form.Get("until"), now, now)
	if err1 != nil || err2 != nil || len(r.Form["target"]) == 0 {
		http.Error(w, "a target, from and until are required as epoch seconds or as -6hours", http.StatusBadRequest)
		return
	}
	var out []byte
	for _, target := range r.Form["target"] {
		re, err := glob(target)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		out = s.appendSeries(out, re, from.Unix(), until.Unix())
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write([]byte("[" + strings.TrimSuffix(string(out), ",") + "]\n"))
}

// appendSeries appends the matching series, by name, each with a comma behind it.
func (s *Server) appendSeries(out []byte, re *regexp.Regexp, from, until int64) []byte {
	found := map[string]map[int64]float64{}
	for _, p := range s.All() {
		if !re.MatchString(p.Metric) {
			continue
		}
		if found[p.Metric] == nil {
			found[p.Metric] = map[int64]float64{}
		}
		if at := int64(p.Timestamp); at > from && at <= until {
			found[p.Metric][at] = p.Value
		}
	}
	for _, name := range sortedKeys(found) {
		out = append(out, `{"target":`...)
		out = append(out, quote(name)...)
		out = append(out, `,"datapoints":[`...)
		for i, at := range sortedKeys(found[name]) {
			if i > 0 {
				out = append(out, ',')
			}
			out = append(append(out, '['), jsonNumber(found[name][at])...)
			out = append(strconv.AppendInt(append(out, ','), at, 10), ']')
		}
		out = append(out, `]},`...)
	}
	return out
}

func sortedKeys[K int64 | string, V any](m map[K]V) []K {
	keys := make([]K, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// jsonNumber writes an infinite value as graphite-web does.
func jsonNumber(v float64) string {
	switch {
	case math.IsInf(v, 1):
		return "1e9999"
	case math.IsInf(v, -1):
		return "-1e9999"
	}
	return strconv.FormatFloat(v, 'g', -1, 64)
}

// quote writes a JSON string. A name is UTF-8; control characters are the only ones that need care.
func quote(name string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range name {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r < 0x20:
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String()
}

var units = []struct {
	prefix string
	unit   time.Duration
}{
	{"mon", 30 * 24 * time.Hour}, {"mi", time.Minute}, {"s", time.Second}, {"h", time.Hour},
	{"d", 24 * time.Hour}, {"w", 7 * 24 * time.Hour}, {"y", 365 * 24 * time.Hour},
}

// parseTime reads epoch seconds, "now", and a relative time such as -50mins or now-6hours.
func parseTime(text string, now, absent time.Time) (time.Time, error) {
	if text == "" {
		return absent, nil
	}
	if text == "now" {
		return now, nil
	}
	if sec, err := strconv.ParseInt(text, 10, 64); err == nil && sec >= 0 {
		return time.Unix(sec, 0), nil
	}
	rel, ok := strings.CutPrefix(strings.TrimPrefix(text, "now"), "-")
	word := strings.TrimLeft(rel, "0123456789")
	n, err := strconv.ParseInt(rel[:len(rel)-len(word)], 10, 32)
	for _, u := range units {
		if ok && err == nil && strings.HasPrefix(word, u.prefix) {
			return now.Add(-time.Duration(n) * u.unit), nil
		}
	}
	return time.Time{}, fmt.Errorf("time %q", text)
}

// glob makes a pattern of Graphite's into a regular expression.
func glob(target string) (*regexp.Regexp, error) {
	if strings.ContainsAny(target, "()") {
		return nil, fmt.Errorf("target %q: functions are not supported", target)
	}
	var b strings.Builder
	depth := 0
	for _, r := range target {
		switch {
		case r == '*':
			b.WriteString(`[^.]*`)
		case r == '?':
			b.WriteString(`[^.]`)
		case r == '[' || r == ']':
			b.WriteRune(r)
		case r == '{':
			depth++
			b.WriteString(`(?:`)
		case r == '}' && depth > 0:
			depth--
			b.WriteByte(')')
		case r == ',' && depth > 0:
			b.WriteByte('|')
		default:
			b.WriteString(regexp.QuoteMeta(string(r)))
		}
	}
	re, err := regexp.Compile(`^(?s:` + b.String() + `)$`)
	if err != nil {
		return nil, fmt.Errorf("target %q: %w", target, err)
	}
	return re, nil
}
