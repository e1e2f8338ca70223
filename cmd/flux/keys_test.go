package main

import (
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fluxmetrics/fluxkit/flux"
)

func TestKeysFile(t *testing.T) {
	cfg, err := configOf("serve", "--key", key+"=a.b", "--self-key-file", write(t, "selfselfselfself\nmore\n"), "--keys-file", write(t, `# ours

fedcba9876543210 = warehouse-1
  aaaaaaaaaaaaaaaaaaaa
bbbbbbbbbbbbbbbbbbbb=x.y rights=ingest,populate rate=2.5 max-points=10	max-body=64KiB max-metrics=7
cccccccccccccccccccc rights=fill
dddddddddddddddddddd=a=b rate=0
`))
	require.NoError(t, err)
	require.Equal(t, []flux.Key{
		{Secret: "fedcba9876543210", Prefix: "warehouse-1"},
		{Secret: "aaaaaaaaaaaaaaaaaaaa"},
		{
			Secret: "bbbbbbbbbbbbbbbbbbbb", Prefix: "x.y", Rights: flux.RightIngest | flux.RightPopulate,
			Rate: 2.5, MaxPoints: 10, MaxBody: 64 << 10, MaxMetrics: 7,
		},
		{Secret: "cccccccccccccccccccc", Rights: flux.RightFill},
		{Secret: "dddddddddddddddddddd", Prefix: "a=b"},
		{Secret: key, Prefix: "a.b"},
		{Secret: "selfselfselfself", Rights: flux.RightIngest | flux.RightFill | flux.RightPopulate},
	}, cfg.HTTP.Keys)
}

func TestKeysFileRefused(t *testing.T) {
	f := func(want, line string) {
		t.Helper()
		o := fluxRun("serve", "--keys-file", write(t, "aaaaaaaaaaaaaaaaaaaa\n"+line+"\n"), "--check-config")
		require.Equal(t, exitUsage, o.code)
		require.Contains(t, o.stderr, want)
		require.NotContains(t, o.stderr, key)
	}
	f("key 2: ends in = without a prefix", key+"=")
	f("key 2: ends in = without a prefix", key+"= rights=fill")
	f("begins or ends with =", key+"==")
	f("key 2: does not begin with a key", "="+key)
	f(`key 2: has no option "writes": behind the key and its prefix stand rights=`, key+" writes=ingest")
	f("key 2: has no option whose name is not shown here", key+" "+key)
	f(`key 2: option "rate" stands there twice`, key+" rate=1 rate=2")
	f(`key 2: rights: flux: "all" is no right`, key+" rights=ingest,all")
	f(`key 2: rights: flux: "" is no right`, key+" rights")
	f(`key 2: rate: "fast" is not a number`, key+" rate=fast")
	f(`rate of key 2 is NaN`, key+" rate=nan")
	f(`key 2: max-points: "1.5" is not a number`, key+" max-points=1.5")
	f(`limits of key 2 cannot be negative`, key+" max-metrics=-1")
	f(`key 2: max-body: "8MB" is not a size`, key+" max-body=8MB")
	f("key 2 has 5 characters", "short")
	f("keys 1 and 2 are the same", "aaaaaaaaaaaaaaaaaaaa=x")
}

func TestKeyOptionsRefused(t *testing.T) {
	f := func(want string, args ...string) {
		t.Helper()
		o := fluxRun(append([]string{"serve", "--check-config"}, args...)...)
		require.Equal(t, exitUsage, o.code, o.stdout)
		require.Contains(t, o.stderr, want)
		require.NotContains(t, o.stderr, key)
		require.NotContains(t, o.stderr, "hunter2")
	}
	f("--key, number 1: has more than KEY[=PREFIX], and that can only stand in --keys-file", "--key", key+" rate=5")
	f("--self-key and --self-key-file are both given", "--self-key", key, "--self-key-file", write(t, key))
	f("--self-key-file: open /no/such/file", "--self-key-file", "/no/such/file")
	f("--allow-example-key", "--self-key", flux.ExampleKey)
	f("keys 1 and 2 are the same", "--key", key, "--self-key", key)
	f("--key-max-metrics -1 is less than 0", "--self-key", key, "--key-max-metrics=-1")
	f("--basic-auth, number 2 is not USER:PASSWORD", "--no-auth", "--basic-auth", "me:hunter2", "--basic-auth", "hunter2")
	f("--basic-auth, number 2 names a user who was named before", "--no-auth", "--basic-auth", "me:hunter2", "--basic-auth", "me:hunter2")
	f("line 3 is not USER:PASSWORD", "--no-auth", "--basic-auth-file", write(t, "# users\nme:hunter2\nyou:\n"))
	f("line 1 has a hash in place of the password", "--no-auth", "--basic-auth-file", write(t, "me:$apr1$hunter2\n"))
	f("names no user", "--no-auth", "--basic-auth-file", write(t, "\n"))
	f("--basic-auth-file: open /no/such/file", "--no-auth", "--basic-auth-file", "/no/such/file")
}

func TestSelfKeyIsEnough(t *testing.T) {
	o := fluxRun("serve", "--check-config", "--self-key", key)
	require.Equal(t, exitOK, o.code, o.stderr)
	require.Contains(t, o.stdout, "from   who has 1 API key\n")
	o = fluxRun("serve", "--check-config", "--no-auth")
	require.Contains(t, o.stdout, "from   anybody\n")
}

func TestBasicAuth(t *testing.T) {
	cfg, err := configOf("serve", "--key", key, "--basic-auth", "me:a,b:c", "--basic-auth-file", write(t, "# users\n\nyou: #sp ace \r\nhe:x\n"))
	require.NoError(t, err)
	require.Equal(t, map[string]string{"me": "a,b:c", "you": " #sp ace ", "he": "x"}, cfg.HTTP.BasicAuth)
	o := fluxRun("serve", "--check-config", "--key", key, "--basic-auth", "me:hunter2")
	require.Contains(t, o.stdout, "from   who has 1 API key and is 1 user\n")
}

func TestGatewayOptions(t *testing.T) {
	cfg, err := configOf("serve", "--no-auth")
	require.NoError(t, err)
	require.EqualValues(t, flux.DefaultMaxBody, cfg.HTTP.MaxBody)
	require.Equal(t, flux.DefaultMaxPoints, cfg.HTTP.MaxPoints)
	require.Nil(t, cfg.HTTP.TLS)
	require.Equal(t, flux.DefaultAwayWait, cfg.Dedup.AwayWait)
	require.Equal(t, flux.DefaultMaxFutureCarbon, cfg.Dedup.MaxFutureCarbon)

	cfg, err = configOf("serve", "--no-auth", "--max-body=1MiB", "--max-points=7", "--key-max-metrics=9", "--telegraf-template", "measurement.field",
		"--telegraf-unit", "1ms", "--telegraf-report", "--late", "deliver", "--max-future-carbon=0", "--dedup-away=refuse",
		"--dedup-away-wait=0.5", "--dedup-bypass", "a.b.", "--dedup-bypass", "c,d", "--dedup-inputs=all")
	require.NoError(t, err)
	require.EqualValues(t, 1<<20, cfg.HTTP.MaxBody)
	require.Equal(t, 7, cfg.HTTP.MaxPoints)
	require.Equal(t, 9, cfg.HTTP.KeyMaxMetrics)
	require.Equal(t, "measurement.field", cfg.HTTP.TelegrafTemplate)
	require.EqualValues(t, 1e6, cfg.HTTP.TelegrafUnit)
	require.True(t, cfg.HTTP.TelegrafReport)
	d := cfg.Dedup
	d.Store = nil
	require.Equal(t, flux.DedupConfig{
		AllInputs: true, Away: flux.AwayRefuse, AwayWait: 5e8, Bypass: []string{"a.b", "c", "d"}, LateDeliver: true, MaxFutureCarbon: -1,
	}, d)
}

func TestGatewayOptionsRefused(t *testing.T) {
	f := func(want string, args ...string) {
		t.Helper()
		_, err := configOf(append([]string{"serve", "--no-auth"}, args...)...)
		require.ErrorContains(t, err, want)
	}
	f("--max-points 0 must be at least 1", "--max-points=0")
	f("--max-body", "--max-body=0")
	f("--telegraf-template", "--telegraf-template=host.host.field")
	f("--telegraf-unit", "--telegraf-unit=10s")
	f("--late", "--late=never")
	f("--dedup-away", "--dedup-away=wait")
	f("--dedup-bypass", "--dedup-bypass", "a b")
	f("--dedup-ttl is less than a second", "--dedup", "redis://127.0.0.1", "--dedup-ttl", "0.5")
	f("--dedup-max-metrics 0 must be at least 1", "--dedup-max-metrics=0")
	f("--dedup-file is for --dedup memory", "--dedup", "redis://127.0.0.1", "--dedup-file", "x")
	f("--dedup-file is for --dedup memory", "--dedup", "off", "--dedup-file", "x")
	f("is no file of marks, and would be overwritten", "--dedup-file", write(t, "key\n"))
	f("--dedup-file", "--dedup-file", "/no/such/dir/file")
	f("--tls-key without --tls-cert", "--tls-key", "x")
	f("--tls-cert, --tls-key", "--tls-cert", "/no/such/file")
}

func TestSelfMetrics(t *testing.T) {
	host, err := os.Hostname()
	require.NoError(t, err)
	f := func(want string, args ...string) {
		t.Helper()
		cfg, err := configOf(append([]string{"serve", "--no-auth"}, args...)...)
		require.NoError(t, err)
		require.Equal(t, want, cfg.SelfMetrics.Prefix)
	}
	f("")
	f("skyline.flux."+asElement(host), "--self-metrics")
	f("skyline.flux."+asElement(host), "--self-metrics", "--no-get")
	f("a.b", "--self-metrics=a.b")
	f("", "--self-metrics=no")
	f("c.d", "--config", write(t, "[flux]\nself_metrics = c.d\n"))
	f("skyline.flux."+asElement(host), "--config", write(t, "[flux]\nself_metrics = True\n"))
	require.Equal(t, "web-1_example_org", asElement("web-1.example.org"))
	o := fluxRun("serve", "--no-auth", "--self-metrics=a b", "--check-config")
	require.Equal(t, exitUsage, o.code)
	require.Contains(t, o.stderr, "SelfMetrics.Prefix")
}
