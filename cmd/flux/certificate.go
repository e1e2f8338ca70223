package main

import (
	"cmp"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/fluxmetrics/fluxkit/flux"
)

// certificateOptions name the gateway's certificate.
type certificateOptions struct {
	TLSCert string `group:"http" name:"tls-cert" placeholder:"FILE" help:"Serve HTTPS, version 1.2 of TLS or newer, with the certificate of that PEM file, and those that it takes to verify it. Both files are read again when one has changed, and upon SIGHUP."`
	TLSKey  string `group:"http" name:"tls-key" placeholder:"FILE" help:"PEM file of its key. Default: it stands in --tls-cert too."`
}

// apply puts the options in h. It returns what is to be read again when it changes, nil for nothing.
func (o certificateOptions) apply(h *flux.HTTPConfig) (*watched, error) {
	if o.TLSCert == "" {
		if o.TLSKey != "" {
			return nil, errors.New("--tls-key without --tls-cert: name the certificate that it belongs to")
		}
		return nil, nil
	}
	keyFile := cmp.Or(o.TLSKey, o.TLSCert)
	w := watch(o.TLSCert, keyFile)
	var current atomic.Pointer[tls.Certificate]
	load := func() (*tls.Certificate, error) {
		pair, err := tls.LoadX509KeyPair(o.TLSCert, keyFile)
		if err != nil {
			return nil, fmt.Errorf("--tls-cert, --tls-key: %w", err)
		}
		current.Store(&pair)
		return &pair, nil
	}
	if _, err := load(); err != nil {
		return nil, err
	}
	h.TLS = &tls.Config{
		MinVersion:     tls.VersionTLS12,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return current.Load(), nil },
	}
	w.again = func(log *slog.Logger, _ *flux.Server) error {
		pair, err := load()
		if err != nil {
			return fmt.Errorf("the certificate stays as it was, since the new one cannot be used: %w", err)
		}
		log.Info("the certificate is read again", "file", o.TLSCert, "valid_until", pair.Leaf.NotAfter.UTC().Format(time.RFC3339))
		return nil
	}
	return w, nil
}
