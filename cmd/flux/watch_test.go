package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fluxmetrics/fluxkit/flux"
)

// replace puts a file in the place of another, as one should.
func replace(t *testing.T, path, text string) {
	t.Helper()
	require.NoError(t, os.WriteFile(path+".new", []byte(text), 0o600))
	require.NoError(t, os.Rename(path+".new", path))
}

func TestWatched(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := write(t, "1"), write(t, "1")
		var read atomic.Int64
		var fails atomic.Bool
		var logged buffer
		w := watch(a, b)
		w.again = func(*slog.Logger, *flux.Server) error {
			read.Add(1)
			if fails.Load() {
				return os.ErrPermission
			}
			return nil
		}
		hup := make(chan os.Signal)
		go w.follow(t.Context(), slog.New(slog.NewTextHandler(&logged, nil)), nil, hup)
		seconds := func(n int) {
			time.Sleep(time.Duration(n) * time.Second)
			synctest.Wait()
		}
		seconds(5)
		require.Zero(t, read.Load(), "nothing changed")
		replace(t, b, "2")
		seconds(1)
		require.Zero(t, read.Load(), "it may be being written")
		seconds(1)
		require.EqualValues(t, 1, read.Load())
		seconds(5)
		require.EqualValues(t, 1, read.Load())

		for i := range 5 { // each second a little more
			require.NoError(t, os.WriteFile(a, []byte(strings.Repeat("x", 2+i)), 0o600))
			seconds(1)
		}
		require.EqualValues(t, 1, read.Load())
		seconds(1)
		require.EqualValues(t, 2, read.Load())

		fails.Store(true)
		require.NoError(t, os.Remove(a))
		seconds(3)
		require.Greater(t, read.Load(), int64(2), "what cannot be used is tried again")
		require.Equal(t, 1, strings.Count(logged.String(), "permission denied"), "and logged once")
		fails.Store(false)
		seconds(2)
		before := read.Load()
		seconds(3)
		require.Equal(t, before, read.Load())
		replace(t, a, "back")
		seconds(2)
		require.Equal(t, before+1, read.Load())
		hup <- syscall.SIGHUP
		synctest.Wait()
		require.Equal(t, before+2, read.Load(), "when it is told to")
	})
}

// startServer is what the options of flux serve make, without a listener, and what runs beside it.
func startServer(t *testing.T, log *buffer, args ...string) (*flux.Server, func() error) {
	t.Helper()
	commands, err := parsed(append([]string{"serve", "--listen="}, args...)...)
	require.NoError(t, err)
	s := &setup{Config: flux.Config{Logger: slog.New(slog.NewTextHandler(log, nil))}}
	t.Cleanup(s.close)
	require.NoError(t, commands.Serve.config(s))
	server, err := flux.New(s.Config)
	require.NoError(t, err)
	t.Cleanup(func() { _ = server.Close(ended()) }) // nothing that a test sends is wanted at the Carbon that is not there
	end := s.run(t.Context(), server)
	t.Cleanup(func() { _ = end() })
	return server, end
}

// answer is the status that a key gets.
func answer(s *flux.Server, secret string) int {
	r := httptest.NewRequest(http.MethodPost, "/flux/metric_data_post", strings.NewReader(`{"validate_key": true}`))
	r.Header.Set("Key", secret)
	w := httptest.NewRecorder()
	s.Handler().ServeHTTP(w, r)
	return w.Code
}

func TestKeysAreReadAgain(t *testing.T) {
	const old, fresh, self = "oldoldoldoldoldold", "newnewnewnewnewnew", "selfselfselfselfself"
	var log buffer
	path := write(t, old+"\n")
	s, _ := startServer(t, &log, "--keys-file", path, "--self-key", self, "--dedup=off")
	require.Equal(t, []int{200, 401, 200}, []int{answer(s, old), answer(s, fresh), answer(s, self)})

	replace(t, path, fresh+"\n"+key+" rate=5\n")
	require.NoError(t, syscall.Kill(os.Getpid(), syscall.SIGHUP))
	require.Eventually(t, func() bool { return answer(s, fresh) == 200 }, 20*time.Second, time.Millisecond)
	require.Equal(t, []int{401, 200, 200}, []int{answer(s, old), answer(s, key), answer(s, self)})
	require.Eventually(t, func() bool { return strings.Contains(log.String(), "keys=2") }, 20*time.Second, time.Millisecond)

	replace(t, path, fresh+"\n"+old+" rate=much\n")
	require.NoError(t, syscall.Kill(os.Getpid(), syscall.SIGHUP))
	require.Eventually(t, func() bool { return strings.Contains(log.String(), "the keys stay as they were") }, 20*time.Second, time.Millisecond)
	require.Equal(t, []int{401, 200, 200}, []int{answer(s, old), answer(s, fresh), answer(s, self)})
	for _, secret := range []string{old, fresh, self, key} {
		require.NotContains(t, log.String(), secret)
	}
}

// newCertificate writes a certificate for localhost and its key, and returns the certificate.
func newCertificate(t *testing.T, certFile, keyFile string) *x509.Certificate {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: serial, DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	require.NoError(t, err)
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	require.NoError(t, err)
	replace(t, certFile, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
	replace(t, keyFile, string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret})))
	cert, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	return cert
}

func TestCertificateIsReadAgain(t *testing.T) {
	dir := t.TempDir()
	certFile, keyFile := filepath.Join(dir, "cert"), filepath.Join(dir, "key")
	first := newCertificate(t, certFile, keyFile)
	h := &flux.HTTPConfig{}
	w, err := certificateOptions{TLSCert: certFile, TLSKey: keyFile}.apply(h)
	require.NoError(t, err)
	require.EqualValues(t, tls.VersionTLS12, h.TLS.MinVersion)
	serves := func() *x509.Certificate {
		c, err := h.TLS.GetCertificate(nil)
		require.NoError(t, err)
		return c.Leaf
	}
	require.True(t, first.Equal(serves()))

	var log buffer
	logger := slog.New(slog.NewTextHandler(&log, nil))
	replace(t, keyFile, "none")
	require.ErrorContains(t, w.again(logger, nil), "the certificate stays as it was")
	require.True(t, first.Equal(serves()))

	second := newCertificate(t, certFile, keyFile)
	require.NoError(t, w.again(logger, nil))
	require.True(t, second.Equal(serves()))
	require.Contains(t, log.String(), "valid_until="+second.NotAfter.UTC().Format(time.RFC3339))

	// One file may hold both.
	pair, err := os.ReadFile(certFile)
	require.NoError(t, err)
	secret, err := os.ReadFile(keyFile)
	require.NoError(t, err)
	_, err = certificateOptions{TLSCert: write(t, string(pair)+string(secret))}.apply(h)
	require.NoError(t, err)
	require.True(t, second.Equal(serves()))
}

func TestStatusListen(t *testing.T) {
	o := fluxRun("serve", "--no-auth", "--status-listen", "127.0.0.1:9000", "--check-config")
	require.Contains(t, o.stdout, "listen status   127.0.0.1:9000\n")
	o = fluxRun("forward", "-t", "x", "--status-listen", "127.0.0.1:9000", "--check-config")
	require.Contains(t, o.stdout, "listen status   127.0.0.1:9000\n")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	o = fluxRun("serve", "--no-auth", "--listen=", "--status-listen", l.Addr().String())
	require.Equal(t, exitFailed, o.code)
	require.Contains(t, o.stderr, "choose another address with --status-listen")
	o = fluxWith(ended(), "", nil, "forward", "-t", "x", "-e", "127.0.0.1:0", "--status-listen", "127.0.0.1:0")
	require.Equal(t, exitOK, o.code, o.stderr)
	require.Contains(t, o.stderr, "input=status")
}
