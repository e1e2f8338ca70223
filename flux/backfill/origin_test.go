package backfill

import (
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestParseOrigin(t *testing.T) {
	for s, want := range map[string]string{
		"http://Graphite.Example":               "http://graphite.example:80",
		"https://graphite.example/":             "https://graphite.example:443",
		"https://graphite.example:0443":         "https://graphite.example:443",
		"http://[2001:DB8::1]:8080":             "http://[2001:db8::1]:8080",
		"http://127.0.0.1:9090":                 "http://127.0.0.1:9090",
		"http://g:8080=10.0.0.0/8,127.0.0.1/32": "http://g:8080",
		"g:8080=10.0.0.0/8":                     "http://g:8080",
		"g:443=10.0.0.0/8":                      "https://g:443",
		"g=::1/128":                             "http://g:80",
	} {
		o, err := ParseOrigin(s)
		require.NoError(t, err, s)
		require.Equal(t, want, o.String())
	}
	for _, s := range []string{
		"", "g", "g:80", "ftp://g", "file:///", "http://", "http://g/path", "http://g?x", "http://g#x", "http://u@g", "http://u:p@g",
		"http://g:0", "http://g:65536", "http://g:x", "http://g=", "http://g=10.0.0.0", "http://g=10.0.0.1/8", "http://10.0.0.1=10.0.0.0/8",
		"http://a b", "http://gé", "http://g%41",
	} {
		_, err := ParseOrigin(s)
		require.Error(t, err, s)
	}
}

// Who writes a user and a password into an URL is told what to do instead, and they are told nobody else.
func TestOriginWithAPassword(t *testing.T) {
	for _, s := range []string{"http://user:s3cret@g:8080", "user:s3cret@g=10.0.0.0/8", "https://s3cret@g"} {
		_, err := ParseOrigin(s)
		require.ErrorContains(t, err, "leave them out")
		require.NotContains(t, err.Error(), "s3cret")
		require.NotContains(t, err.Error(), "user:")
	}
	_, err := (&Request{HostType: Graphite, URLs: []string{"http://user:s3cret@g/render?target=a@b"}}).resolve(nil, time.Unix(0, 0), true)
	require.ErrorContains(t, err, `"http://xxxxx@g/render?target=a@b": it holds`)
	require.Equal(t, "http://g/render?target=a@b", masked("http://g/render?target=a@b"))
}

func TestOriginAllows(t *testing.T) {
	for _, c := range []struct {
		origin, address string
		ok              bool
	}{
		{"http://g", "192.0.2.1", true},
		{"http://g", "10.1.2.3", true},
		{"http://g", "fd00::1", true},
		{"http://g", "127.0.0.1", false},
		{"http://g", "127.9.9.9", false},
		{"http://g", "::1", false},
		{"http://g", "::ffff:127.0.0.1", false},
		{"http://g", "::127.0.0.1", false},
		{"http://g", "64:ff9b::7f00:1", false},
		{"http://g", "64:ff9b::808:808", true},
		{"http://g", "2002:7f00:1::1", false},
		{"http://g", "::ffff:0:127.0.0.1", false},
		{"http://g", "::ffff:0:192.0.2.1", true},
		{"http://g", "64:ff9b:1::7f00:1", false},
		{"http://g", "2001:0:7f00:1::1", false},
		{"http://g", "2001:db8::1", true},
		{"http://g", "fd00:ec2::254", false},
		{"http://g", "169.254.169.254", false},
		{"http://g", "fe80::1", false},
		{"http://g", "fe80::1%eth0", false},
		{"http://g", "0.0.0.0", false},
		{"http://g", "0.1.2.3", false},
		{"http://g", "::", false},
		{"http://g", "224.0.0.1", false},
		{"http://g", "ff02::1", false},
		{"http://g", "255.255.255.255", false},
		{"g=127.0.0.0/8", "127.0.0.1", true},
		{"g=127.0.0.0/8", "::ffff:127.0.0.1", true},
		{"g=127.0.0.0/8", "10.0.0.1", false},
		{"http://127.0.0.1", "127.0.0.1", true},
		{"http://127.0.0.1", "127.0.0.2", false},
		{"http://169.254.1.1", "169.254.1.1", true},
	} {
		a := netip.MustParseAddr(c.address)
		require.Equal(t, c.ok, origin(t, c.origin).allows(a), "%s %s", c.origin, c.address)
	}
}
