package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
	"github.com/stretchr/testify/require"
)

// parsedFile is parse of a command that reads a configuration file of this text.
func parsedFile(t *testing.T, dir, command, text string) (*cli, error) {
	t.Helper()
	path := filepath.Join(dir, "file")
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	var commands cli
	c := &cmdContext{stdout: io.Discard, stderr: io.Discard}
	_, err := parse(c, &commands, []string{command, "--config", path}, func(string) (string, bool) { return "", false })
	return &commands, err
}

// FuzzConfigurationFile reads files of any bytes: nothing panics, and no error shows what stands behind a = or a colon.
func FuzzConfigurationFile(f *testing.F) {
	f.Add([]byte("[blueflood_carbon_forwarder]\ntenant = a\ninterval=0.5\n# end\n"))
	f.Add([]byte("[flux]\nkey: 0123456789abcdef0123456789abcdef=a.b,\n  fedcba9876543210\nlog_format = json\nmax_age=1h\n"))
	f.Add([]byte("[blueflood_carbon_forwarder]\nttl = soon\nprotocol=Pickle\ngzip=perhaps\nspool_max=8GB\n"))
	f.Add([]byte("[DEFAULT]\ntenant = demo\n[blueflood_carbon_forwarder]\nuser = me\nkey = `a`\npassword = \"\"\"\n"))
	f.Add([]byte("\xef\xbb\xbf[flux\nno_auth\n-=1\n\"quoted\" = 2\n  ttl = 3\r\n\ttenant_rule =\n  a=b\n"))
	k, err := kong.New(&cli{}, kong.PostBuild(nameEnvironment))
	require.NoError(f, err)
	read := func(cmd *kong.Command, data []byte) error {
		r := &fileResolver{path: "file", env: func(string) (string, bool) { return "", false }}
		var err error
		if r.values, err = fileOptions("file", data, sections[cmd.Name], cmd); err != nil {
			return err
		}
		for _, flag := range cmd.Flags {
			_, failed := r.Resolve(nil, nil, flag)
			err = errors.Join(err, failed)
		}
		return err
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		const secret = "zQ9-5ecret-7x" // not the form of an option's name, which is shown
		var marked []byte
		for line := range bytes.Lines(data) {
			if i := bytes.IndexAny(line, "=:"); i >= 0 {
				line = append(append(line[:i+1:i+1], secret...), line[i+1:]...)
			}
			marked = append(marked, line...)
		}
		for _, cmd := range k.Model.Children {
			if sections[cmd.Name] != "" {
				_ = read(cmd, data)
				if err := read(cmd, marked); err != nil {
					require.NotContains(t, err.Error(), "5ecret")
				}
			}
		}
	})
}

// FuzzConfigurationValues writes valid files in many spellings: what they say is what the options are.
func FuzzConfigurationValues(f *testing.F) {
	f.Add("demo", "a.b", "pa#ss;w\\", "^web\\.(a|b){1,3}=shop", "x=y", uint32(500), int64(60), true, uint8(0))
	f.Add("a b", "", "%(tenant)s", "\"quoted\"", "'", uint32(1), int64(1), false, uint8(255))
	f.Add("demo", "[x]", "${HOME}", "# no comment", "; nor this", uint32(30000), int64(0), true, uint8(0x55))
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, tenant, prefix, key, rule1, rule2 string, millis uint32, ttl int64, yes bool, style uint8) {
		clean := strings.NewReplacer("\n", "", "\r", "", "`", "", `"""`, "")
		for _, s := range []*string{&tenant, &prefix, &key, &rule1, &rule2} {
			*s = strings.TrimSpace(clean.Replace(strings.ToValidUTF8(*s, "")))
		}
		if strings.Contains(tenant+prefix+key+rule1+rule2, `"""`) {
			return
		}
		interval := float64(millis%1e6) / 1000
		bit := func(n int, zero, one string) string {
			if style>>n&1 == 0 {
				return zero
			}
			return one
		}
		end := bit(0, "\n", "\r\n")
		is := bit(1, "=", " : ")
		var text strings.Builder
		option := func(name, value string) {
			if name = strings.ReplaceAll(name, "_", bit(2, "_", "-")); style>>3&1 == 1 {
				name = strings.ToUpper(name)
			}
			fmt.Fprint(&text, bit(4, "", "# key = no"+end+end), name, is, value, bit(5, "", " "), end)
		}
		text.WriteString(bit(6, "", "[other]"+end+"tenant=nobody"+end) + "[blueflood_carbon_forwarder]" + end)
		option("tenant", tenant)
		option("metric_prefix", prefix)
		option("key", key)
		option("interval", fmt.Sprint(interval))
		option("ttl", fmt.Sprint(ttl))
		option("overwrite_collection_timestamp", map[bool]string{true: bit(7, "True", "on"), false: bit(7, "False", "0")}[yes])
		option("tenant_rule", rule1+end+"\t"+rule2)

		commands, err := parsedFile(t, dir, "forward", text.String())
		require.NoError(t, err, "%q", text.String())
		got := commands.Forward
		require.Equal(t, tenant, got.Tenant)
		require.Equal(t, prefix, got.Prefix)
		require.Equal(t, key, got.Key)
		require.InDelta(t, interval, float64(got.Interval)/1e9, 1e-6)
		require.Equal(t, ttl, got.TTL)
		require.Equal(t, yes, got.OverwriteCollectionTimestamp)
		require.Equal(t, eachLine([]string{rule1, rule2}), eachLine(got.TenantRule))
	})
}
