package main

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestConfigurationFile(t *testing.T) {
	ok := func(text string, args ...string) outcome {
		t.Helper()
		path := write(t, text)
		o := fluxWith(ended(), "", nil, append([]string{"forward", "--config", path, "-e", "127.0.0.1:0"}, args...)...)
		require.Equal(t, exitOK, o.code, o.stderr)
		return o
	}
	bad := func(want, text string, args ...string) {
		t.Helper()
		path := write(t, text)
		o := fluxWith(ended(), "", nil, append([]string{"forward", "--config=" + path, "-e", "127.0.0.1:0"}, args...)...)
		require.Equal(t, exitUsage, o.code, o.stderr)
		require.Contains(t, o.stderr, want)
		require.NotContains(t, strings.ToLower(o.stderr), "0123456789abcdef")
		require.NotContains(t, o.stderr, "--endpoint:")
	}
	const section = "[blueflood_carbon_forwarder]\n"
	ok(section + "tenant = demo\n")
	ok(section + "# a comment\n; another\ntenant: demo\ninterval = 0.5\nttl=3600\nmetric_prefix = a.b\noverwrite_collection_timestamp=False\nlimit = 0\n")
	ok(section + "TENANT = demo\n[other]\nanything = goes\n")
	o := ok(section+"tenant = demo\nendpoint = tcp:2004\n", "-t", "mine")
	require.Contains(t, o.stderr, `overridden" option=tenant by="command line"`)
	require.Contains(t, o.stderr, `overridden" option=endpoint by="command line"`)
	bad(", stands outside a section", "tenant = demo\n")
	bad("no section [blueflood_carbon_forwarder]", "[flux]\nlisten = x\n")
	bad(`has no option "tenannt"`, section+"tenannt = demo\n")
	bad(`has no option "config"`, section+"tenant = demo\nconfig = other\n")
	bad("may be a key", section+"tenant = demo\n0123456789ABCDEF = x\n")
	bad("may be a key", "0123456789ABCDEF = x\n"+section+"tenant = demo\n")
	bad("cannot be read", section+"tenant = demo\n0123456789ABCDEF\n")
	bad("stands there twice", section+"tenant = demo\nmetric-prefix = a\nmetric_prefix = b\n")
	bad("neither true nor false", section+"tenant = demo\noverwrite_collection_timestamp = perhaps\n")
	bad("--interval", section+"tenant = demo\ninterval = often\n")
	bad("--protocol", section+"tenant = demo\nprotocol = Pickle\n")
}

func TestFileValuesAreTakenWhole(t *testing.T) {
	path := write(t, "[flux]\nlisten = 127.0.0.1:0\nkey = "+key+"=a, fedcba9876543210\ncarbon = 127.0.0.1:1\nlog_format = json\ndedup = redis://:pa#ss;w\\@127.0.0.1:1/0\n")
	o := fluxWith(ended(), "", nil, "serve", "-c", path)
	require.Equal(t, exitUsage, o.code, "the # has to be percent-encoded in a URL, which shows that it was not taken for a comment")
	path = write(t, "[flux]\nlisten = 127.0.0.1:0\nkey = "+key+"=a, fedcba9876543210\ncarbon = 127.0.0.1:1\nlog_format = json\ndedup = off\n")
	o = fluxWith(ended(), "", nil, "serve", "-c", path)
	require.Equal(t, exitOK, o.code, o.stderr)
	require.Contains(t, o.stderr, `"msg":"listening"`)
	for _, args := range [][]string{{"-c" + path}, {"-c=" + path}, {"--config=" + path}} {
		o = fluxWith(ended(), "", nil, append([]string{"serve"}, args...)...)
		require.Equal(t, exitOK, o.code, "%v %s", args, o.stderr)
	}
	t.Setenv("FLUX_SERVE_LOG_FORMAT", "text")
	o = fluxWith(ended(), "", map[string]string{"FLUX_SERVE_LOG_FORMAT": "text", "FLUX_SERVE_CONFIG": path}, "serve")
	require.Equal(t, exitOK, o.code, o.stderr)
	require.Contains(t, o.stderr, `overridden" option=log-format by="environment variable FLUX_SERVE_LOG_FORMAT"`)
}
