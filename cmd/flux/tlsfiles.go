package main

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
)

// tlsFiles are PEM files for TLS towards a Carbon. prefix is what stands before ca, cert and key in the names of the
// options.
type tlsFiles struct{ prefix, ca, cert, key string }

// config reads them. Without a ca the system's authorities are believed.
func (f tlsFiles) config() (*tls.Config, error) {
	if f.key != "" && f.cert == "" {
		return nil, fmt.Errorf("%[1]skey without %[1]scert: name the certificate that it belongs to", f.prefix)
	}
	cfg := &tls.Config{MinVersion: tls.VersionTLS12}
	if f.ca != "" {
		pem, err := os.ReadFile(f.ca)
		if err != nil {
			return nil, fmt.Errorf("%sca: %w", f.prefix, err)
		}
		cfg.RootCAs = x509.NewCertPool()
		if !cfg.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%sca: %s holds no PEM certificate", f.prefix, f.ca)
		}
	}
	if f.cert != "" {
		pair, err := tls.LoadX509KeyPair(f.cert, cmp.Or(f.key, f.cert))
		if err != nil {
			return nil, fmt.Errorf("%[1]scert, %[1]skey: %[2]w", f.prefix, err)
		}
		cfg.Certificates = []tls.Certificate{pair}
	}
	return cfg, nil
}
