package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/fluxmetrics/fluxkit/graphite"
)

const (
	sendBatch   = 450 // what Flux's documentation advises for one POST
	maxSendLine = 64 << 10
)

// sendCmd sends datapoints and says what became of them.
type sendCmd struct {
	To      string   `required:"" placeholder:"URL" help:"line://host:port, pickle://host:port, or http://host:port for a Flux gateway."`
	Key     string   `placeholder:"KEY" help:"API key for http. Others on this host can read a command line: prefer --key-file."`
	KeyFile string   `placeholder:"FILE" help:"File that holds the API key."`
	Timeout span     `default:"10s" placeholder:"TIME" help:"How long to wait for the destination, in seconds or as 90s, 5m."`
	Point   []string `arg:"" optional:"" help:"METRIC VALUE [TIMESTAMP]. Without it, such lines are read from standard input. Without a timestamp, now."`
}

func (c *sendCmd) Help() string {
	return `Examples:

  flux send --to line://127.0.0.1:2003 servers.web.load 0.5
  flux send --to pickle://127.0.0.1:2004 < points.txt
  flux send --to http://127.0.0.1:8000 --key-file key.txt servers.web.load 0.5 1700000000`
}

// outlet is somewhere to send to. refused is called for each point that is not taken.
type outlet interface {
	send(ctx context.Context, pts []graphite.Point, refused func(p graphite.Point, why string)) error
	// finish returns how many points the destination has taken, once it has all that it is going to take.
	finish(ctx context.Context) (taken int, err error)
}

// refusals counts, and shows, the points that are not taken. They are reported from more than one goroutine.
type refusals struct {
	mu sync.Mutex
	w  io.Writer
	n  int
}

func (r *refusals) point(p graphite.Point, why string) {
	r.text(strings.TrimSpace(string(graphite.AppendLine(nil, p))) + ": " + why)
}

func (r *refusals) text(s string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.n++
	fmt.Fprintf(r.w, "refused: %s\n", s)
}

// Run sends.
func (c *sendCmd) Run(ctx *cmdContext) error {
	refused := &refusals{w: ctx.stderr}
	u, err := url.Parse(c.To)
	if err != nil || u.Host == "" {
		return &exitError{exitUsage, errors.New("--to is not line://host:port, pickle://host:port or http://host:port")}
	}
	out, err := c.outlet(u, refused)
	if err != nil {
		return &exitError{exitUsage, err}
	}
	input := ctx.stdin
	if len(c.Point) > 0 {
		input = strings.NewReader(strings.Join(c.Point, " ") + "\n")
	}
	sendErr := c.pump(ctx.ctx, input, out, refused)
	limit, cancel := context.WithTimeout(context.WithoutCancel(ctx.ctx), time.Duration(c.Timeout))
	defer cancel()
	taken, err := out.finish(limit)
	refused.mu.Lock()
	defer refused.mu.Unlock()
	fmt.Fprintf(ctx.stdout, "%d %s sent to %s, %d refused\n", taken, plural(taken, "point"), u.Redacted(), refused.n)
	if err := errors.Join(sendErr, err); err != nil {
		return err
	}
	if refused.n > 0 {
		return fmt.Errorf("%d %s refused", refused.n, plural(refused.n, "point"))
	}
	return nil
}

func plural(n int, word string) string {
	if n == 1 {
		return word
	}
	return word + "s"
}

// inputLine is a line of the input, or what ended it.
type inputLine struct {
	text string
	more bool // another line can be had without waiting
	err  error
}

// readInput sends the lines of input until it ends or ctx does. Reading itself cannot be interrupted, so that it has a
// goroutine of its own, which a process that ends leaves behind.
func readInput(ctx context.Context, input io.Reader) <-chan inputLine {
	lines := make(chan inputLine)
	go func() {
		defer close(lines)
		in := bufio.NewReaderSize(input, maxSendLine)
		for {
			b, err := in.ReadSlice('\n')
			select {
			case lines <- inputLine{strings.TrimSpace(string(b)), in.Buffered() > 0, err}:
			case <-ctx.Done():
				return
			}
			if err != nil {
				return
			}
		}
	}()
	return lines
}

// pump reads lines and hands their points on in batches, none later than the input pauses for. When ctx ends it hands on
// what it has read.
func (c *sendCmd) pump(ctx context.Context, input io.Reader, out outlet, refused *refusals) error {
	var batch graphite.Batch
	flush := func() error {
		if batch.Len() == 0 {
			return nil
		}
		limit, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Duration(c.Timeout))
		defer cancel()
		defer batch.Reset()
		return out.send(limit, batch.Points(), refused.point)
	}
	lines := readInput(ctx, input)
	for n := 1; ; n++ {
		var line inputLine
		select {
		case line = <-lines:
		case <-ctx.Done():
			return errors.Join(flush(), errors.New("interrupted before the end of the input"))
		}
		if errors.Is(line.err, bufio.ErrBufferFull) {
			return errors.Join(flush(), fmt.Errorf("line %d of the input is longer than %d bytes", n, maxSendLine))
		}
		if line.text != "" {
			if p, err := parsePoint([]byte(line.text)); err != nil {
				refused.text(fmt.Sprintf("line %d, %.100q: %v", n, line.text, err))
			} else {
				batch.Add(string(p.Name), time.UnixMilli(p.Timestamp), p.Value)
			}
		}
		if batch.Len() >= sendBatch || line.err != nil || !line.more {
			if err := flush(); err != nil {
				return err
			}
		}
		if errors.Is(line.err, io.EOF) {
			return nil
		}
		if line.err != nil {
			return fmt.Errorf("reading the input: %w", line.err)
		}
	}
}

// parsePoint reads "METRIC VALUE [TIMESTAMP]".
func parsePoint(text []byte) (graphite.Point, error) {
	now := time.Now()
	switch n := len(bytes.Fields(text)); n {
	case 2:
		return graphite.ParseLine(fmt.Appendf(nil, "%s %d", text, now.Unix()), now)
	case 3:
		return graphite.ParseLine(text, now)
	default:
		return graphite.Point{}, fmt.Errorf("%d %s where METRIC VALUE [TIMESTAMP] is wanted", n, plural(n, "word"))
	}
}

// outlet opens what --to names.
func (c *sendCmd) outlet(u *url.URL, refused *refusals) (outlet, error) {
	switch u.Scheme {
	case "line", "pickle":
		if u.Port() == "" {
			return nil, fmt.Errorf("--to %q lacks a port, such as 2003 for line or 2004 for pickle", u.Redacted())
		}
		protocol := graphite.Line
		if u.Scheme == "pickle" {
			protocol = graphite.Pickle
		}
		return openCarbonOutlet(u.Host, protocol, refused)
	case "http", "https":
		key := c.Key
		if c.KeyFile != "" {
			line, err := readSecret(c.KeyFile)
			if err != nil {
				return nil, fmt.Errorf("--key-file: %w", err)
			}
			first, _, err := parseKey(line) // the server's own file of keys will do
			if err != nil {
				return nil, fmt.Errorf("--key-file: %s: the first line %w", c.KeyFile, err)
			}
			key = first.Secret
		}
		if u.Path == "" || u.Path == "/" {
			u = u.JoinPath("/flux/metric_data_post")
		}
		return &httpOutlet{url: u, key: key, client: &http.Client{}}, nil
	}
	return nil, fmt.Errorf("--to %q: %q is not known: use line, pickle or http", u.Redacted(), u.Scheme)
}

// carbonOutlet delivers through the client that the server uses too, confirmation included.
type carbonOutlet struct {
	client *graphite.Client
	taken  int
	addr   string
}

func openCarbonOutlet(addr string, protocol graphite.Protocol, refused *refusals) (outlet, error) {
	o := &carbonOutlet{addr: addr}
	var err error
	o.client, err = graphite.NewClient(graphite.ClientConfig{
		Addrs: []string{addr}, Protocol: protocol,
		Delivered: func(pts []graphite.Point, _ []byte) { o.taken += len(pts) },
		Failed: func(pts []graphite.Point, _ []byte, why []graphite.Failure) error {
			for i := range pts {
				refused.point(pts[i], strings.TrimSpace(why[i].Reason+" "+why[i].Detail))
			}
			return nil
		},
	})
	return o, err
}

func (o *carbonOutlet) send(ctx context.Context, pts []graphite.Point, _ func(graphite.Point, string)) error {
	return o.client.Send(ctx, pts)
}

func (o *carbonOutlet) finish(ctx context.Context) (int, error) {
	err := o.client.Close(ctx)
	var left *graphite.UndeliveredError
	if errors.As(err, &left) {
		why := o.client.Stats().LastError
		if why == "" {
			why = "it took the bytes and did not confirm them in time"
		}
		err = fmt.Errorf("%d %s not confirmed by %s: %s", left.Points, plural(int(left.Points), "point"), o.addr, why)
	}
	return o.taken, err
}

// httpOutlet posts to a Flux gateway.
type httpOutlet struct {
	url    *url.URL
	key    string
	client *http.Client
	taken  int
}

type postedPoint struct {
	Metric    string  `json:"metric"`
	Timestamp int64   `json:"timestamp"`
	Value     float64 `json:"value"`
}

// send posts the points. When the gateway refuses them for one that is bad, which keeps none, each goes alone.
func (o *httpOutlet) send(ctx context.Context, pts []graphite.Point, refused func(graphite.Point, string)) error {
	code, message, err := o.post(ctx, pts)
	switch {
	case err != nil:
		return err
	case code/100 == 2:
		o.taken += len(pts)
		return nil
	case code == http.StatusBadRequest && len(pts) == 1:
		refused(pts[0], message)
		return nil
	case code == http.StatusBadRequest:
		for i := range pts {
			if err := o.send(ctx, pts[i:i+1], refused); err != nil {
				return err
			}
		}
		return nil
	}
	return fmt.Errorf("%s answered %d %s: %s", o.url.Redacted(), code, http.StatusText(code), message)
}

func (o *httpOutlet) post(ctx context.Context, pts []graphite.Point) (code int, message string, err error) {
	body := struct {
		Key     string        `json:"key,omitempty"`
		Metrics []postedPoint `json:"metrics"`
	}{Key: o.key}
	for i := range pts {
		body.Metrics = append(body.Metrics, postedPoint{string(pts[i].Name), pts[i].Timestamp / 1000, pts[i].Value})
	}
	b, err := json.Marshal(body)
	if err != nil {
		return 0, "", fmt.Errorf("values that JSON cannot carry: %w", err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, o.url.String(), bytes.NewReader(b))
	if err != nil {
		return 0, "", err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := o.client.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	var told struct{ Message string }
	if json.Unmarshal(answer, &told) == nil && told.Message != "" {
		return resp.StatusCode, told.Message, nil
	}
	return resp.StatusCode, string(answer), err
}

func (o *httpOutlet) finish(context.Context) (int, error) { return o.taken, nil }
