package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/fluxmetrics/fluxkit/flux/backfill"
	"github.com/fluxmetrics/fluxkit/flux/ingest"
)

// history is one metric: what the source calls it, and its name here.
type history struct{ Target, Metric string }

// historySource is where history comes from.
type historySource interface {
	// list returns what there is to fetch.
	list(ctx context.Context) ([]history, error)
	// urls returns the slices of one metric.
	urls(h history) ([]string, error)
	// origin is the server that is asked.
	origin() (backfill.Origin, error)
	hostType() backfill.HostType
}

// openSource makes the source that the options name.
func (c *backfillCmd) openSource(p *backfillPlan) error {
	if c.File != "" {
		return c.openFile(p)
	}
	if len(c.Target) == 0 {
		return errors.New("what to fetch is missing: name a metric, a glob or an expression")
	}
	s := &remoteSource{cmd: c, plan: p, base: c.Graphite, kind: backfill.Graphite}
	if c.Prometheus != "" {
		s.base, s.kind = c.Prometheus, backfill.Prometheus
	}
	p.source = s
	if _, err := s.origin(); err != nil {
		return err
	}
	for _, target := range c.Target { // before the first of them is begun
		if _, err := s.urls(history{Target: target}); err != nil {
			return fmt.Errorf("%s: %w", target, err)
		}
	}
	return nil
}

// remoteSource is a Graphite or a Prometheus.
type remoteSource struct {
	cmd  *backfillCmd
	plan *backfillPlan
	base string
	kind backfill.HostType
}

func (s *remoteSource) hostType() backfill.HostType { return s.kind }

// origin is that of an URL which somebody has typed, so that its name may resolve to any address.
func (s *remoteSource) origin() (backfill.Origin, error) {
	u, err := url.Parse(s.base)
	if err != nil {
		return backfill.Origin{}, err
	}
	if u.RawQuery != "" || u.ForceQuery || u.Fragment != "" {
		return backfill.Origin{}, fmt.Errorf("--%s: the URL goes on after its path: leave out what begins with ? or #", s.kind)
	}
	u.Path, u.RawPath = "", ""
	o, err := backfill.ParseOrigin(u.String())
	if err != nil {
		return o, fmt.Errorf("--%s: %w", s.kind, err)
	}
	if _, err := netip.ParseAddr(o.Host); err != nil {
		o.Within = []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")}
	}
	return o, nil
}

// isGlob reports whether a target is a pattern of names, and no expression.
func isGlob(target string) bool {
	return strings.ContainsAny(target, "*?[{") && !strings.ContainsAny(target, "(; \"'")
}

// list implements historySource. Globs are expanded by Graphite's /metrics/find.
func (s *remoteSource) list(ctx context.Context) ([]history, error) {
	var out []history
	seen := map[string]string{}
	for _, target := range s.cmd.Target {
		targets := []string{target}
		glob := s.kind == backfill.Graphite && isGlob(target)
		if glob {
			var err error
			if targets, err = s.find(ctx, target); err != nil {
				return nil, err
			}
			if len(targets) == 0 {
				return nil, fmt.Errorf("%s has no metric %s", s.base, target)
			}
		}
		for _, t := range targets {
			if s.cmd.As != "" && len(out) > 0 {
				return nil, &exitError{exitUsage, errors.New("--as names one metric, and there are several: use --prefix")}
			}
			name, err := s.cmd.localName(t)
			if err != nil && glob && s.cmd.As == "" {
				s.plan.leave(1, "metric", fmt.Errorf("%.200q is left out: it is no name of a metric here", t))
				continue
			}
			if err != nil {
				return nil, err
			}
			if other, taken := seen[name]; taken {
				if other == t {
					continue
				}
				return nil, &exitError{exitUsage, fmt.Errorf("%s and %s would both be %s here: fetch one at a time, with --as NAME", other, t, name)}
			}
			seen[name] = t
			out = append(out, history{t, name})
		}
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("%s has no metric whose name can stand here: fetch one at a time, with --as NAME", s.base)
	}
	return out, nil
}

// localName is the name here of a target.
func (c *backfillCmd) localName(target string) (string, error) {
	if c.As != "" {
		target = c.As
	}
	if c.Prefix != "" {
		target = strings.TrimSuffix(c.Prefix, ".") + "." + target
	}
	path, _, tagged := strings.Cut(target, ";")
	err := ingest.CheckPrefix(path)
	if err == nil && tagged {
		_, err = canonical(target)
	}
	if err != nil || path == "" {
		return "", &exitError{exitUsage, fmt.Errorf("%.200q is no name of a metric: give one with --as NAME", target)}
	}
	return target, nil
}

// maxFound bounds an answer of /metrics/find, in bytes.
const maxFound = 64 << 20

// find returns the metrics that a glob matches.
func (s *remoteSource) find(ctx context.Context, glob string) ([]string, error) {
	u, err := url.Parse(s.base)
	if err != nil {
		return nil, err
	}
	u = u.JoinPath("metrics", "find")
	u.RawQuery = url.Values{
		"query": {glob}, "format": {"completer"}, "from": {wholeSeconds(s.plan.from)}, "until": {wholeSeconds(s.plan.until)},
	}.Encode()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, err
	}
	resp, err := s.plan.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s/metrics/find answered %s", s.base, resp.Status)
	}
	var nodes struct { // of the form completer: that for trees has a glob's own text in place of what it matches
		Metrics []struct {
			Path string `json:"path"`
			Leaf string `json:"is_leaf"` // 1 or 0
		} `json:"metrics"`
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxFound)).Decode(&nodes); err != nil {
		return nil, fmt.Errorf("%s/metrics/find: %w", s.base, err)
	}
	var out []string
	for _, n := range nodes.Metrics {
		if n.Leaf == "1" {
			out = append(out, n.Path)
		}
	}
	if len(out) == 0 && len(nodes.Metrics) > 0 {
		return nil, fmt.Errorf("%s matches folders alone, such as %s: add .* to it", glob, strings.TrimSuffix(nodes.Metrics[0].Path, "."))
	}
	slices.Sort(out)
	return slices.Compact(out), nil
}

// urls implements historySource. All times are absolute.
func (s *remoteSource) urls(h history) ([]string, error) {
	bounds := s.plan.bounds(time.Now())
	if s.kind == backfill.Prometheus {
		return s.prometheus(h, bounds)
	}
	u, err := url.Parse(s.base)
	if err != nil {
		return nil, err
	}
	if !strings.HasSuffix(strings.TrimSuffix(u.Path, "/"), "/render") {
		u = u.JoinPath("render")
	}
	var out []string
	for i := 1; i < len(bounds); i++ {
		u.RawQuery = "from=" + wholeSeconds(bounds[i-1]) + "&until=" + wholeSeconds(bounds[i]-1) + "&format=json&target=" + url.QueryEscape(h.Target)
		out = append(out, u.String())
	}
	return out, nil
}

const (
	maxQueries = 100               // that a job makes for a metric
	querySpan  = 11_000 * minuteMS // of a query that asks for a value a minute
)

// prometheus returns slices that end just before the next one begins, so that each minute is whole in one of them: a
// query takes what is at its end. The parts of a slice of an expression end at a minute of their own.
func (s *remoteSource) prometheus(h history, bounds []int64) ([]string, error) {
	o := backfill.SliceOptions{HostType: s.kind, BaseURL: s.base, Target: h.Target, Now: time.UnixMilli(s.plan.until)}
	for _, at := range bounds[:len(bounds)-1] {
		o.Resolutions = append(o.Resolutions, wholeSeconds(s.plan.until-at)+"s")
	}
	urls, err := backfill.Slices(o)
	if err != nil {
		return nil, err
	}
	for i, text := range urls {
		u, err := url.Parse(text)
		if err != nil {
			return nil, err
		}
		q, name := u.Query(), "time"
		if !q.Has(name) {
			name = "end"
			if err := s.checkQueries(); err != nil {
				return nil, err
			}
		}
		sec, err := strconv.ParseInt(q.Get(name), 10, 64)
		if err != nil {
			return nil, err
		}
		if at := sec * 1000; slices.Contains(bounds, at) {
			q.Set(name, seconds(at-1))
			u.RawQuery = q.Encode()
			urls[i] = u.String()
		}
	}
	return urls, nil
}

// checkQueries returns an error if the period is too long for an expression, with what to type instead. Archives may end
// anywhere and cost a query more each, so that a period that is not too long once is never.
func (s *remoteSource) checkQueries() error {
	from, until := s.plan.from, s.plan.until
	most := (maxQueries - int64(len(s.plan.archives))) * querySpan
	if until-from <= most {
		return nil
	}
	var parts []string
	for at := from; at < until; at += most {
		part := "--from " + stamp(at)
		if s.cmd.Until != "" || at+most < until {
			part += " --until " + stamp(min(at+most, until))
		}
		parts = append(parts, part)
	}
	return fmt.Errorf("%s to %s is too long for an expression, which is fetched in queries of %d minutes, and a run makes at most %d of them for a metric. Run it in parts, the oldest first: %s",
		stamp(from), stamp(until), querySpan/minuteMS, maxQueries, strings.Join(parts, ", then "))
}
