package flux_test

import (
	"crypto/tls"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fluxmetrics/fluxkit/flux"
)

// TestTLS serves HTTPS with a user and a password, by a certificate that is asked for with each connection.
func TestTLS(t *testing.T) {
	noLeaks(t)
	lender := httptest.NewTLSServer(nil)
	defer lender.Close()
	var asked atomic.Int64
	r := newRig(t, func(c *flux.Config) {
		c.HTTP.Listen = "127.0.0.1:0"
		c.HTTP.BasicAuth = map[string]string{"user": "password"}
		c.HTTP.TLS = &tls.Config{GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			asked.Add(1)
			return &lender.TLS.Certificates[0], nil
		}}
	})
	r.run()
	client := lender.Client()
	defer client.CloseIdleConnections()
	for i, password := range []string{"password", "wrong"} {
		req, err := http.NewRequest("POST", "https://"+r.server.Addr("http").String()+"/flux/metric_data_post", strings.NewReader(single("a", now(), 1)))
		require.NoError(t, err)
		req.SetBasicAuth("user", password)
		resp, err := client.Do(req)
		require.NoError(t, err)
		resp.Body.Close()
		require.Equal(t, []int{204, 401}[i], resp.StatusCode)
		client.CloseIdleConnections()
	}
	require.EqualValues(t, 2, asked.Load())
	resp, err := http.Post("http://"+r.server.Addr("http").String()+"/flux/metric_data_post", "", strings.NewReader(single("b", now(), 1)))
	require.NoError(t, err)
	resp.Body.Close()
	require.Equal(t, 400, resp.StatusCode, "plain HTTP is told that it should be HTTPS")
	http.DefaultClient.CloseIdleConnections()
	require.EqualValues(t, 1, r.account().Received)

	_, err = flux.New(flux.Config{Destination: toCarbon(nowhere), HTTP: &flux.HTTPConfig{NoAuth: true, TLS: &tls.Config{}}})
	require.ErrorIs(t, err, flux.ErrConfig)
	require.ErrorContains(t, err, "certificate")
}

func TestEncodedBodies(t *testing.T) {
	noLeaks(t)
	r := newRig(t, nil)
	for i, encoding := range []string{"gzip", "deflate", "raw"} {
		header := strings.Replace(encoding, "raw", "deflate", 1)
		body := squeeze(t, encoding, strings.NewReader(single(string(rune('a'+i)), now(), 1)))
		code, answer := r.do("POST", "/flux/metric_data_post", string(body), "Content-Encoding", strings.ToUpper(header))
		require.Equal(t, 204, code, answer)
	}
	require.EqualValues(t, 3, r.account().Accepted)
}
