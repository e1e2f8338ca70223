package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/fluxmetrics/fluxkit/flux/backfill"
	"github.com/fluxmetrics/fluxkit/flux/ingest"
	"github.com/fluxmetrics/fluxkit/graphite"
)

const (
	maxFileSamples = 50_000_000 // of all metrics together: 16 bytes each
	sliceSamples   = 500_000    // of one slice
	toldLines      = 10         // bad lines that an error shows
)

// fileSample is a value at a time, in Unix milliseconds.
type fileSample struct {
	at    int64
	value float64
}

// fileSource has the metrics of a file. It answers as a Graphite does, at an address of this host that only this process
// knows in full, so that what comes from a file goes the way of what comes from elsewhere.
type fileSource struct {
	metrics map[string][]fileSample // in the order of time
	names   []string
	outside int // points that were left out
	base    string
	server  *http.Server
}

// openFile reads --file and serves it.
func (c *backfillCmd) openFile(p *backfillPlan) error {
	r := c.fileReader(p.from, p.until)
	if err := r.read(); err != nil {
		return fmt.Errorf("--file: %w", err)
	}
	p.leave(r.wrong, "line", r.bad...)
	s := &fileSource{metrics: r.metrics, outside: r.outside}
	for _, name := range c.Target {
		local, err := c.localName(name)
		if err != nil {
			return err
		}
		if r.metrics[local] == nil {
			return fmt.Errorf("--file %s has no metric %s", c.File, local)
		}
		s.names = append(s.names, local)
	}
	if len(s.names) == 0 {
		s.names = slices.Sorted(maps.Keys(r.metrics))
	}
	if len(s.names) == 0 {
		return fmt.Errorf("--file %s has no point between %s and %s", c.File, stamp(p.from), stamp(p.until))
	}
	for _, samples := range r.metrics {
		slices.SortStableFunc(samples, func(a, b fileSample) int { return int(min(1, max(-1, a.at-b.at))) })
	}
	if err := s.listen(); err != nil {
		return err
	}
	p.source, p.ends = s, append(p.ends, func() { s.server.Close() })
	return nil
}

func (s *fileSource) listen() error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("--file: %w", err)
	}
	token := rand.Text()
	s.base = "http://" + l.Addr().String() + "/" + token
	mux := http.NewServeMux()
	mux.HandleFunc("GET /"+token+"/render", s.render)
	s.server = &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = s.server.Serve(l) }()
	return nil
}

// render answers with what is later than from and not later than until.
func (s *fileSource) render(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	from, err1 := strconv.ParseInt(q.Get("from"), 10, 64)
	until, err2 := strconv.ParseInt(q.Get("until"), 10, 64)
	if err := errors.Join(err1, err2); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	out := bufio.NewWriter(w)
	defer out.Flush()
	fmt.Fprintf(out, `[{"target": %s, "datapoints": [`, strconv.QuoteToASCII(q.Get("target")))
	var line []byte
	comma := ""
	for _, p := range s.metrics[q.Get("target")] {
		if p.at > from*1000 && p.at <= until*1000 {
			line = append(append(line[:0], comma...), '[')
			line = append(strconv.AppendFloat(line, p.value, 'g', -1, 64), ", "...)
			line = append(append(line, seconds(p.at)...), ']')
			_, _ = out.Write(line)
			comma = ",\n"
		}
	}
	_, _ = out.WriteString("]}]\n")
}

func (s *fileSource) hostType() backfill.HostType { return backfill.Graphite }

func (s *fileSource) origin() (backfill.Origin, error) {
	u, err := url.Parse(s.base)
	if err != nil {
		return backfill.Origin{}, err
	}
	return backfill.ParseOrigin("http://" + u.Host)
}

func (s *fileSource) list(context.Context) ([]history, error) {
	out := make([]history, len(s.names))
	for i, name := range s.names {
		out[i] = history{name, name}
	}
	return out, nil
}

// urls cuts a metric into slices that an answer can hold, at whole minutes.
func (s *fileSource) urls(h history) ([]string, error) {
	samples := s.metrics[h.Target]
	var out []string
	for len(samples) > 0 {
		n := min(len(samples), sliceSamples)
		for n < len(samples) && samples[n].at/minuteMS == samples[n-1].at/minuteMS {
			n++
		}
		begin, end := samples[0].at/minuteMS*minuteMS, samples[n-1].at/minuteMS*minuteMS+minuteMS-1000
		out = append(out, s.base+"/render?from="+wholeSeconds(begin)+"&until="+wholeSeconds(end)+"&target="+url.QueryEscape(h.Target))
		samples = samples[n:]
	}
	return out, nil
}

// fileReader reads the metrics of a file.
type fileReader struct {
	cmd         *backfillCmd
	from, until int64
	metrics     map[string][]fileSample
	names       map[string]string // as they stand in the file, to those here
	spelt       map[string]string // those here, to the first as it stands in the file
	parser      ingest.Parser
	samples     int
	outside     int
	bad         []error
	wrong       int
}

func (c *backfillCmd) fileReader(from, until int64) *fileReader {
	return &fileReader{
		cmd: c, from: from, until: until,
		metrics: map[string][]fileSample{}, names: map[string]string{}, spelt: map[string]string{},
	}
}

func (r *fileReader) read() error {
	f, err := os.Open(r.cmd.File)
	if err != nil {
		return err
	}
	defer f.Close()
	if strings.EqualFold(filepath.Ext(r.cmd.File), ".csv") {
		err = r.csv(f)
	} else {
		err = r.lines(f)
	}
	if err != nil {
		return err
	}
	if r.wrong > 0 && (!r.cmd.SkipBad || len(r.metrics) == 0) {
		hint := ""
		if !r.cmd.SkipBad {
			hint = " (--skip-bad leaves such lines out)"
		}
		return fmt.Errorf("%s cannot be read, nothing was sent%s: %w", counted(int64(r.wrong), "line"), hint, errors.Join(r.bad...))
	}
	return nil
}

// refuse notes a line that cannot be read.
func (r *fileReader) refuse(line int, err error) {
	if r.wrong++; r.wrong <= toldLines {
		r.bad = append(r.bad, fmt.Errorf("line %d: %w", line, err))
	}
}

// add takes a point.
func (r *fileReader) add(name string, at int64, value float64) error {
	if math.IsNaN(value) || math.IsInf(value, 0) {
		return fmt.Errorf("%v is no finite value", value)
	}
	local, known := r.names[name]
	if !known {
		var err error
		if local, err = r.name(name); err != nil {
			return err
		}
	}
	if at < r.from || at >= r.until {
		r.outside++
		return nil
	}
	if r.samples++; r.samples > maxFileSamples {
		return fmt.Errorf("more than %d points: split the file", maxFileSamples)
	}
	r.metrics[local] = append(r.metrics[local], fileSample{at, value})
	return nil
}

// name is the name here of one that has not been seen yet. Two of the file that would be one here are refused, unless they
// are one to Graphite as well, which does not heed the order of tags.
func (r *fileReader) name(name string) (string, error) {
	full, err := r.parser.Name([]byte(name), "")
	local := ""
	if err == nil {
		local, err = r.cmd.localName(string(full))
	}
	if err != nil {
		return "", fmt.Errorf("%.200q is no name of a metric: %w", name, err)
	}
	if r.cmd.As != "" && len(r.names) > 0 {
		return "", errors.New("--as names one metric, and the file has several: use --prefix")
	}
	series := func(s string) string {
		if one, err := graphite.NormaliseSeries(s); err == nil {
			return one
		}
		return s
	}
	if other, taken := r.spelt[local]; !taken {
		r.spelt[local] = name
	} else if series(other) != series(name) {
		return "", fmt.Errorf("%.200q and %.200q would both be %s here: rename one of them in the file", other, name, local)
	}
	r.names[name] = local
	return local, nil
}

// lines reads carbon's lines.
func (r *fileReader) lines(f io.Reader) error {
	in := bufio.NewScanner(f)
	in.Buffer(make([]byte, maxSendLine), maxSendLine)
	now := time.Now()
	for n := 1; in.Scan(); n++ {
		text := bytes.TrimSpace(in.Bytes())
		if len(text) == 0 || text[0] == '#' {
			continue
		}
		p, err := graphite.ParseLine(text, now)
		if err == nil {
			err = r.add(string(p.Name), p.Timestamp, p.Value)
		}
		if err != nil {
			r.refuse(n, err)
		}
	}
	return in.Err()
}

// csv reads rows of commas, semicolons or tabs, of which the first row has most.
func (r *fileReader) csv(f io.Reader) error {
	zone, err := time.LoadLocation(r.cmd.TimeZone)
	if err != nil {
		return fmt.Errorf("--time-zone: %w", err)
	}
	buffered := bufio.NewReaderSize(f, maxSendLine)
	head, _ := buffered.Peek(maxSendLine)
	head = bytes.TrimPrefix(head, []byte("\ufeff"))
	first, _, _ := bytes.Cut(head, []byte("\n"))
	in := csv.NewReader(buffered)
	in.ReuseRecord, in.TrimLeadingSpace, in.Comma = true, true, ','
	for _, c := range ";\t" {
		if strings.Count(string(first), string(c)) > strings.Count(string(first), string(in.Comma)) {
			in.Comma = c
		}
	}
	row, err := in.Read()
	if err != nil {
		return err
	}
	columns, err := csvColumns(row)
	if err != nil {
		return err
	}
	for {
		row, err := in.Read()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if parse := (*csv.ParseError)(nil); errors.As(err, &parse) {
			r.refuse(parse.Line, parse.Err)
			continue
		}
		if err != nil {
			return err
		}
		if err := columns.take(r, row, zone); err != nil {
			line, _ := in.FieldPos(0)
			r.refuse(line, err)
		}
	}
}

// columns say what stands in which column of a CSV file; -1: in none.
type columns struct {
	time, metric, value int
	names               []string // of the metrics whose columns these are, "" for another
}

func csvColumns(row []string) (*columns, error) {
	c := &columns{time: -1, metric: -1, value: -1}
	for i, text := range row {
		name := strings.TrimSpace(strings.TrimPrefix(text, "\ufeff"))
		c.names = append(c.names, name)
		to := (*int)(nil)
		switch strings.ToLower(name) {
		case "timestamp", "time", "date", "datetime":
			to = &c.time
		case "metric":
			to = &c.metric
		case "value":
			to = &c.value
		}
		if to != nil && *to >= 0 {
			return nil, fmt.Errorf("the first row has two columns for one thing: %s and %s", row[*to], name)
		}
		if to != nil {
			*to = i
		}
	}
	if c.time < 0 {
		return nil, errors.New("the first row names no column timestamp, time, date or datetime")
	}
	if len(row) < 2 {
		return nil, errors.New("the first row names no column of values")
	}
	if c.metric >= 0 && c.value < 0 {
		return nil, errors.New("the first row names a column metric, and none value")
	}
	for i, name := range c.names {
		if c.metric < 0 && name != "" && slices.Contains(c.names[:i], name) {
			return nil, fmt.Errorf("the first row has two columns %.200s: rename one of them", name)
		}
	}
	return c, nil
}

// take adds the points of a row.
func (c *columns) take(r *fileReader, row []string, zone *time.Location) error {
	at, err := parseInstant(row[c.time], zone)
	if err != nil {
		return err
	}
	for i, text := range row {
		name := c.names[i]
		switch {
		case c.metric >= 0:
			if i != c.value {
				continue
			}
			name = row[c.metric]
		case i == c.time:
			continue
		}
		if text = strings.TrimSpace(text); text == "" {
			continue
		}
		value, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return fmt.Errorf("%.60q is no value", text)
		}
		if err := r.add(name, at, value); err != nil {
			return err
		}
	}
	return nil
}
