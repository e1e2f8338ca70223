package main

import (
	"io"
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fluxmetrics/fluxkit/blueflood"
	"github.com/fluxmetrics/fluxkit/flux"
	"github.com/fluxmetrics/fluxkit/graphite"
)

// parsed runs a command line up to where the command would run, with an empty environment.
func parsed(args ...string) (*cli, error) {
	var commands cli
	c := &cmdContext{stdout: io.Discard, stderr: io.Discard}
	_, err := parse(c, &commands, args, func(string) (string, bool) { return "", false })
	return &commands, err
}

// configOf is what a command line of flux serve or flux forward makes of the options.
func configOf(args ...string) (flux.Config, error) {
	commands, err := parsed(args...)
	if err != nil {
		return flux.Config{}, err
	}
	config := commands.Forward.config
	if args[0] == "serve" {
		config = commands.Serve.config
	}
	s := &setup{Config: flux.Config{Logger: slog.New(slog.DiscardHandler)}}
	defer s.close()
	err = config(s)
	return s.Config, err
}

func TestPipelineOptions(t *testing.T) {
	for _, command := range [][]string{{"serve", "--no-auth"}, {"forward", "-t", "demo"}} {
		cfg, err := configOf(command...)
		require.NoError(t, err)
		require.Empty(t, cfg.SpoolDir)
		require.EqualValues(t, 8<<30, cfg.SpoolMax)
		require.EqualValues(t, 16<<20, cfg.MemoryMax)
		require.Empty(t, cfg.DeadLetter)
		require.EqualValues(t, 64<<20, cfg.DeadLetterMax)
		require.Empty(t, cfg.Also)

		cfg, err = configOf(append(command, "--spool", "/var/spool/flux", "--spool_max=1GiB", "--memory-max", "1048576",
			"--dead-letter=/var/lib/dead", "--dead-letter-max", "1MiB", "--also", "line://h:2003", "--also=pickle://h:2004?name=other")...)
		require.NoError(t, err)
		require.Equal(t, "/var/spool/flux", cfg.SpoolDir)
		require.EqualValues(t, 1<<30, cfg.SpoolMax)
		require.EqualValues(t, 1<<20, cfg.MemoryMax)
		require.Equal(t, "/var/lib/dead", cfg.DeadLetter)
		require.EqualValues(t, 1<<20, cfg.DeadLetterMax)
		require.Len(t, cfg.Also, 2)
		require.Equal(t, graphite.Line, cfg.Also[0].Carbon.Protocol)
		require.Equal(t, "other", cfg.Also[1].Name)
		require.NotNil(t, cfg.Also[1].Carbon.Logger)

		_, err = configOf(append(command, "--spool-max", "8GB")...)
		require.ErrorContains(t, err, `--spool-max`)
		require.ErrorContains(t, err, "512MiB")
	}
}

func TestAlso(t *testing.T) {
	f := func(text string, want flux.Destination) {
		t.Helper()
		got, err := parseAlso(text, blueflood.EndpointConfig{Limit: 1000, TTL: time.Minute})
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
	f("pickle://h:2004", flux.Destination{Carbon: &graphite.ClientConfig{Addrs: []string{"h:2004"}}})
	f("line://[::1]:2003/?required", flux.Destination{Required: true, Carbon: &graphite.ClientConfig{Addrs: []string{"[::1]:2003"}, Protocol: graphite.Line}})
	f("line://h:2003?required=no&name=a-b_C", flux.Destination{Name: "a-b_C", Carbon: &graphite.ClientConfig{Addrs: []string{"h:2003"}, Protocol: graphite.Line}})
	f("blueflood+http://h:19000/acme", flux.Destination{Blueflood: &blueflood.EndpointConfig{URL: "http://h:19000", Tenant: "acme", TTL: 24 * time.Hour, Limit: 1000}})
	f("blueflood+https://u:p@h/base/a%20b?ttl=3600&prefix=x.y&required=1&name=n", flux.Destination{
		Name: "n", Required: true,
		Blueflood: &blueflood.EndpointConfig{URL: "https://u:p@h/base", Tenant: "a b", TTL: time.Hour, Prefix: "x.y", Limit: 1000},
	})
	f("blueflood+http://h/acme/?ttl=48h", flux.Destination{Blueflood: &blueflood.EndpointConfig{URL: "http://h", Tenant: "acme", TTL: 48 * time.Hour, Limit: 1000}})
}

func TestAlsoRefused(t *testing.T) {
	f := func(want, text string) {
		t.Helper()
		_, err := configOf("serve", "--no-auth", "--also", "line://ok:1", "--also", text)
		require.ErrorContains(t, err, "--also, number 2: ")
		require.ErrorContains(t, err, want)
		require.NotContains(t, err.Error(), "hunter2hunter2")
	}
	f("is not a URL: write pickle://HOST:PORT", "pickle://u:hunter2hunter2@h:port")
	f("is not a URL", "blueflood+http://u:hunter2hunter2%zz@h/t")
	f(`"udp" is not known: use pickle://, line://`, "udp://h:1")
	f(`"" is not known`, "h/1")
	f("line://HOST:PORT", "line://h")
	f("line://HOST:PORT", "line://:2003")
	f("pickle://HOST:PORT", "pickle://h:2004/path")
	f("pickle://HOST:PORT", "pickle://u:hunter2hunter2@h:2004")
	f("blueflood+http://HOST:PORT/TENANT", "blueflood+http://h:19000")
	f("blueflood+http://HOST:PORT/TENANT", "blueflood+http://h:19000/")
	f("blueflood+http://HOST:PORT/TENANT", "blueflood+http:///acme")
	f(`no option "ttl": it takes name, required`, "line://h:1?ttl=5")
	f(`no option "retries": it takes name, required, prefix, ttl, password_file, user, key_file, auth_url behind`, "blueflood+http://h/t?retries=5")
	f("not shown here", "line://h:1?hunter2hunter2=5")
	f("cannot be read", "line://h:1?a=%zz")
	f("cannot be read", "line://h:1#required")
	f("stands there twice", "line://h:1?name=a&name=b")
	f("letters, digits, - and _", "line://h:1?name=a/b")
	f("letters, digits, - and _", "line://h:1?name=")
	f("neither true nor false", "line://h:1?required=perhaps")
	f("ttl", "blueflood+http://h/t?ttl=0")
	f("ttl", "blueflood+http://h/t?ttl=1.5")
	f("ttl", "blueflood+http://h/t?ttl=soon")
}

func TestTenantRules(t *testing.T) {
	cfg, err := configOf("forward", "-t", "demo", "--tenant-rule", `^web\.(a|b){1,3}=shop`, "--tenant_rule", `host=web\d+;=a b`)
	require.NoError(t, err)
	require.Equal(t, []flux.TenantRule{{Pattern: `^web\.(a|b){1,3}`, Tenant: "shop"}, {Pattern: `host=web\d+;`, Tenant: "a b"}}, cfg.Destination.Tenants)
	for text, want := range map[string]string{
		"web":        "is not REGEX=TENANT",
		"=shop":      "is not REGEX=TENANT",
		"web=":       "is not REGEX=TENANT",
		"web(=shop":  "no regular expression: error parsing regexp: missing closing )",
		"(?=a)=shop": "no regular expression",
	} {
		_, err := configOf("forward", "-t", "demo", "--tenant-rule", text)
		require.ErrorContains(t, err, want, text)
		require.ErrorContains(t, err, "--tenant-rule")
	}
}

func TestForwardInputs(t *testing.T) {
	f := func(line, pickle, udp string, args ...string) {
		t.Helper()
		cfg, err := configOf(append([]string{"forward", "-t", "demo", "--over"}, args...)...)
		require.NoError(t, err)
		for want, in := range map[*string]*flux.CarbonInput{&line: cfg.Line, &pickle: cfg.Pickle, &udp: cfg.UDP} {
			if *want == "" {
				require.Nil(t, in)
				continue
			}
			require.Equal(t, *want, in.Listen)
			require.True(t, in.OverwriteTimestamps)
		}
	}
	const standard = "tcp:2004:interface=127.0.0.1"
	f("", standard, "")
	f("h:1", standard, "h:2", "--line-listen", "h:1", "--udp-listen", "h:2")
	f("tcp:1", "h:2", "", "-e", "tcp:1", "--protocol", "MetricLineReceiver", "--pickle-listen", "h:2")
	f("h:1", "h:2", "", "--endpoint=", "--line-listen", "h:1", "--pickle-listen", "h:2")
	f("", "", "h:3", "--endpoint=", "--udp-listen", "h:3")
	for _, c := range [][2]string{{"--pickle-listen", "MetricPickleReceiver"}, {"--line-listen", "MetricLineReceiver"}} {
		_, err := configOf("forward", "-t", "demo", c[0], "h:1", "--protocol", c[1])
		require.ErrorContains(t, err, "--endpoint "+standard+" and "+c[0]+" would both take")
		require.ErrorContains(t, err, "write --endpoint= to listen there alone")
	}
}

func TestForwardOptions(t *testing.T) {
	cfg, err := configOf("forward", "-t", "demo")
	require.NoError(t, err)
	b := cfg.Destination.Blueflood
	require.Equal(t, "http://localhost:19000", b.URL)
	require.Equal(t, 24*time.Hour, b.TTL)
	require.Equal(t, 30*time.Second, b.Interval)
	require.Equal(t, 1_048_576, b.Limit)
	require.False(t, b.Gzip)
	require.Zero(t, b.PastLimit)
	require.Zero(t, b.FutureLimit)
	require.Nil(t, b.Auth)
	require.Empty(t, b.Prefix)
	require.True(t, cfg.Dedup.Off)

	cfg, err = configOf("forward", "-t", "demo", "-b", "https://h", "-i", "0.5", "-p", "a.b", "--ttl", "60", "--limit", "5000", "--gzip",
		"--past-limit", "72h", "--future_limit", "600", "--also", "blueflood+http://h/t")
	require.NoError(t, err)
	b = cfg.Destination.Blueflood
	require.Equal(t, "https://h", b.URL)
	require.Equal(t, "a.b", b.Prefix)
	require.Equal(t, time.Minute, b.TTL)
	for _, b := range []*blueflood.EndpointConfig{b, cfg.Also[0].Blueflood} {
		require.Equal(t, 500*time.Millisecond, b.Interval)
		require.Equal(t, 5000, b.Limit)
		require.True(t, b.Gzip)
		require.Equal(t, 72*time.Hour, b.PastLimit)
		require.Equal(t, 10*time.Minute, b.FutureLimit)
	}
	require.Equal(t, 24*time.Hour, cfg.Also[0].Blueflood.TTL, "a further destination has what its own URL says")
	require.Empty(t, cfg.Also[0].Blueflood.Prefix)
}

func TestKeystoneOptions(t *testing.T) {
	word := write(t, "#hunter2 hunter2 \n")
	ok := func(args ...string) {
		t.Helper()
		cfg, err := configOf(append([]string{"forward", "-t", "demo"}, args...)...)
		require.NoError(t, err)
		require.NotNil(t, cfg.Destination.Blueflood.Auth)
	}
	ok("-u", "me", "-k", "hunter2hunter2")
	ok("--user", "me", "--key_file", word, "--auth_url", "http://h/v2.0/tokens", "--auth-tenant", "acme")
	ok("-u", "me", "--password", "hunter2hunter2")
	ok("-u", "me", "--password-file", word)
	got, err := readPassword(word)
	require.NoError(t, err)
	require.Equal(t, "#hunter2 hunter2 ", got, "a secret stands in its file as it is")

	bad := func(want string, args ...string) {
		t.Helper()
		_, err := configOf(append([]string{"forward", "-t", "demo"}, args...)...)
		require.ErrorContains(t, err, want)
		require.NotContains(t, err.Error(), "hunter2")
	}
	bad("--user without its key: give the API key with --key-file FILE", "-u", "me")
	bad("without --user: name the user with --user USER", "-k", "hunter2hunter2")
	bad("without --user", "--password-file", word)
	bad("without --user", "--auth-tenant", "acme")
	bad("--key and --password are both given", "-u", "me", "-k", "hunter2hunter2", "--password-file", word)
	bad("--key and --key-file are both given: keep --key-file", "-u", "me", "-k", "hunter2hunter2", "--key-file", word)
	bad("--password and --password-file are both given", "-u", "me", "--password", "hunter2hunter2", "--password-file", word)
	bad("--key-file: open /no/such/file", "-u", "me", "--key-file", "/no/such/file")
	bad("is empty", "-u", "me", "--password-file", write(t, "\nhunter2\n"))
	bad("--auth-url is empty", "-u", "me", "-k", "x", "--auth_url=")
	bad("URL", "-u", "me", "-k", "x", "--auth_url=keystone.example")
}

func TestCheckConfig(t *testing.T) {
	word := write(t, "hunter2hunter2\n")
	o := fluxRun("forward", "--check-config", "-t", "demo", "-b", "http://me:hunter2hunter2@h:1", "-u", "me", "--password-file", word,
		"--line-listen", "h:1", "--also", "pickle://h:2004", "--tenant-rule", "^web=shop", "--spool", t.TempDir(), "--dead-letter", word)
	require.Equal(t, exitOK, o.code, o.stderr)
	for _, want := range []string{
		"listen line     h:1\n", "listen pickle   tcp:2004:interface=127.0.0.1\n", "blueflood http://me:xxxxx@h:1, tenant demo, time to live 24h0m0s\n",
		"names that match ^web: tenant shop\n", `User: "me"`, "carbon h:2004 by pickle\n", "best effort", "at most 8GiB a destination", "at most 64MiB", "the configuration can run\n",
	} {
		require.Contains(t, o.stdout, want)
	}
	require.NotContains(t, o.stdout+o.stderr, "hunter2")
	o = fluxRun("serve", "--no-auth", "--check-config")
	require.Equal(t, exitOK, o.code, o.stderr)
	require.Contains(t, o.stdout, "listen http     127.0.0.1:8000\n")
	require.Contains(t, o.stdout, "in memory, at most 16MiB a destination: lost with the process\n")

	bad := func(want string, args ...string) {
		t.Helper()
		o := fluxRun(append(args, "--check-config")...)
		require.Equal(t, exitUsage, o.code, o.stdout)
		require.Contains(t, o.stderr, want)
		require.Empty(t, o.stdout)
	}
	bad("--endpoint: ", "forward", "-t", "demo", "-e", "2004")
	bad("--udp-listen: ", "serve", "--no-auth", "--udp-listen", "nowhere")
	bad("Tenant", "forward", "-t", "a/b")
	bad("--spool "+word+" is a file", "forward", "-t", "demo", "--spool", word)
	bad("is a directory", "forward", "-t", "demo", "--dead-letter", t.TempDir())
	bad("--key KEY", "serve")
	bad("carbon.example", "serve", "--no-auth", "--carbon", "carbon.example")
	_, err := parsed("forward", "-c", write(t, "[blueflood_carbon_forwarder]\ntenant=x\ncheck_config=1\n"))
	require.ErrorContains(t, err, `has no option "check_config"`)
}
