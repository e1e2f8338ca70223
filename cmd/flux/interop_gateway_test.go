//go:build interop

package main_test

import (
	"bytes"
	"compress/gzip"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fluxmetrics/fluxkit/internal/rig"
)

// put puts a file in its place, as one whole.
func put(t *testing.T, path, text string) {
	t.Helper()
	require.NoError(t, os.WriteFile(path+".new", []byte(text), 0o600))
	require.NoError(t, os.Rename(path+".new", path))
}

// putCertificate puts a certificate for 127.0.0.1 that signs itself, and its key, in their places.
func putCertificate(t *testing.T, certFile, keyFile string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: "flux"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	require.NoError(t, err)
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	require.NoError(t, err)
	put(t, certFile, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
	put(t, keyFile, string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret})))
}

// exitCode runs curl, which may fail, and returns its exit code.
func exitCode(t *testing.T, args ...string) int {
	t.Helper()
	p := rig.Start(t, rig.Spec{Path: rig.Tool(t, "/usr/bin/curl", "curl"), Args: append([]string{"-sS"}, args...)})
	return p.Wait(patience)
}

const curlNotTrusted = 60 // curl's exit code for a certificate that it cannot verify

// TestInteropGatewayOriginalOverTLS sends the requests of the original's documentation, with the present time, as that
// does: with a user and a password, to HTTPS.
func TestInteropGatewayOriginalOverTLS(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := func(name string) string { return filepath.Join(dir, name) }
	putCertificate(t, file("cert"), file("secret"))
	put(t, file("users"), "# who may send\nuser:pass word\n")
	sink := rig.StartSink(t, rig.SinkOptions{})
	gw := startServe(t, sink.Pickle, "--key", exampleKey, "--allow-example-key", "--basic-auth-file", file("users"),
		"--tls-cert", file("cert"), "--tls-key", file("secret"))
	base := "https" + strings.TrimPrefix(gw.URL, "http")
	now := time.Now().Unix()
	current := func(request string) string { return strings.ReplaceAll(request, "1478021700", fmt.Sprint(now)) }
	get := func(args ...string) (int, string) {
		return curl(t, append(append([]string{"--cacert", file("cert")}, args...), base+current(exampleQuery))...)
	}
	post := func(args ...string) (int, string) {
		return curl(t, append(append([]string{"--cacert", file("cert")}, args...), "-X", "POST", "-H", "Content-Type: application/json",
			"-d", current(exampleBody), base+"/metric_data_post")...)
	}
	for name, send := range map[string]func(...string) (int, string){"GET": get, "POST": post} {
		code, answer := send("-u", "user:pass word")
		require.Equal(t, 204, code, "%s: %s", name, answer)
		require.Empty(t, answer)
		for _, wrong := range [][]string{{}, {"-u", "user:password"}, {"-u", "nobody:pass word"}} {
			code, answer = send(wrong...)
			require.Equal(t, 401, code, "%s %v: %s", name, wrong, answer)
		}
		code, answer = send("-H", "Authorization: Bearer "+exampleKey)
		require.Equal(t, 204, code, "%s: %s", name, answer)
		code, answer = send("-H", "Authorization: Bearer "+apiKey)
		require.Equal(t, 401, code, "%s: %s", name, answer)
	}
	code, answer := curl(t, "--cacert", file("cert"), "-u", "user:pass word", "-d", `{"metric": "a", "timestamp": 1, "value": 1}`, base+"/metric_data_post")
	require.Equal(t, 400, code)
	require.Contains(t, answer, "no key passed")
	require.NotZero(t, exitCode(t, "--cacert", file("cert"), "--tls-max", "1.1", base+"/healthz"), "TLS 1.1")
	require.Equal(t, curlNotTrusted, exitCode(t, base+"/healthz"))
	code, _ = curl(t, gw.URL+"/healthz")
	require.Equal(t, 400, code, "plain HTTP")

	a := stop(t, gw.Process)
	require.Equal(t, []int{1, 3}, []int{a.Delivered, a.Duplicate})
	require.Equal(t, 1, sink.Count())
	require.NotContains(t, gw.Output(), exampleKey)
	require.NotContains(t, gw.Output(), "pass word")
}

func TestInteropGatewayCertificateIsReadAgain(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	certFile, keyFile, oldFile := filepath.Join(dir, "cert"), filepath.Join(dir, "key"), filepath.Join(dir, "old")
	putCertificate(t, certFile, keyFile)
	old, err := os.ReadFile(certFile)
	require.NoError(t, err)
	put(t, oldFile, string(old))
	gw := startServe(t, rig.FreeAddr(t), "--no-auth", "--tls-cert", certFile, "--tls-key", keyFile)
	url := "https" + strings.TrimPrefix(gw.URL, "http") + "/healthz"
	code, _ := curl(t, "--cacert", oldFile, url)
	require.Equal(t, 200, code)

	put(t, keyFile, "no key at all")
	gw.WaitOutput("the certificate stays as it was")
	code, _ = curl(t, "--cacert", oldFile, url)
	require.Equal(t, 200, code)

	putCertificate(t, certFile, keyFile) // without a signal
	gw.WaitOutput("the certificate is read again")
	code, _ = curl(t, "--cacert", certFile, url)
	require.Equal(t, 200, code)
	require.Equal(t, curlNotTrusted, exitCode(t, "--cacert", oldFile, url))
	stop(t, gw.Process)
}

// telegrafBatch is what telegraf's outputs.http sends with data_format json and use_batch_format, in gzip: so many
// metrics, of which the first is that old, with a number each, and now and then a text.
func telegrafBatch(t *testing.T, n int, now int64, age time.Duration) []byte {
	t.Helper()
	type metric struct {
		Fields    map[string]any    `json:"fields"`
		Name      string            `json:"name"`
		Tags      map[string]string `json:"tags"`
		Timestamp int64             `json:"timestamp"`
	}
	var batch struct {
		Metrics []metric `json:"metrics"`
	}
	for i := range n {
		m := metric{
			Fields:    map[string]any{"usage_idle": 90 + float64(i)/1000},
			Name:      "cpu",
			Tags:      map[string]string{"cpu": fmt.Sprintf("cpu%d", i), "host": "web01", "datacenter": "eu.west/1"},
			Timestamp: now,
		}
		if i%100 == 99 {
			m.Fields["state"] = "busy"
		}
		batch.Metrics = append(batch.Metrics, m)
	}
	batch.Metrics[0].Timestamp = now - int64(age/time.Second)
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	require.NoError(t, json.NewEncoder(w).Encode(batch))
	require.NoError(t, w.Close())
	return b.Bytes()
}

func TestInteropGatewayTelegraf(t *testing.T) {
	t.Parallel()
	sink := rig.StartSink(t, rig.SinkOptions{})
	now := time.Now().Unix()
	body := string(telegrafBatch(t, 1000, now, 2*time.Hour))
	send := func(gw *gateway) (int, string) {
		return curlFrom(t, body, "-H", "Content-Type: application/json; charset=utf-8", "-H", "Content-Encoding: gzip", "-H", "User-Agent: Telegraf/1.30.0",
			"-H", "telegraf: true", "-H", "key: "+apiKey, "--data-binary", "@-", gw.URL+"/metric_data_post")
	}
	gw := startServe(t, sink.Pickle, "--key", apiKey+"=site")
	for range 2 { // a client that is told 204 need not come again, and may
		code, answer := send(gw)
		require.Equal(t, 204, code, answer)
		require.Empty(t, answer)
	}
	a := stop(t, gw.Process)
	require.Equal(t, []int{999, 999}, []int{a.Delivered, a.Duplicate})
	require.Equal(t, 2*(1+10), sum(a.Rejected), "the old one and ten texts, each twice: %v", a.Rejected)
	names := map[string]bool{}
	for _, p := range sink.Points() {
		require.EqualValues(t, now, p.Timestamp)
		names[p.Name] = true
	}
	require.Len(t, names, 999)
	require.True(t, names["site.web01.cpu7.eu_west-1.cpu.usage_idle"], "%v", sink.Points()[0])

	gw = startServe(t, sink.Pickle, "--key", apiKey+"=site", "--telegraf-report")
	code, answer := send(gw)
	require.Equal(t, 207, code)
	require.Contains(t, answer, "too old")
	require.Equal(t, 999, stop(t, gw.Process).Delivered)
}

// TestInteropGatewayKeysAreReadAgain changes the file of keys again and again while clients send.
func TestInteropGatewayKeysAreReadAgain(t *testing.T) {
	t.Parallel()
	const comes = "comes-and-goes_0123456789"
	sink := rig.StartSink(t, rig.SinkOptions{})
	path := filepath.Join(t.TempDir(), "keys")
	put(t, path, apiKey+"\n")
	gw := startServe(t, sink.Pickle, "--keys-file", path)
	var taken, refused atomic.Int64
	var sending sync.WaitGroup
	failed := make(chan error, 4)
	end := make(chan struct{})
	for client := range 4 {
		secret := []string{apiKey, comes}[client%2]
		sending.Go(func() { failed <- sendWith(gw.URL, secret, client, end, &taken, &refused) })
	}
	for i := range 10 {
		text, keys := apiKey+"\n"+comes+"=sub max-points=5\n", 2
		if i%2 == 1 {
			text, keys = apiKey+" rate=100000\n", 1
		}
		before := strings.Count(gw.Output(), fmt.Sprintf(`"keys":%d`, keys))
		put(t, path, text)
		if i > 1 { // the first two without being told
			gw.Signal(syscall.SIGHUP)
		}
		rig.WaitFor(t, patience, "reading of the keys", func() error {
			if strings.Count(gw.Output(), fmt.Sprintf(`"keys":%d`, keys)) == before {
				return errors.New("not read")
			}
			return nil
		})
	}
	put(t, path, apiKey+"\nshort\n")
	gw.Signal(syscall.SIGHUP)
	gw.WaitOutput("the keys stay as they were")
	code, answer := curl(t, "-H", "key: "+apiKey, "-d", `{"validate_key": true}`, gw.URL+"/metric_data_post")
	require.Equal(t, 200, code, answer)
	close(end)
	sending.Wait()
	for range 4 {
		require.NoError(t, <-failed)
	}
	require.Positive(t, refused.Load())
	a := stop(t, gw.Process)
	require.EqualValues(t, taken.Load(), a.Delivered)
	require.EqualValues(t, taken.Load(), sink.Count())
	require.NotContains(t, gw.Output(), apiKey)
	require.NotContains(t, gw.Output(), comes)
	t.Logf("%d points taken, %d refused", taken.Load(), refused.Load())
}

// sendWith posts one point after the other, each of a metric of its own, with a key that need not always be there.
func sendWith(url, secret string, client int, end <-chan struct{}, taken, refused *atomic.Int64) error {
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	h := &http.Client{Transport: transport, Timeout: patience}
	for i := 0; ; i++ {
		select {
		case <-end:
			return nil
		case <-time.After(time.Millisecond):
		}
		body := fmt.Sprintf(`{"metric": "keys.c%d.n%d", "timestamp": %d, "value": 1, "key": %q}`, client, i, time.Now().Unix(), secret)
		resp, err := h.Post(url+"/metric_data_post", "application/json", strings.NewReader(body))
		if err != nil {
			return err
		}
		answer, _ := io.ReadAll(resp.Body) // the status is what counts
		resp.Body.Close()
		switch {
		case resp.StatusCode == http.StatusNoContent:
			taken.Add(1)
		case resp.StatusCode == http.StatusUnauthorized && secret != apiKey:
			refused.Add(1)
		default:
			return fmt.Errorf("a post was answered %d %s", resp.StatusCode, answer)
		}
	}
}
