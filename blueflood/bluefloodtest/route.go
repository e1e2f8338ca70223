package bluefloodtest

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// route is one path of an API, for one method. A segment of "{}" stands for any one segment.
type route struct {
	method, path string
	name         string // of the handler
}

var (
	ingestRoutes = [...]route{
		{"GET", "/v1.0", "ok"},
		{"GET", "/v2.0", "ok"},
		{"POST", "/v2.0/{}/ingest", "ingest"},
		{"POST", "/v2.0/{}/ingest/multi", "multi"},
		{"POST", "/v1.0/{}/experimental/metrics", "ingest"},
		{"POST", "/v1.0/multitenant/experimental/metrics", "multi"},
	}
	queryRoutes = [...]route{
		{"GET", "/v1.0", "ok"},
		{"GET", "/v2.0", "ok"},
		{"GET", "/v2.0/{}/views/{}", "view"},
		{"OPTIONS", "/v2.0/{}/views/{}", "ok"},
		{"POST", "/v2.0/{}/views", "views"},
		{"OPTIONS", "/v2.0/{}/views", "ok"},
		{"GET", "/v2.0/{}/metrics/search", "search"},
		{"OPTIONS", "/v2.0/{}/metrics/search", "ok"},
		{"GET", "/v2.0/{}/metric_name/search", "names"},
		{"OPTIONS", "/v2.0/{}/metric_name/search", "ok"},
	}
)

// match returns the segments that stand for "{}", or false. A segment is not empty.
func (r *route) match(path string) ([]string, bool) {
	want, have := strings.Split(r.path, "/"), strings.Split(path, "/")
	if len(want) != len(have) {
		return nil, false
	}
	var args []string
	for i := range want {
		switch {
		case want[i] == "{}" && have[i] != "":
			args = append(args, have[i])
		case want[i] != have[i]:
			return nil, false
		}
	}
	return args, true
}

// find routes a request. Without a handler it returns the answer that says so: 501 for a method that no route has, 405
// for a path that takes another, 404 for any other path.
func find(routes []route, method, target string) (name string, args []string, refusal *response) {
	path, _, _ := strings.Cut(target, "?")
	if decoded, err := url.PathUnescape(path); err == nil {
		path = decoded // before it is matched: an escaped slash separates
	}
	if !slices.ContainsFunc(routes, func(r route) bool { return r.method == method }) {
		return "", nil, &response{status: http.StatusNotImplemented}
	}
	var allow []string
	for i := range routes {
		args, ok := routes[i].match(path)
		if ok && routes[i].method == method {
			return routes[i].name, args, nil
		}
		if ok && !slices.Contains(allow, routes[i].method) {
			allow = append(allow, routes[i].method)
		}
	}
	if len(allow) > 0 {
		return "", nil, &response{
			status: http.StatusMethodNotAllowed, header: http.Header{"Allow": {strings.Join(allow, ",")}},
		}
	}
	return "", nil, &response{status: http.StatusNotFound}
}

// checkMedia refuses a request whose Content-Type or Accept header rules out JSON.
func checkMedia(r *request) *response {
	if t := r.Header.Get("Content-Type"); t != "" && !strings.Contains(strings.ToLower(t), "application/json") {
		return wholeError(http.StatusUnsupportedMediaType, "", "Unsupported media type for Content-Type: "+t)
	}
	return checkAccept(r)
}

func checkAccept(r *request) *response {
	a := strings.ToLower(r.Header.Get("Accept"))
	if a != "" && !strings.Contains(a, "*/*") && !strings.Contains(a, "application/json") {
		return wholeError(http.StatusUnsupportedMediaType, "", "Unsupported media type for Accept: "+r.Header.Get("Accept"))
	}
	return nil
}
