package graphite

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"net"
	"os"
	"syscall"
)

// Listen opens the endpoint. The listener does TLS if the endpoint has a certificate. The error is an *EndpointError.
//
// A unix socket's file that nobody listens on any more is replaced.
func (e Endpoint) Listen(ctx context.Context) (net.Listener, error) {
	var config *tls.Config
	if e.CertFile != "" || e.KeyFile != "" {
		var err error
		if config, err = e.TLSConfig(); err != nil {
			return nil, err
		}
	}
	l, err := e.listen(ctx)
	if err != nil {
		return nil, &EndpointError{e.String(), "listen", err}
	}
	if config != nil {
		l = tls.NewListener(l, config)
	}
	return l, nil
}

// ListenPacket opens the endpoint for datagrams: UDP for a TCP network. It has no TLS.
func (e Endpoint) ListenPacket(ctx context.Context) (net.PacketConn, error) {
	network := map[string]string{"tcp": "udp", "tcp4": "udp4", "tcp6": "udp6"}[e.Network]
	if network == "" || e.CertFile != "" || e.KeyFile != "" {
		return nil, &EndpointError{e.String(), "datagrams need a plain host and port", nil}
	}
	var lc net.ListenConfig
	c, err := lc.ListenPacket(ctx, network, e.Address)
	if err != nil {
		return nil, &EndpointError{e.String(), "listen", err}
	}
	return c, nil
}

func (e Endpoint) listen(ctx context.Context) (net.Listener, error) {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, e.Network, e.Address)
	if e.Network != "unix" {
		return l, err
	}
	if errors.Is(err, syscall.EADDRINUSE) && stale(ctx, e.Address) {
		if err := os.Remove(e.Address); err != nil {
			return nil, err
		}
		l, err = lc.Listen(ctx, e.Network, e.Address)
	}
	if err != nil || e.Mode == 0 {
		return l, err
	}
	if err := os.Chmod(e.Address, e.Mode); err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}

// stale reports whether path is a socket on which nobody listens.
func stale(ctx context.Context, path string) bool {
	if info, err := os.Lstat(path); err != nil || info.Mode().Type() != os.ModeSocket {
		return false
	}
	var d net.Dialer
	c, err := d.DialContext(ctx, "unix", path)
	if err == nil {
		c.Close()
	}
	return errors.Is(err, syscall.ECONNREFUSED)
}

// TLSConfig loads the endpoint's certificates: TLS 1.2 or newer, and a client certificate required if ClientCAFile is
// set. The error is an *EndpointError.
func (e Endpoint) TLSConfig() (*tls.Config, error) {
	fail := func(what string, err error) (*tls.Config, error) {
		return nil, &EndpointError{e.String(), what, err}
	}
	cert, err := tls.LoadX509KeyPair(e.CertFile, e.KeyFile)
	if err != nil {
		return fail("certificate and key", err)
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{cert}}
	if e.ChainFile != "" {
		text, err := os.ReadFile(e.ChainFile)
		if err != nil {
			return fail("certificate chain", err)
		}
		n := len(cert.Certificate)
		for block, rest := pemCert(text); block != nil; block, rest = pemCert(rest) {
			config.Certificates[0].Certificate = append(config.Certificates[0].Certificate, block)
		}
		if len(config.Certificates[0].Certificate) == n {
			return fail(e.ChainFile+" has no certificate in PEM", nil)
		}
	}
	if e.ClientCAFile != "" {
		text, err := os.ReadFile(e.ClientCAFile)
		if err != nil {
			return fail("client authorities", err)
		}
		config.ClientCAs = x509.NewCertPool()
		if !config.ClientCAs.AppendCertsFromPEM(text) {
			return fail(e.ClientCAFile+" has no certificate in PEM", nil)
		}
		config.ClientAuth = tls.RequireAndVerifyClientCert
	}
	return config, nil
}

// pemCert returns the next certificate in text, and what follows it.
func pemCert(text []byte) (der, rest []byte) {
	for {
		block, rest := pem.Decode(text)
		if block == nil || block.Type == "CERTIFICATE" {
			if block == nil {
				return nil, nil
			}
			return block.Bytes, rest
		}
		text = rest
	}
}
