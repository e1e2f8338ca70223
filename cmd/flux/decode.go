package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"strconv"

	"github.com/fluxmetrics/fluxkit/pickle"
)

// decodeCmd shows what a capture of carbon's pickle protocol holds.
type decodeCmd struct {
	Raw        bool     `help:"The input is pickles without length prefixes, one after the other."`
	Hex        bool     `help:"The input is hexadecimal text. White space, colons and commas do not count."`
	Format     string   `enum:"lines,json" default:"lines" help:"How points are printed: carbon lines, or a JSON object a line."`
	Limit      int      `default:"1048576" placeholder:"BYTES" help:"Longest message."`
	MultiPoint bool     `help:"Accept items of several points, as go-carbon does."`
	Files      []string `arg:"" optional:"" help:"Captures to read. Without one, or for -, standard input."`
}

func (c *decodeCmd) Help() string {
	return `Examples:

  flux decode capture.bin
  nc -l 2004 | flux decode --format json
  echo '80 02 5d 55 01 61 4b 01 4b 02 86 86 61 2e' | flux decode --raw --hex

Points go to standard output, at the latest when the input pauses; with --raw, once the input has ended. Whatever cannot be read goes to standard error, with the message's offset in the input,
the item's index in the message and its offset there, and makes the exit code 1. A signal ends the input early: what
has been read by then is shown.`
}

var errInterrupted = errors.New("interrupted before the end of the input")

// Run decodes all files.
func (c *decodeCmd) Run(ctx *cmdContext) error {
	if c.Limit <= 0 {
		return &exitError{exitUsage, fmt.Errorf("--limit %d: must be above 0", c.Limit)}
	}
	d := newPickleDump(c, ctx.stdout, ctx.stderr)
	files := c.Files
	if len(files) == 0 {
		files = []string{"-"}
	}
	for _, name := range files {
		err := d.file(ctx.ctx, name, ctx.stdin)
		if failed := d.out.Flush(); failed != nil {
			return failed
		}
		if errors.Is(err, errInterrupted) {
			return fmt.Errorf("%w; %s", err, d.summary())
		}
		if err != nil {
			d.report("%v", err)
		}
	}
	if d.bad > 0 {
		return errors.New(d.summary())
	}
	return nil
}

// pickleDump prints the points of captures.
type pickleDump struct {
	cmd     *decodeCmd
	decoder pickle.Decoder
	out     *bufio.Writer
	errs    io.Writer
	points  int
	bad     int // what was reported

	where   string // the message at hand: file, number, offset
	count   int    // messages of this file so far
	err     error  // of the last message
	next    int    // index of the message's next item
	emitted int    // points of the message so far
	line    []byte
}

func newPickleDump(c *decodeCmd, out, errs io.Writer) *pickleDump {
	d := &pickleDump{cmd: c, out: bufio.NewWriter(out), errs: errs}
	d.decoder.Limits.Body = c.Limit
	d.decoder.MultiPoint = c.MultiPoint
	d.decoder.OnItemError = func(e pickle.ItemError) {
		d.next = e.Index + 1
		d.report("%s: %v", d.where, e)
	}
	return d
}

func (d *pickleDump) summary() string {
	return fmt.Sprintf("%d %s could not be read; %d %s could", d.bad, plural(d.bad, "thing"), d.points, plural(d.points, "point"))
}

func (d *pickleDump) report(format string, args ...any) {
	d.bad++
	fmt.Fprintf(d.errs, format+"\n", args...)
}

// file decodes one capture. The error matches errInterrupted if ctx ended before the capture did.
func (d *pickleDump) file(ctx context.Context, name string, stdin io.Reader) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	src := stdin
	if name == "-" {
		name = "standard input"
	} else {
		f, err := os.Open(name)
		if err != nil {
			return err
		}
		defer f.Close() // which also ends a read that waits for a pipe
		src = f
	}
	var r io.Reader = newLiveInput(ctx, src, d.out.Flush)
	if d.cmd.Hex {
		r = hex.NewDecoder(&hexText{r: bufio.NewReader(r)})
	}
	d.count = 0
	if d.cmd.Raw {
		return d.raw(ctx, name, r)
	}
	return d.frames(name, r)
}

// frames decodes length-prefixed messages.
func (d *pickleDump) frames(name string, r io.Reader) error {
	in := bufio.NewReader(r)
	head, _ := in.Peek(2)
	f := pickle.NewFrameReader(in, d.cmd.Limit)
	for offset := int64(0); ; {
		body, err := f.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			hint := ""
			if errors.Is(err, pickle.ErrFrameTooLarge) && offset == 0 && looksRaw(head) {
				hint = "; this looks like a pickle without a length prefix: try --raw"
			}
			return fmt.Errorf("%s: at byte %d: %w%s", name, offset, err, hint)
		}
		d.message(name, offset, body, false)
		if rest := len(body) - d.decoder.Consumed(); d.err == nil && rest > 0 {
			d.report("%s: %d bytes after the end of the pickle are ignored, as carbon ignores them", d.where, rest)
		}
		offset += 4 + int64(len(body))
	}
}

// looksRaw reports whether a capture starts as pickles do.
func looksRaw(head []byte) bool {
	return len(head) == 2 && (head[0] == 0x80 && head[1] <= 5 || head[0] == ']' || head[0] == '(')
}

// raw decodes pickles that follow each other with nothing but white space between them, which no opcode is. When ctx ends
// the input, it decodes what has been read.
func (d *pickleDump) raw(ctx context.Context, name string, r io.Reader) error {
	all, readErr := io.ReadAll(r)
	if readErr != nil && !errors.Is(readErr, errInterrupted) {
		return fmt.Errorf("%s: %w", name, readErr)
	}
	for rest := all; ; {
		rest = bytes.TrimLeft(rest, " \t\r\n\v\f")
		if len(rest) == 0 {
			break
		}
		if readErr == nil && ctx.Err() != nil {
			readErr = errInterrupted
			break
		}
		n := min(len(rest), d.cmd.Limit)
		d.message(name, int64(len(all)-len(rest)), rest[:n], n < len(rest))
		if d.err != nil { // where the next one starts cannot be known
			break
		}
		rest = rest[d.decoder.Consumed():]
	}
	if readErr != nil {
		return fmt.Errorf("%s: %w", name, readErr)
	}
	return nil
}

// message decodes one pickle. Of one that is cut, the input has more than --limit lets through.
func (d *pickleDump) message(name string, offset int64, body []byte, cut bool) {
	d.count++
	d.next, d.emitted = 0, 0
	d.where = fmt.Sprintf("%s: message %d (at byte %d)", name, d.count, offset)
	d.err = d.decoder.Decode(body, d.point)
	switch {
	case cut && errors.Is(d.err, pickle.ErrTruncated):
		d.report("%s: longer than the limit of %d bytes: give a larger --limit", d.where, d.cmd.Limit)
	case d.err != nil:
		d.report("%s: %v", d.where, d.err)
	}
}

// at names the point that is being handed out, by the item it is in. Items of several points cannot be told apart here:
// with --multi-point, points are counted.
func (d *pickleDump) at() string {
	if d.cmd.MultiPoint {
		return fmt.Sprintf("point %d", d.emitted-1)
	}
	return fmt.Sprintf("item %d", d.next-1)
}

func (d *pickleDump) point(p pickle.Datapoint) {
	d.next++
	d.emitted++
	if d.cmd.Format == "json" {
		d.json(p)
		return
	}
	if err := pickle.CheckName(p.Name); err != nil {
		d.report("%s: %s: %v: %q", d.where, d.at(), err, p.Name)
		return
	}
	d.points++
	d.line = append(append(d.line[:0], p.Name...), ' ')
	d.line = append(appendNumber(d.line, p.Value), ' ')
	d.line = append(appendNumber(d.line, p.Timestamp), '\n')
	d.out.Write(d.line) // Flush tells of a failure
}

// json prints a point as an object. JSON has no NaN and no infinity: those are
// strings.
func (d *pickleDump) json(p pickle.Datapoint) {
	d.points++
	name, err := json.Marshal(string(p.Name))
	if err != nil {
		d.report("%s: %s: %q: %v", d.where, d.at(), p.Name, err)
		return
	}
	d.line = strconv.AppendInt(append(d.line[:0], `{"message":`...), int64(d.count), 10)
	d.line = append(append(d.line, `,"metric":`...), name...)
	d.line = appendJSONNumber(append(d.line, `,"timestamp":`...), p.Timestamp)
	d.line = appendJSONNumber(append(d.line, `,"value":`...), p.Value)
	d.out.Write(append(d.line, "}\n"...))
}

func appendJSONNumber(b []byte, f float64) []byte {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return append(appendNumber(append(b, '"'), f), '"')
	}
	return appendNumber(b, f)
}

// appendNumber writes f in full, as carbon and people read it.
func appendNumber(b []byte, f float64) []byte {
	switch {
	case math.IsNaN(f):
		return append(b, "nan"...)
	case math.IsInf(f, 1):
		return append(b, "inf"...)
	case math.IsInf(f, -1):
		return append(b, "-inf"...)
	case f != 0 && (math.Abs(f) >= 1e21 || math.Abs(f) < 1e-6):
		return strconv.AppendFloat(b, f, 'g', -1, 64)
	}
	return strconv.AppendFloat(b, f, 'f', -1, 64)
}

// hexText gives the hexadecimal digits of a text.
type hexText struct{ r *bufio.Reader }

func (h *hexText) Read(p []byte) (int, error) {
	n := 0
	for n < len(p) {
		if n > 0 && h.r.Buffered() == 0 { // give what is here before waiting for more
			return n, nil
		}
		c, err := h.r.ReadByte()
		if err != nil {
			return n, err
		}
		switch c {
		case ' ', '\t', '\r', '\n', ':', ',':
			continue
		}
		p[n] = c
		n++
	}
	return n, nil
}

// inputChunk is how much a liveInput reads at once.
const inputChunk = 64 << 10

// liveInput is an input that its context can end, and that tells when reading has to wait. Reading a terminal or a pipe
// cannot be interrupted, so that it has a goroutine of its own; a process that ends leaves it behind.
type liveInput struct {
	ctx    context.Context
	idle   func() error // called before a wait
	chunks <-chan chunk
	rest   []byte
	err    error // final
}

type chunk struct {
	b   []byte
	err error
}

func newLiveInput(ctx context.Context, src io.Reader, idle func() error) *liveInput {
	chunks := make(chan chunk)
	go func() {
		// One buffer is filled while the other is read. The channel holds nothing, so that whoever takes a chunk is
		// done with the one before.
		buf, other := make([]byte, inputChunk), make([]byte, inputChunk)
		for {
			n, err := src.Read(buf)
			select {
			case chunks <- chunk{buf[:n], err}:
			case <-ctx.Done():
				return
			}
			if err != nil {
				return
			}
			buf, other = other, buf
		}
	}()
	return &liveInput{ctx: ctx, idle: idle, chunks: chunks}
}

// Read gives what has been read before it tells that the context has ended.
func (l *liveInput) Read(p []byte) (int, error) {
	if len(l.rest) == 0 && l.err == nil {
		l.fill()
	}
	if len(l.rest) == 0 {
		return 0, l.err
	}
	n := copy(p, l.rest)
	l.rest = l.rest[n:]
	return n, nil
}

func (l *liveInput) fill() {
	if l.ctx.Err() != nil {
		l.err = errInterrupted
		return
	}
	var c chunk
	select {
	case c = <-l.chunks:
	default:
		if l.err = l.idle(); l.err != nil {
			return
		}
		select {
		case c = <-l.chunks:
		case <-l.ctx.Done():
			c.err = errInterrupted
		}
	}
	l.rest, l.err = c.b, c.err
}
