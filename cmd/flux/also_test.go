package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fluxmetrics/fluxkit/blueflood/bluefloodtest"
	"github.com/fluxmetrics/fluxkit/flux"
	"github.com/fluxmetrics/fluxkit/graphite"
	"github.com/fluxmetrics/fluxkit/graphite/graphitetest"
)

// deliverOne makes a server of a command line, gives it a point, and stops it, which delivers first.
func deliverOne(t *testing.T, args ...string) {
	t.Helper()
	commands, err := parsed(args...)
	require.NoError(t, err)
	config := commands.Forward.config
	if args[0] == "serve" {
		config = commands.Serve.config
	}
	s := &setup{Config: flux.Config{Logger: slog.New(slog.DiscardHandler)}}
	defer s.close()
	require.NoError(t, config(s))
	s.Line, s.Pickle, s.UDP, s.HTTP = nil, nil, nil, nil
	server, err := flux.New(s.Config)
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	_, err = server.Ingest(ctx, []graphite.Point{{Name: []byte("a.b"), Timestamp: time.Now().UnixMilli(), Value: 1}})
	require.NoError(t, err)
	require.NoError(t, server.Close(ctx))
}

// TestAlsoTLS delivers to a Carbon that wants to see a certificate.
func TestAlsoTLS(t *testing.T) {
	noGoroutines(t)
	dir := t.TempDir()
	certFile, keyFile := filepath.Join(dir, "cert"), filepath.Join(dir, "key")
	pool := x509.NewCertPool()
	pool.AddCert(newCertificate(t, certFile, keyFile))
	pair, err := tls.LoadX509KeyPair(certFile, keyFile)
	require.NoError(t, err)
	secure := graphitetest.RunOptions(t, graphitetest.Options{TLS: &tls.Config{
		Certificates: []tls.Certificate{pair}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: pool,
	}})
	first := graphitetest.Run(t)
	files := "?required&ca=" + certFile + "&cert=" + certFile + "&key=" + keyFile
	deliverOne(t, "serve", "--no-auth", "--carbon", first.PickleAddr,
		"--also", "pickle+tls://"+secure.PickleAddr+files, "--also", "line+tls://"+secure.LineAddr+files)
	require.Equal(t, 2, secure.Received())
	require.Equal(t, 1, first.Received())

	both := filepath.Join(dir, "both")
	cert, err := os.ReadFile(certFile)
	require.NoError(t, err)
	secret, err := os.ReadFile(keyFile)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(both, append(cert, secret...), 0o600))
	cfg, err := configOf("serve", "--no-auth", "--also", "pickle+tls://h:1?cert="+both, "--also", "line+tls://h:1")
	require.NoError(t, err)
	require.Len(t, cfg.Also[0].Carbon.TLS.Certificates, 1, "the key may stand there too")
	require.NotNil(t, cfg.Also[1].Carbon.TLS, "the system's authorities")
	require.Nil(t, cfg.Destination.Carbon.TLS)
}

// TestSecretsFromFiles has the passwords and the key of Bluefloods in files.
func TestSecretsFromFiles(t *testing.T) {
	noGoroutines(t)
	const odd = "p/w:%40 @?#"
	var mu sync.Mutex
	seen := map[string]string{} // who came by which path
	srv := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		user, password, _ := r.BasicAuth()
		mu.Lock()
		defer mu.Unlock()
		seen[r.URL.Path] = user + " " + password
	}))
	defer srv.Close()
	host := strings.TrimPrefix(srv.URL, "http://")
	keystone := bluefloodtest.RunKeystone(t, bluefloodtest.KeystoneUser{Name: "alice", APIKey: "0123456789abcdef", TenantID: "acme"})
	guarded := bluefloodtest.RunWith(t, bluefloodtest.Options{Keystone: keystone})
	deliverOne(t, "forward", "-t", "one", "--blueflood", "http://me@"+host, "--blueflood-password-file", write(t, odd+"\n"),
		"--also", "blueflood+http://you@"+host+"/base/two?required&password_file="+write(t, "other"),
		"--also", "blueflood"+"+"+guarded.IngestURL()+"/acme?required&user=alice&key_file="+write(t, "0123456789abcdef\n")+"&auth_url="+keystone.URL())
	mu.Lock()
	require.Equal(t, map[string]string{"/v2.0/one/ingest": "me " + odd, "/base/v2.0/two/ingest": "you other"}, seen)
	mu.Unlock()
	require.Equal(t, []string{"a.b"}, guarded.Metrics("acme"))

	dir := filepath.Join(t.TempDir(), "blueflood")
	fillSpool(t, dir, 0, 3, 3)
	o := spoolRun("replay", "--blueflood", "http://he@"+host, "--blueflood-password-file", write(t, odd), "-t", "three", dir)
	require.Equal(t, exitOK, o.code, o.stderr)
	mu.Lock()
	require.Equal(t, "he "+odd, seen["/v2.0/three/ingest"])
	mu.Unlock()
	require.NotContains(t, o.stdout+o.stderr, odd)

	o = fluxRun("forward", "--check-config", "-t", "x", "-b", "http://me@h", "--blueflood-password-file", write(t, "hunter2hunter2"),
		"--also", "blueflood+http://me@h/t?password_file="+write(t, "hunter2hunter2"))
	require.Equal(t, exitOK, o.code, o.stderr)
	require.Contains(t, o.stdout, "http://me:xxxxx@h")
	require.NotContains(t, o.stdout, "hunter2")
}

func TestSecretFilesRefused(t *testing.T) {
	word := write(t, "hunter2hunter2\n")
	f := func(want string, args ...string) {
		t.Helper()
		_, err := configOf(append([]string{"forward", "-t", "demo"}, args...)...)
		require.ErrorContains(t, err, want)
		require.NotContains(t, err.Error(), "hunter2")
	}
	f("--blueflood-password-file without a user in --blueflood", "--blueflood-password-file", word)
	f("a password in --blueflood are both given: keep --blueflood-password-file", "-b", "http://me:hunter2hunter2@h", "--blueflood-password-file", word)
	f("a password in --blueflood are both given", "-b", "http://me:@h", "--blueflood-password-file", word)
	f("--blueflood-password-file: open /no/such/file", "-b", "http://me@h", "--blueflood-password-file", "/no/such/file")
	f("--blueflood is not a URL", "-b", "http://me@h:port", "--blueflood-password-file", word)
	also := func(want, text string) {
		t.Helper()
		f("--also, number 1: "+want, "--also", text)
	}
	also("password_file without a user in its URL", "blueflood+http://h/t?password_file="+word)
	also("password_file and a password in its URL are both given", "blueflood+http://me:hunter2hunter2@h/t?password_file="+word)
	also("password_file: open /no/such/file", "blueflood+http://me@h/t?password_file=/no/such/file")
	also("password_file is empty", "blueflood+http://me@h/t?password_file=")
	also("a Keystone needs both: user=USER, and key_file=FILE", "blueflood+http://h/t?user=me")
	also("a Keystone needs both", "blueflood+http://h/t?key_file="+word)
	also("a Keystone needs both", "blueflood+http://h/t?auth_url=http://h/v2.0/tokens")
	also("key_file: open /no/such/file", "blueflood+http://h/t?user=me&key_file=/no/such/file")
	also("auth_url, user and key_file: ", "blueflood+http://h/t?user=me&auth_url=keystone&key_file="+word)
	also("ca: open /no/such/file", "pickle+tls://h:1?ca=/no/such/file")
	also("ca: "+word+" holds no PEM certificate", "line+tls://h:1?ca="+word)
	also("cert, key: ", "line+tls://h:1?cert="+word)
	also("key without cert: name the certificate", "line+tls://h:1?key="+word)
	also("cert is empty", "line+tls://h:1?cert=")
	also(`it has no option "ca": it takes name, required behind its ?`, "line://h:1?ca="+word)
	also("line+tls destination is not line+tls://HOST:PORT", "line+tls://h")
}

func TestAlsoHelp(t *testing.T) {
	for command, want := range map[string][]string{
		"serve":   {"pickle+tls://", "&ca=FILE", "&password_file=FILE", "&key_file=FILE"},
		"forward": {"pickle+tls://", "&ca=FILE", "&password_file=FILE", "&key_file=FILE", "--blueflood-password-file"},
	} {
		help := strings.Join(strings.Fields(fluxRun(command, "--help").stdout), " ")
		for _, text := range want {
			require.Contains(t, help, text)
		}
	}
}
