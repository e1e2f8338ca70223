package main

import (
	"fmt"
	"strings"
)

// paste is one request to try, as a line for a shell. %s in url and body stands for the current time in seconds.
type paste struct {
	what, url, body string
}

// at is p at a time.
func (p paste) at(now string) paste {
	for _, s := range []*string{&p.url, &p.body} {
		if strings.Contains(*s, "%") {
			*s = fmt.Sprintf(*s, now)
		}
	}
	return p
}

// curl is the line. It ends by itself, shows the answer's status, and takes the time when it is run.
func (p paste) curl() string {
	const now = "$(date +%s)"
	line := `curl -sS -w '\n%{http_code}\n' `
	if p.body != "" {
		return line + fmt.Sprintf(`-d '%s' '%s'`, p.at(`'"`+now+`"'`).body, p.url)
	}
	return line + fmt.Sprintf(`"%s"`, p.at(now).url)
}

// sends are requests that store a point, reads those that show one.
func (d *demo) sends() []paste {
	base := "http://" + d.gateway.Addr("http").String() + "/flux"
	return []paste{
		{
			what: "a point by GET",
			url:  base + "/metric_data?metric=demo.get&timestamp=%s&value=1.5&key=" + d.key,
		}, {
			what: "a point by POST, which keeps the key out of proxies' logs",
			url:  base + "/metric_data_post",
			body: `{"metric": "demo.post", "timestamp": %s, "value": 2.5, "key": "` + d.key + `"}`,
		}, {
			what: "many points in one POST",
			url:  base + "/metric_data_post",
			body: `{"key": "` + d.key + `", "metrics": [{"metric": "demo.many.a", "timestamp": "%[1]s", "value": "3"}, {"metric": "demo.many.b", "timestamp": "%[1]s", "value": "4"}]}`,
		}, {
			what: "carbon's lines over HTTP",
			url:  base + "/lines?key=" + d.key,
			body: "demo.lines 5 %s",
		},
	}
}

func (d *demo) reads() []paste {
	address := "http://" + d.gateway.Addr("http").String()
	return []paste{
		{
			what: "read back what Carbon has",
			url:  d.carbon.RenderURL + "/render?target=demo.*&target=demo.many.*&from=-10min&until=%s&format=json",
		}, {
			what: "read back what Blueflood has",
			url:  d.blueflood.QueryURL() + "/v2.0/" + tenant + "/views/demo.started?from=0&to=%s999&resolution=FULL",
		}, {
			what: "what became of a metric's points; a point counts as delivered once Carbon has confirmed it, after 2 s",
			url:  address + "/flux/trace?metric=demo.post&key=" + d.key,
		}, {
			what: "is it up, and would it take a point? 503 if not; a Carbon that is down is told, with 200",
			url:  address + "/readyz",
		}, {
			what: "is it up at all?",
			url:  address + "/healthz",
		}, {
			what: "its figures, for Prometheus",
			url:  address + "/metrics",
		},
	}
}

// announce prints where everything is and what to paste.
func (d *demo) announce(shown *lines) {
	shown.printf(`fluxkit in one process. Nothing is stored on disk; Ctrl-C ends it.

  gateway    HTTP      http://%s/flux
             line      %s
             pickle    %s       all of them on to the in-process Carbon
  forwarder  line      %s
             pickle    %s       both on to the in-process Blueflood
  Carbon     render    %s
  Blueflood  ingest    %s
             query     %s
  API key              %s

Paste into another terminal:
`,
		d.gateway.Addr("http"), d.gateway.Addr("line"), d.gateway.Addr("pickle"),
		d.forwarder.Addr("line"), d.forwarder.Addr("pickle"),
		d.carbon.RenderURL, d.blueflood.IngestURL(), d.blueflood.QueryURL(), d.key)
	for _, p := range append(d.sends(), d.reads()...) {
		shown.printf("# %s\n%s\n", p.what, p.curl())
	}
	shown.printf("# carbon's own protocols\ngo run ./cmd/flux send --to line://%s demo.line 5\ngo run ./cmd/flux send --to pickle://%s demo.pickle 6\n",
		d.gateway.Addr("line"), d.forwarder.Addr("pickle"))
	shown.printf("What arrives:")
}
