package ingest_test

import (
	"bytes"
	"compress/flate"
	"compress/gzip"
	"compress/zlib"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"

	"github.com/fluxmetrics/fluxkit/flux/ingest"
)

// encodings are what clients compress with.
var encodings = []struct {
	name, header string
	writer       func(io.Writer) io.WriteCloser
}{
	{"none", "", func(w io.Writer) io.WriteCloser { return nopCloser{w} }},
	{"identity", "Identity", func(w io.Writer) io.WriteCloser { return nopCloser{w} }},
	{"gzip", "GZip", func(w io.Writer) io.WriteCloser { return gzip.NewWriter(w) }},
	{"x-gzip", "x-gzip", func(w io.Writer) io.WriteCloser { return gzip.NewWriter(w) }},
	{"zlib", "deflate", func(w io.Writer) io.WriteCloser { return zlib.NewWriter(w) }},
	{"raw deflate", "deflate", func(w io.Writer) io.WriteCloser {
		f, err := flate.NewWriter(w, flate.BestSpeed)
		if err != nil {
			panic(err)
		}
		return f
	}},
}

type nopCloser struct{ io.Writer }

func (nopCloser) Close() error { return nil }

func compress(t testing.TB, writer func(io.Writer) io.WriteCloser, text string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := writer(&b)
	_, err := io.WriteString(w, text)
	require.NoError(t, err)
	require.NoError(t, w.Close())
	return b.Bytes()
}

// decoded reads all of a body.
func decoded(d *ingest.Decoders, r io.Reader, header string, limit int64) (string, error) {
	z, err := d.Open(r, header, limit)
	if err != nil {
		return "", err
	}
	b, err := io.ReadAll(z)
	return string(b), errors.Join(err, z.Close(), z.Close())
}

func TestDecode(t *testing.T) {
	var d ingest.Decoders
	for range 3 { // fresh, then again
		for _, e := range encodings {
			for _, text := range []string{"", "x", strings.Repeat(nginx, 200)} {
				data := compress(t, e.writer, text)
				for _, r := range []io.Reader{bytes.NewReader(data), iotest.OneByteReader(bytes.NewReader(data)), iotest.DataErrReader(bytes.NewReader(data))} {
					got, err := decoded(&d, r, e.header, int64(len(text)))
					require.NoError(t, err, e.name)
					require.Equal(t, text, got)
				}
			}
		}
	}
	z, err := d.Open(strings.NewReader("x"), "", 1)
	require.NoError(t, err)
	require.NoError(t, z.Close())
	_, err = z.Read(make([]byte, 1))
	require.ErrorIs(t, err, fs.ErrClosed)

	two := append(compress(t, encodings[2].writer, "a"), compress(t, encodings[2].writer, "b")...)
	got, err := decoded(&d, bytes.NewReader(two), "gzip", 10)
	require.NoError(t, err)
	require.Equal(t, "ab", got)
}

func TestDecodeRefusals(t *testing.T) {
	var d ingest.Decoders
	f := func(data []byte, header string, code int, message string) {
		t.Helper()
		_, err := decoded(&d, bytes.NewReader(data), header, 1<<20)
		var e *ingest.Error
		require.ErrorAs(t, err, &e)
		require.Equal(t, message, e.Message)
		require.Equal(t, code, e.Code)
		require.Equal(t, ingest.ReasonEncoding, e.Reason)
		require.Equal(t, -1, e.Item)
	}
	for _, header := range []string{"br", "gzip, deflate", "zstd", "x\ny"} {
		f(nil, header, http.StatusUnsupportedMediaType, "Content-Encoding "+cite(header)+" is not known here - send gzip, deflate or none")
	}
	f([]byte(nginx), "gzip", http.StatusBadRequest, "invalid gzip data - gzip: invalid header")
	f([]byte{0xff, 0xff, 0xff}, "deflate", http.StatusBadRequest, "invalid deflate data - flate: corrupt input before offset 1")
	for _, e := range encodings[2:] {
		data := compress(t, e.writer, nginx)
		name := strings.TrimPrefix(strings.ToLower(e.header), "x-")
		for i := range data { // cut at every byte
			_, err := decoded(&d, bytes.NewReader(data[:i]), e.header, 1<<20)
			var bad *ingest.Error
			require.ErrorAs(t, err, &bad, "%s at %d", e.name, i)
			require.Equal(t, "invalid "+name+" data - the data is cut short", bad.Message)
		}
		_, err := decoded(&d, bytes.NewReader(append(data, "trailing"...)), e.header, 1<<20)
		require.ErrorContains(t, err, "invalid "+name+" data - data after its end")
		_, err = decoded(&d, bytes.NewReader(append(data, '\n')), e.header, 1<<20)
		require.ErrorContains(t, err, "invalid "+name+" data - data after its end", "less than a header's worth")
		if name == "gzip" { // which may come in several pieces
			body, err := decoded(&d, bytes.NewReader(append(compress(t, e.writer, "a"), data...)), e.header, 1<<20)
			require.NoError(t, err)
			require.Equal(t, "a"+nginx, string(body))
		}
		if e.name != "raw deflate" { // which has no checksum
			data[len(data)-1] ^= 1
			_, err = decoded(&d, bytes.NewReader(data), e.header, 1<<20)
			require.ErrorContains(t, err, "invalid "+name+" data")
		}
	}
}

// What goes wrong while the body is read is told as it is.
func TestDecodeErrorsOfTheBody(t *testing.T) {
	var d ingest.Decoders
	gone := errors.New("gone")
	for _, e := range encodings {
		data := compress(t, e.writer, nginx)
		for _, cut := range []int{0, 1, len(data) / 2, len(data) - 1} {
			_, err := decoded(&d, io.MultiReader(bytes.NewReader(data[:cut]), iotest.ErrReader(gone)), e.header, 1<<20)
			require.ErrorIs(t, err, gone, "%s at %d", e.name, cut)
		}
		_, err := decoded(&d, http.MaxBytesReader(nil, io.NopCloser(bytes.NewReader(data)), 10), e.header, 1<<20)
		var tooLarge *http.MaxBytesError
		require.ErrorAs(t, err, &tooLarge, e.name)
	}
}

// A bomb is read as far as the limit and costs no memory.
func TestDecodeBomb(t *testing.T) {
	var d ingest.Decoders
	const limit = 1 << 20
	for _, e := range encodings {
		data := compress(t, e.writer, strings.Repeat("a", 16*limit))
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		z, err := d.Open(bytes.NewReader(data), e.header, limit)
		require.NoError(t, err)
		n, err := io.Copy(onlyWriter{io.Discard}, z)
		runtime.ReadMemStats(&after)
		require.NoError(t, z.Close())
		var tooLarge *http.MaxBytesError
		require.ErrorAs(t, err, &tooLarge, e.name)
		require.EqualValues(t, limit, tooLarge.Limit)
		require.EqualValues(t, limit, n)
		require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(limit), e.name)
	}
}

type onlyWriter struct{ io.Writer }

func TestDecodeTogether(t *testing.T) {
	var d ingest.Decoders
	var wg sync.WaitGroup
	errs := make(chan error, 64)
	for i := range 16 {
		e := encodings[i%len(encodings)]
		text := strings.Repeat(nginx, i+1)
		data := compress(t, e.writer, text)
		wg.Go(func() {
			for range 20 {
				got, err := decoded(&d, bytes.NewReader(data), e.header, 1<<20)
				if err == nil && got != text {
					err = errors.New("another text")
				}
				if err != nil {
					errs <- err
					return
				}
			}
		})
	}
	wg.Wait()
	close(errs)
	require.NoError(t, <-errs)
}
