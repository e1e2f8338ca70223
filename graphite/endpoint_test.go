package graphite_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fluxmetrics/fluxkit/graphite"
)

// The readings are Twisted's, asked case by case.
func TestParseEndpoint(t *testing.T) {
	f := func(s string, want graphite.Endpoint) {
		t.Helper()
		got, err := graphite.ParseEndpoint(s)
		require.NoError(t, err, s)
		require.Equal(t, want, got, s)
		again, err := graphite.ParseEndpoint(got.String())
		require.NoError(t, err, got.String())
		require.Equal(t, want, again, got.String())
	}
	type ep = graphite.Endpoint
	f("tcp:2004", ep{Network: "tcp", Address: ":2004"})
	f("tcp:2004:interface=127.0.0.1", ep{Network: "tcp", Address: "127.0.0.1:2004"})
	f("tcp:2004:127.0.0.1", ep{Network: "tcp", Address: "127.0.0.1:2004"})
	f("tcp:2004:127.0.0.1:10", ep{Network: "tcp", Address: "127.0.0.1:2004"})
	f("tcp:port=2004", ep{Network: "tcp", Address: ":2004"})
	f("tcp:interface=127.0.0.1:port=0", ep{Network: "tcp", Address: "127.0.0.1:0"})
	f(`tcp:2004:interface=\:\:1`, ep{Network: "tcp", Address: "[::1]:2004"})
	f("tcp:2004:interface=:backlog=50", ep{Network: "tcp", Address: ":2004"})
	f("tcp:2004:", ep{Network: "tcp", Address: ":2004"})
	f("tcp:2004:interface=192.0.2.1:interface=192.0.2.2", ep{Network: "tcp", Address: "192.0.2.2:2004"})
	f("tcp4:2004", ep{Network: "tcp4", Address: ":2004"})
	f(`tcp6:2004:interface=\:\:1`, ep{Network: "tcp6", Address: "[::1]:2004"})
	f("unix:/run/flux.sock", ep{Network: "unix", Address: "/run/flux.sock", Mode: 0o666})
	f(`unix:/a\:b:mode=660:lockfile=0`, ep{Network: "unix", Address: "/a:b", Mode: 0o660})
	f(`unix:address=/a\\b\=c:backlog=5`, ep{Network: "unix", Address: `/a\b=c`, Mode: 0o666})
	f("ssl:443", ep{Network: "tcp", Address: ":443", KeyFile: "server.pem", CertFile: "server.pem"})
	f("ssl:443:privateKey=k.pem:certKey=c.pem:extraCertChain=x.pem:clientCA=ca.pem:sslmethod=TLS_METHOD:interface=127.0.0.1",
		ep{Network: "tcp", Address: "127.0.0.1:443", KeyFile: "k.pem", CertFile: "c.pem", ChainFile: "x.pem", ClientCAFile: "ca.pem"})
	f("ssl:443:k.pem", ep{Network: "tcp", Address: ":443", KeyFile: "k.pem", CertFile: "k.pem"})
}

func TestParseEndpointErrors(t *testing.T) {
	f := func(s, want string) {
		t.Helper()
		_, err := graphite.ParseEndpoint(s)
		var e *graphite.EndpointError
		require.True(t, errors.As(err, &e), "%q: %v", s, err)
		require.EqualError(t, err, fmt.Sprintf("graphite: endpoint %q: %s", s, want))
	}
	f("", `unknown kind "": use tcp, tcp4, tcp6, unix or ssl`)
	f("2004", `unknown kind "2004": use tcp, tcp4, tcp6, unix or ssl`)
	f("TCP:2004", `unknown kind "TCP": use tcp, tcp4, tcp6, unix or ssl`)
	f("tcp=2004", `unknown kind "tcp2004": use tcp, tcp4, tcp6, unix or ssl`)
	f("systemd:domain=INET:index=0", `unknown kind "systemd": use tcp, tcp4, tcp6, unix or ssl`)
	f("tcp", "no port")
	f("tcp:", `port: "" is not a number from 0 to 65535`)
	f("tcp:host:2004", `port: "host" is not a number from 0 to 65535`)
	f("tcp:65536", `port: "65536" is not a number from 0 to 65535`)
	f("tcp:-1", `port: "-1" is not a number from 0 to 65535`)
	f("tcp:2004:bogus=1", `unknown key "bogus": tcp has port, interface, backlog`)
	f("tcp:1:x:y:z", "more than the 3 arguments of tcp")
	f("tcp:port=1:2", "port is given both by its place and by its key")
	f("tcp:2:port=1", "port is given both by its place and by its key")
	f("tcp:2004:backlog=x", `backlog: strconv.ParseUint: parsing "x": invalid syntax`)
	f(`tcp:2004:interface=[\:\:1]`, `interface "[::1]" is neither a host nor an IP address`)
	f("tcp:2004:]", `interface "]" is neither a host nor an IP address`)
	f("unix:", "no path")
	f("unix:/x:mode=9", `mode "9" is not an octal permission from 1 to 777`)
	f("unix:/x:port=1", `unknown key "port": unix has address, mode, backlog, lockfile`)
	f(`unix:a\`, "a backslash at the end escapes nothing")
	f("ssl:1:sslmethod=SSLv3_METHOD", `sslmethod "SSLv3_METHOD" is older than TLS 1.2, the oldest that is offered`)
}

func TestParseListen(t *testing.T) {
	f := func(s, network, address string) {
		t.Helper()
		e, err := graphite.ParseListen(s)
		require.NoError(t, err, s)
		require.Equal(t, []string{network, address}, []string{e.Network, e.Address}, s)
	}
	f("127.0.0.1:2003", "tcp", "127.0.0.1:2003")
	f(":2003", "tcp", ":2003")
	f("[::1]:2003", "tcp", "[::1]:2003")
	f("localhost:0", "tcp", "localhost:0")
	f("/run/flux.sock", "unix", "/run/flux.sock")
	f("tcp:2003", "tcp", ":2003")
	f("unix:/x", "unix", "/x")
	for _, s := range []string{"", "2003", "localhost", "localhost:http", "::1:2003", "[::1]", "tcp:x"} {
		_, err := graphite.ParseListen(s)
		var e *graphite.EndpointError
		require.True(t, errors.As(err, &e), s)
	}
}

func FuzzParseEndpoint(f *testing.F) {
	for _, s := range []string{"tcp:2004", `tcp:2004:interface=\:\:1`, "unix:/a:mode=660", "ssl:1:privateKey=a:certKey=b", `unix:\\\`, "tcp:1:2:3:4", "=:=", "tcp:0:]", `tcp:1:fe80\:\:1%a`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		e, err := graphite.ParseEndpoint(s)
		if err != nil {
			require.Contains(t, err.Error(), "graphite: endpoint ")
			return
		}
		again, err := graphite.ParseEndpoint(e.String())
		require.NoError(t, err, "%q", e.String())
		require.Equal(t, e, again, "%q", e.String())
		_, err = graphite.ParseListen(s)
		require.NoError(t, err)
	})
}

func TestListenUnix(t *testing.T) {
	path := filepath.Join(t.TempDir(), "flux:1.sock")
	e := graphite.Endpoint{Network: "unix", Address: path, Mode: 0o600}
	l, err := e.Listen(t.Context())
	require.NoError(t, err)
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())

	_, err = e.Listen(t.Context()) // somebody listens
	require.ErrorIs(t, err, syscall.EADDRINUSE)

	l.(*net.UnixListener).SetUnlinkOnClose(false) // as a killed process leaves it
	l.Close()
	l, err = e.Listen(t.Context())
	require.NoError(t, err)

	var r graphite.LineReceiver
	var k keeper
	s := start(t, &r, l, k.handle)
	c := s.dial()
	c.write([]byte("a 1 2\nb 3 4"))
	c.confirmed()
	require.Len(t, k.points(), 2)

	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, []byte("precious"), 0o600))
	_, err = graphite.Endpoint{Network: "unix", Address: file}.Listen(t.Context())
	require.ErrorIs(t, err, syscall.EADDRINUSE)
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, "precious", string(text))
}

func TestListenErrors(t *testing.T) {
	l := listen(t)
	defer l.Close()
	e, err := graphite.ParseListen(l.Addr().String())
	require.NoError(t, err)
	_, err = e.Listen(t.Context())
	require.ErrorIs(t, err, syscall.EADDRINUSE)
	require.ErrorContains(t, err, l.Addr().String()[len("127.0.0.1:"):])
	_, err = graphite.Endpoint{Network: "tcp", Address: "127.0.0.1:0", CertFile: "no.pem", KeyFile: "no.pem"}.Listen(t.Context())
	require.ErrorIs(t, err, os.ErrNotExist)
	_, err = graphite.Endpoint{Network: "unix", Address: "/x"}.ListenPacket(t.Context())
	require.ErrorContains(t, err, "datagrams need a plain host and port")
	c, err := graphite.Endpoint{Network: "tcp", Address: "127.0.0.1:0"}.ListenPacket(t.Context())
	require.NoError(t, err)
	c.Close()
}

// authority signs certificates for a test.
type authority struct {
	t    *testing.T
	dir  string
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
	pool *x509.CertPool
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{t: t, dir: t.TempDir(), pool: x509.NewCertPool()}
	a.cert = &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test authority"}, IsCA: true,
		BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign, NotAfter: time.Now().Add(time.Hour),
	}
	a.key = a.newKey()
	der := a.sign(a.cert, a.key)
	cert, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	a.cert = cert
	a.pool.AddCert(cert)
	a.file("ca.pem", "CERTIFICATE", der)
	return a
}

func (a *authority) newKey() *ecdsa.PrivateKey {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(a.t, err)
	return key
}

func (a *authority) sign(cert *x509.Certificate, key *ecdsa.PrivateKey) []byte {
	a.t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, cert, a.cert, key.Public(), a.key)
	require.NoError(a.t, err)
	return der
}

func (a *authority) file(name, kind string, der []byte) string {
	a.t.Helper()
	path := filepath.Join(a.dir, name)
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	require.NoError(a.t, err)
	defer f.Close()
	require.NoError(a.t, pem.Encode(f, &pem.Block{Type: kind, Bytes: der}))
	return path
}

// issue writes name.key and name.pem.
func (a *authority) issue(name string) (key, cert string) {
	a.t.Helper()
	k := a.newKey()
	der := a.sign(&x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: name}, NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}, k)
	pkcs8, err := x509.MarshalPKCS8PrivateKey(k)
	require.NoError(a.t, err)
	return a.file(name+".key", "PRIVATE KEY", pkcs8), a.file(name+".pem", "CERTIFICATE", der)
}

// TLS with client certificates, from the description to the confirmed half-close.
func TestListenTLS(t *testing.T) {
	a := newAuthority(t)
	key, cert := a.issue("server")
	ca := filepath.Join(a.dir, "ca.pem")
	e, err := graphite.ParseEndpoint(fmt.Sprintf(
		"ssl:0:interface=127.0.0.1:privateKey=%s:certKey=%s:extraCertChain=%s:clientCA=%s", key, cert, ca, ca))
	require.NoError(t, err)
	l, err := e.Listen(t.Context())
	require.NoError(t, err)
	var r graphite.LineReceiver
	k := gated()
	s := start(t, &r, l, k.handle)

	ckey, ccert := a.issue("client")
	pair, err := tls.LoadX509KeyPair(ccert, ckey)
	require.NoError(t, err)
	tc, err := tls.Dial("tcp", l.Addr().String(), &tls.Config{RootCAs: a.pool, Certificates: []tls.Certificate{pair}})
	require.NoError(t, err)
	require.Len(t, tc.ConnectionState().PeerCertificates, 2)
	defer tc.Close()
	c := &peer{t, tc}
	c.write([]byte("a 1 2\nb 3 4"))
	<-k.entered
	close(k.gate)
	c.confirmed()
	require.Len(t, k.points(), 2)

	// A client without a certificate gets nothing in, and one that is idle ends with the receiver.
	bare, err := tls.Dial("tcp", l.Addr().String(), &tls.Config{RootCAs: a.pool})
	if err == nil {
		_, err = bare.Read(make([]byte, 1))
		bare.Close()
	}
	require.Error(t, err)
	idle, err := tls.Dial("tcp", l.Addr().String(), &tls.Config{RootCAs: a.pool, Certificates: []tls.Certificate{pair}})
	require.NoError(t, err)
	defer idle.Close()
	p := &peer{t, idle}
	p.write([]byte("c 1 2\n"))
	eventually(t, func() bool { return len(k.points()) == 3 }, "the third point")
	s.stop()
	require.NoError(t, p.end())
	s.wait()
	require.EqualValues(t, 3, r.Stats().Points)
}

func ExampleParseEndpoint() {
	e, err := graphite.ParseEndpoint("tcp:2004:interface=127.0.0.1")
	fmt.Println(e.Network, e.Address, err)
	_, err = graphite.ParseEndpoint("tcp:2004:iface=127.0.0.1")
	fmt.Println(err)
	// Output:
	// tcp 127.0.0.1:2004 <nil>
	// graphite: endpoint "tcp:2004:iface=127.0.0.1": unknown key "iface": tcp has port, interface, backlog
}

func ExampleEndpoint_Listen() {
	e, err := graphite.ParseListen("127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	l, err := e.Listen(context.Background())
	if err != nil {
		panic(err)
	}
	fmt.Println(l.Addr().Network())
	l.Close()
	// Output: tcp
}
