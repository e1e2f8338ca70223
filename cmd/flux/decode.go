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

Points go to standard output. Whatever cannot be read goes to standard error, with the message's offset in the input,
the item's index in the message and its offset there, and makes the exit code 1.`
}

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
		if err := d.file(ctx.ctx, name, ctx.stdin); err != nil {
			d.report("%v", err)
		}
	}
	if err := d.out.Flush(); err != nil {
		return err
	}
	if d.bad > 0 {
		return fmt.Errorf("%d %s could not be read; %d %s could", d.bad, plural(d.bad, "thing"), d.points, plural(d.points, "point"))
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
	decoded bool   // the last message was read to its end
	line    []byte
}

func newPickleDump(c *decodeCmd, out, errs io.Writer) *pickleDump {
	d := &pickleDump{cmd: c, out: bufio.NewWriter(out), errs: errs}
	d.decoder.Limits.Body = c.Limit
	d.decoder.MultiPoint = c.MultiPoint
	d.decoder.OnItemError = func(e pickle.ItemError) { d.report("%s: %v", d.where, e) }
	return d
}

func (d *pickleDump) report(format string, args ...any) {
	d.bad++
	fmt.Fprintf(d.errs, format+"\n", args...)
}

// file decodes one capture.
func (d *pickleDump) file(ctx context.Context, name string, stdin io.Reader) error {
	var r io.Reader = stdin
	if name == "-" {
		name = "standard input"
	} else {
		f, err := os.Open(name)
		if err != nil {
			return err
		}
		defer f.Close()
		r = f
	}
	if d.cmd.Hex {
		r = hex.NewDecoder(&hexText{r: bufio.NewReader(r)})
	}
	d.count = 0
	if d.cmd.Raw {
		return d.raw(ctx, name, r)
	}
	return d.frames(ctx, name, r)
}

// frames decodes length-prefixed messages.
func (d *pickleDump) frames(ctx context.Context, name string, r io.Reader) error {
	in := bufio.NewReader(r)
	head, _ := in.Peek(2)
	f := pickle.NewFrameReader(in, d.cmd.Limit)
	for offset := int64(0); ctx.Err() == nil; {
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
		d.message(name, offset, body)
		if rest := len(body) - d.decoder.Consumed(); d.decoded && rest > 0 {
			d.report("%s: %d bytes after the end of the pickle are ignored, as carbon ignores them", d.where, rest)
		}
		offset += 4 + int64(len(body))
	}
	return ctx.Err()
}

// looksRaw reports whether a capture starts as pickles do.
func looksRaw(head []byte) bool {
	return len(head) == 2 && (head[0] == 0x80 && head[1] <= 5 || head[0] == ']' || head[0] == '(')
}

// raw decodes pickles that follow each other without anything between them.
func (d *pickleDump) raw(ctx context.Context, name string, r io.Reader) error {
	rest, err := io.ReadAll(r)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	for offset := int64(0); ctx.Err() == nil && len(bytes.TrimSpace(rest)) > 0; {
		d.message(name, offset, rest[:min(len(rest), d.cmd.Limit)])
		if !d.decoded { // where the next one starts cannot be known
			return nil
		}
		n := d.decoder.Consumed()
		rest = rest[n:]
		offset += int64(n)
	}
	return ctx.Err()
}

// message decodes one pickle.
func (d *pickleDump) message(name string, offset int64, body []byte) {
	d.count++
	d.where = fmt.Sprintf("%s: message %d (at byte %d)", name, d.count, offset)
	err := d.decoder.Decode(body, d.point)
	if d.decoded = err == nil; !d.decoded {
		d.report("%s: %v", d.where, err)
	}
}

func (d *pickleDump) point(p pickle.Datapoint) {
	if d.cmd.Format == "json" {
		d.json(p)
		return
	}
	if err := pickle.CheckName(p.Name); err != nil {
		d.report("%s: %v: %q", d.where, err, p.Name)
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
		d.report("%s: %q: %v", d.where, p.Name, err)
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
		c, err := h.r.ReadByte()
		if err != nil {
			if n > 0 {
				err = nil
			}
			return n, err
		}
		switch c {
		case ' ', '\t', '\r', '\n', ':', ',':
			if n > 0 && h.r.Buffered() == 0 { // give what is here before waiting for more
				return n, nil
			}
			continue
		}
		p[n] = c
		n++
	}
	return n, nil
}
