package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fluxmetrics/fluxkit/flux"
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
	bad("option tenant stands there twice", section+"tenant = demo\ntenant = other\n")
	bad("under [DEFAULT]", "[DEFAULT]\ninterval = 5\n"+section+"tenant = demo\n")
	bad("begin each option at the start of its line", section+"  tenant = demo\n  ttl = 60\n")
	bad("a value begins with `", section+"tenant = demo\npassword = `0123456789abcdef`\n")
	bad("option password has a value that is not UTF-8", section+"tenant = demo\npassword = 0123456789abcdef\xe9\n")
	bad("longer than 1048576 bytes", section+"tenant = demo\n"+strings.Repeat("# a comment\n", 1e5))
	bad("Tenant \"\": is empty", section+"tenant =\n")
	bad("missing flags: --tenant", section+"ttl = 60\n")
	bad("is not a whole number", section+"tenant = demo\nttl = 0123456789abcdef\n")
	bad("is not a duration: use seconds", section+"tenant = demo\ninterval = 0123456789abcdef\n")
	bad("is not a size: use whole bytes", section+"tenant = demo\nmemory_max = 0123456789abcdef\n")
	bad("neither true nor false", section+"tenant = demo\ngzip = 0123456789abcdef\n")
	bad("must be one of MetricPickleReceiver, MetricLineReceiver", section+"tenant = demo\nprotocol = 0123456789abcdef\n")
	bad("--auth-url is empty", section+"tenant = demo\nuser = me\nkey = 0123456789abcdef\nauth_url =\n")
	bad("--user without its key", section+"tenant = demo\nuser = me\nkey =\n")
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

// TestRepeatableOptionsOfAFile has one value a line, in one option or in several, beyond what the parser's own buffer
// would hold.
func TestRepeatableOptionsOfAFile(t *testing.T) {
	const section = "[blueflood_carbon_forwarder]\ntenant = demo\n"
	f := func(text string) flux.Config {
		t.Helper()
		cfg, err := configOf("forward", "--config", write(t, section+text))
		require.NoError(t, err)
		return cfg
	}
	want := []flux.TenantRule{{Pattern: `^a{1,2},b`, Tenant: "one"}, {Pattern: `^c\.`, Tenant: "two"}}
	require.Equal(t, want, f("tenant_rule =\n  ^a{1,2},b=one\n  ^c\\.=two\n").Destination.Tenants)
	require.Equal(t, want, f("tenant_rule = ^a{1,2},b=one\r\n\t^c\\.=two\r\nttl = 5\r\n").Destination.Tenants)
	require.Equal(t, want, f("tenant_rule = ^a{1,2},b=one\ntenant_rule = ^c\\.=two\n").Destination.Tenants)
	require.Len(t, f("also = line://h:1\n  pickle://h:2?required\ngzip = yes\n").Also, 2)
	text := "tenant_rule =\n"
	for i := range 2000 {
		text += fmt.Sprintf("  ^metrics\\.%d\\.=tenant-%d\n", i, i)
	}
	rules := f(text + "ttl = 60\n").Destination.Tenants
	require.Len(t, rules, 2000)
	require.Equal(t, flux.TenantRule{Pattern: `^metrics\.1999\.`, Tenant: "tenant-1999"}, rules[1999])
	cfg, err := configOf("serve", "--config", write(t, "[flux]\nkey =\n  "+key+"=a\n  fedcba9876543210\ncarbon = h:1,\n  h:2\n"))
	require.NoError(t, err)
	require.Equal(t, []string{"h:1", "h:2"}, cfg.Destination.Carbon.Addrs)
	require.Equal(t, []flux.Key{{Secret: key, Prefix: "a"}, {Secret: "fedcba9876543210"}}, cfg.HTTP.Keys)
}

// TestPrecedence has one option in each place at once.
func TestPrecedence(t *testing.T) {
	const name = "FLUX_FORWARD_METRIC_PREFIX"
	path := write(t, "[blueflood_carbon_forwarder]\ntenant = demo\nmetric_prefix = file\n")
	prefix := func(args ...string) string {
		t.Helper()
		var commands cli
		c := &cmdContext{stdout: io.Discard, stderr: io.Discard}
		_, err := parse(c, &commands, append([]string{"forward"}, args...), os.LookupEnv)
		require.NoError(t, err)
		return commands.Forward.Prefix
	}
	require.Empty(t, prefix("-t", "demo"))
	require.Equal(t, "file", prefix("-c", path))
	t.Setenv(name, "environment")
	require.Equal(t, "environment", prefix("-c", path))
	require.Equal(t, "line", prefix("-c", path, "-p", "line"))
	t.Setenv("FLUX_FORWARD_CONFIG", path)
	t.Setenv("FLUX_FORWARD_TENANT_RULE", "a=b\nc{1,2}=d")
	cfg, err := configOf("forward", "-t", "demo")
	require.NoError(t, err)
	require.Len(t, cfg.Destination.Tenants, 2, "the environment has one a line too")
}
