package bluefloodtest

import (
	"encoding/json"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

const maxMulti = 100 // metrics in one multi view

// serveQuery answers the requests of one connection.
func (s *Server) serveQuery(c *conn) {
	for {
		r, err := c.readHead()
		if err != nil {
			return
		}
		if r.longLine {
			_ = c.write(&response{status: http.StatusNotFound}, false)
			return
		}
		body, length, err := c.readBody(r, s.opts.MaxContent)
		if err != nil {
			return
		}
		if res := s.guard(r.Header); res != nil {
			if !s.answer(c, r, res) {
				return
			}
			continue
		}
		if length > s.opts.MaxContent {
			if c.idle() != nil {
				return
			}
			continue
		}
		if !s.answer(c, r, s.queryResponse(r, body)) {
			return
		}
	}
}

func (s *Server) queryResponse(r *request, body []byte) *response {
	name, args, refusal := find(queryRoutes[:], r.Method, r.RequestURI)
	if refusal != nil {
		return refusal
	}
	if name == "ok" {
		return &response{status: http.StatusOK}
	}
	if refusal := checkAccept(r); refusal != nil {
		return refusal
	}
	params := r.URL.Query()
	switch name {
	case "view":
		return s.view(args[0], args[1], params)
	case "views":
		return s.views(args[0], body, params)
	case "search":
		return s.search(args[0], params)
	}
	return s.searchNames(args[0], params)
}

// span is what the parameters of a view ask for.
type span struct {
	from, to    int64
	granularity int // milliseconds of one roll-up, 0 for points as sent
	fields      []string
}

// granularities are the resolutions by name, finest first.
var granularities = [...]struct {
	name   string
	millis int
}{{"FULL", 0}, {"MIN5", 300_000}, {"MIN20", 1_200_000}, {"MIN60", 3_600_000}, {"MIN240", 14_400_000}, {"MIN1440", 86_400_000}}

// parseSpan reads the parameters of a view; problem says what is wrong with them.
func parseSpan(v url.Values) (sp span, problem string) {
	for _, p := range []struct {
		name string
		to   *int64
	}{{"from", &sp.from}, {"to", &sp.to}} {
		n, err := strconv.ParseInt(v.Get(p.name), 10, 64)
		if len(v[p.name]) != 1 || err != nil {
			return sp, "Invalid parameter: " + p.name
		}
		*p.to = n
	}
	if sp.to <= sp.from {
		return sp, "'to' must be greater than 'from'"
	}
	switch {
	case v.Has("points"):
		n, err := strconv.Atoi(v.Get("points"))
		if err != nil {
			return sp, "Invalid parameter: points"
		}
		sp.granularity = granularityFor(sp.to-sp.from, int64(n))
	case v.Has("resolution"):
		want := strings.ToUpper(v.Get("resolution"))
		i := 0
		for i < len(granularities) && granularities[i].name != want {
			i++
		}
		if i == len(granularities) {
			return sp, "Invalid parameter: resolution"
		}
		sp.granularity = granularities[i].millis
	default:
		return sp, "Either 'points' or 'resolution' is required"
	}
	for _, s := range v["select"] {
		sp.fields = append(sp.fields, strings.Split(s, ",")...)
	}
	return sp, ""
}

// granularityFor picks the resolution whose number of points over a span is nearest to the one asked for, taking
// points to come every 30 s.
func granularityFor(millis, points int64) int {
	best, least := 0, int64(-1)
	for _, g := range granularities {
		every := int64(g.millis)
		if every == 0 {
			every = 30_000
		}
		diff := millis/every - points
		if diff < 0 {
			diff = -diff
		}
		if least >= 0 && diff >= least {
			break
		}
		best, least = g.millis, diff
	}
	return best
}

func (s *Server) view(tenant, name string, params url.Values) *response {
	sp, problem := parseSpan(params)
	if problem != "" {
		return wholeError(http.StatusBadRequest, tenant, problem)
	}
	unit, values := s.values(tenant, name, &sp)
	return jsonResponse(map[string]any{
		"unit":     unit,
		"values":   values,
		"metadata": map[string]any{"count": len(values), "limit": nil, "marker": nil, "next_href": nil},
	})
}

func (s *Server) views(tenant string, body []byte, params url.Values) *response {
	var names []string
	if json.Unmarshal(body, &names) != nil {
		return &response{status: http.StatusBadRequest, body: []byte("Invalid body. Expected JSON array of metrics.")}
	}
	if len(names) > maxMulti {
		return wholeError(http.StatusBadRequest, tenant, "Too many metrics fetch in a single call. Max limit is "+strconv.Itoa(maxMulti))
	}
	sp, problem := parseSpan(params)
	if problem != "" {
		return wholeError(http.StatusBadRequest, tenant, problem)
	}
	metrics := []map[string]any{}
	for _, name := range names {
		unit, values := s.values(tenant, name, &sp)
		metrics = append(metrics, map[string]any{"metric": name, "unit": unit, "type": "number", "data": values})
	}
	return jsonResponse(map[string]any{"metrics": metrics})
}

// values returns the points of a view, and the metric's unit.
func (s *Server) values(tenant, name string, sp *span) (unit string, values []map[string]any) {
	now := s.Time().UnixMilli()
	unit, values = "unknown", []map[string]any{}
	var group []Point
	flush := func() {
		if len(group) > 0 {
			values = append(values, sp.value(group))
			group = group[:0]
		}
	}
	for _, p := range s.Points(tenant, name) {
		if p.Timestamp < sp.from || p.Timestamp > sp.to || p.stored+int64(p.TTL)*1000 <= now {
			continue
		}
		if p.Unit != "" {
			unit = p.Unit
		}
		if sp.granularity == 0 || len(group) > 0 && sp.slot(group[0]) != sp.slot(p) {
			flush()
		}
		group = append(group, p)
	}
	flush()
	return unit, values
}

// slot is the beginning of the roll-up that a point falls in.
func (sp *span) slot(p Point) int64 { return p.Timestamp - p.Timestamp%int64(sp.granularity) }

// value makes one point of a view out of the points that it rolls up, of one at full resolution.
func (sp *span) value(group []Point) map[string]any {
	roll := rollUp(group)
	fields := sp.fields
	if len(fields) == 0 {
		fields = []string{"average", "numPoints"}
		if sp.granularity > 0 {
			fields = append(fields, "sum")
		}
	}
	out := map[string]any{"timestamp": group[0].Timestamp}
	if sp.granularity > 0 {
		out["timestamp"] = sp.slot(group[0])
	} else {
		roll["average"] = group[0].json()
	}
	for _, f := range fields {
		if v, ok := roll[f]; ok {
			out[f] = v
		}
	}
	return out
}

// rollUp returns what can be said of points, by field.
func rollUp(group []Point) map[string]any {
	n := float64(len(group))
	sum, least, most := 0.0, group[0].Value, group[0].Value
	for _, p := range group {
		sum += p.Value
		least, most = min(least, p.Value), max(most, p.Value)
	}
	mean, variance := sum/n, 0.0
	for _, p := range group {
		variance += (p.Value - mean) * (p.Value - mean) / n
	}
	return map[string]any{
		"numPoints": len(group), "average": double(mean), "sum": double(sum), "min": double(least), "max": double(most),
		"variance": double(variance), "latest": group[len(group)-1].json(), "type": "number",
	}
}

// json is the point's value with the type that it was stored as.
func (p *Point) json() json.RawMessage {
	if p.Kind == "Double" {
		return double(p.Value)
	}
	return json.RawMessage(strconv.FormatInt(int64(p.Value), 10))
}

// double is a float in JSON: never without a fraction or an exponent, and quoted when it is not finite.
func double(v float64) json.RawMessage {
	s := strconv.FormatFloat(v, 'g', -1, 64)
	switch {
	case strings.HasSuffix(s, "Inf"):
		return json.RawMessage(`"` + strings.TrimPrefix(s, "+") + `inity"`)
	case s == "NaN":
		return json.RawMessage(`"NaN"`)
	case !strings.ContainsAny(s, ".e"):
		s += ".0"
	}
	return json.RawMessage(s)
}

// search lists the metrics whose whole names match a glob.
func (s *Server) search(tenant string, params url.Values) *response {
	re, refusal := s.glob(tenant, params, ".*")
	if refusal != nil {
		return refusal
	}
	found := []map[string]any{}
	for _, name := range s.Metrics(tenant) {
		if re.MatchString(name) {
			m := map[string]any{"metric": name}
			if p := s.Points(tenant, name); len(p) > 0 && p[len(p)-1].Unit != "" {
				m["unit"] = p[len(p)-1].Unit
			}
			found = append(found, m)
		}
	}
	return jsonResponse(found)
}

// searchNames lists what the names begin with, at the depth of a glob, and whether that is a whole name.
func (s *Server) searchNames(tenant string, params url.Values) *response {
	re, refusal := s.glob(tenant, params, "[^.]*")
	if refusal != nil {
		return refusal
	}
	depth := strings.Count(params.Get("query"), ".") + 1
	complete := map[string]bool{}
	var names []string
	for _, name := range s.Metrics(tenant) {
		parts := strings.Split(name, ".")
		head := strings.Join(parts[:min(depth, len(parts))], ".")
		if !re.MatchString(head) {
			continue
		}
		if _, seen := complete[head]; !seen {
			names = append(names, head)
		}
		complete[head] = complete[head] || head == name
	}
	slices.Sort(names)
	found := []map[string]bool{}
	for _, name := range names {
		found = append(found, map[string]bool{name: complete[name]})
	}
	return jsonResponse(found)
}

// glob makes an expression of the query parameter; star is what its star stands for.
func (s *Server) glob(tenant string, params url.Values, star string) (*regexp.Regexp, *response) {
	if s.opts.NoSearch {
		return nil, &response{status: http.StatusNotFound}
	}
	q := params.Get("query")
	if q == "" {
		return nil, wholeError(http.StatusBadRequest, tenant, "Invalid parameter: query")
	}
	e := regexp.QuoteMeta(q)
	e = strings.NewReplacer(`\*`, star, `\?`, ".", `\{`, "(", `\}`, ")", ",", "|", `\[`, "[", `\]`, "]").Replace(e)
	re, err := regexp.Compile("^(" + e + ")$")
	if err != nil {
		return nil, wholeError(http.StatusBadRequest, tenant, "Invalid parameter: query")
	}
	return re, nil
}

func jsonResponse(v any) *response {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return wholeError(http.StatusInternalServerError, "", err.Error())
	}
	return &response{status: http.StatusOK, body: b}
}
