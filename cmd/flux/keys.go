package main

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/fluxmetrics/fluxkit/flux"
)

// keyOptions say who may send.
type keyOptions struct {
	Key             []string `group:"keys" placeholder:"KEY[=PREFIX]" help:"API key that may send, 16 to 128 of A-Z a-z 0-9 _ -; repeatable. With PREFIX, every metric sent with it is put under PREFIX. Others on this host can read a command line: prefer --keys-file."`
	KeysFile        string   `group:"keys" placeholder:"FILE" help:"File of keys, a line each: KEY[=PREFIX] [rights=ingest,fill,populate] [rate=POINTS_A_SECOND] [max-points=N] [max-body=SIZE] [max-metrics=N]. Rights are ingest,fill unless they are given; max-points and max-body are of one request. # starts a comment line. fill alone may send fills only. It is read again when it has changed, and upon SIGHUP; one that is gone or wrong is logged, and the former keys stay, as they do where no key at all would be left."`
	SelfKey         string   `group:"keys" placeholder:"KEY" help:"API key with every right and no prefix, as FLUX_SELF_API_KEY of the original. It is enough to start with. Prefer --self-key-file."`
	SelfKeyFile     string   `group:"keys" placeholder:"FILE" help:"File whose first line is that key."`
	KeyMaxMetrics   int      `group:"keys" placeholder:"N" help:"Most distinct names that one key may use while this process runs; points of further names are refused. Default: no limit."`
	NoAuth          bool     `group:"keys" help:"Let anybody send, without a key."`
	AllowExampleKey bool     `group:"keys" help:"Allow the key that the original's documentation prints, which everybody knows."`
	BasicAuth       []string `group:"keys" sep:"none" placeholder:"USER:PASSWORD" help:"Ask for a user and a password by basic authentication, beside the key; repeatable. A valid key sent as a bearer token stands for both. Prefer --basic-auth-file."`
	BasicAuthFile   string   `group:"keys" placeholder:"FILE" help:"File of users, USER:PASSWORD a line as in .htpasswd, but with the password itself, not a hash. It is read at the start."`
}

// apply puts the options in h. It returns what is to be read again when it changes, nil for nothing.
func (o keyOptions) apply(h *flux.HTTPConfig) (*watched, error) {
	h.NoAuth, h.AllowExampleKey, h.KeyMaxMetrics = o.NoAuth, o.AllowExampleKey, o.KeyMaxMetrics
	if o.KeyMaxMetrics < 0 {
		return nil, fmt.Errorf("--key-max-metrics %d is less than 0", o.KeyMaxMetrics)
	}
	var err error
	if h.BasicAuth, err = o.users(); err != nil {
		return nil, err
	}
	fixed, err := o.fixed()
	if err != nil || o.KeysFile == "" {
		h.Keys = fixed
		return nil, err
	}
	w := watch(o.KeysFile)
	fromFile, err := readKeys(o.KeysFile)
	if err != nil {
		return nil, fmt.Errorf("--keys-file: %w", err)
	}
	h.Keys = append(fromFile, fixed...) // so that errors count them as the file does
	w.again = func(log *slog.Logger, s *flux.Server) error {
		fromFile, err := readKeys(o.KeysFile)
		if err == nil {
			err = s.SetKeys(append(fromFile, fixed...))
		}
		if err != nil {
			return fmt.Errorf("the keys stay as they were, since --keys-file cannot be used: %w", err)
		}
		log.Info("the keys are read again", "file", o.KeysFile, "keys", len(fromFile))
		return nil
	}
	return w, nil
}

// fixed are the keys that do not change.
func (o keyOptions) fixed() ([]flux.Key, error) {
	var keys []flux.Key
	for i, text := range o.Key {
		k, options, err := parseKey(text)
		if err == nil && options != "" {
			err = errors.New("has more than KEY[=PREFIX], and that can only stand in --keys-file")
		}
		if err != nil {
			return nil, fmt.Errorf("--key, number %d: %w", i+1, err)
		}
		keys = append(keys, k)
	}
	self, err := secret("self-key", o.SelfKey, o.SelfKeyFile)
	if err != nil {
		return nil, err
	}
	if self = strings.TrimSpace(self); self != "" {
		keys = append(keys, flux.Key{Secret: self, Rights: flux.RightIngest | flux.RightFill | flux.RightPopulate})
	}
	return keys, nil
}

// readKeys returns the keys of a file.
func readKeys(path string) ([]flux.Key, error) {
	lines, err := readLines(path)
	if err != nil {
		return nil, err
	}
	var keys []flux.Key
	for i, line := range lines {
		k, options, err := parseKey(line)
		if err == nil {
			err = keyLimits(&k, options)
		}
		if err != nil {
			return nil, fmt.Errorf("%s, key %d: %w", path, i+1, err)
		}
		keys = append(keys, k)
	}
	return keys, nil
}

// keyLine is KEY, KEY=PREFIX or KEY = PREFIX, and what follows.
var keyLine = regexp.MustCompile(`^([^\s=]+)(\s*=(\s*(\S*)))?(.*)$`)

var keyOptionNames = []string{"rights", "rate", "max-points", "max-body", "max-metrics"}

// parseKey reads KEY[=PREFIX], and returns what stands behind it. Errors do not show the text.
func parseKey(text string) (k flux.Key, options string, err error) {
	m := keyLine.FindStringSubmatch(strings.TrimSpace(text))
	if m == nil {
		return k, "", errors.New("does not begin with a key: write KEY, or KEY=PREFIX")
	}
	name, _, _ := strings.Cut(m[4], "=")
	if m[2] != "" && (m[4] == "" || m[3] != m[4] && slices.Contains(keyOptionNames, name)) {
		return k, "", errors.New("ends in = without a prefix: write KEY, or KEY=PREFIX")
	}
	return flux.Key{Secret: m[1], Prefix: m[4]}, m[5], nil
}

// keyLimits reads the options of a key.
func keyLimits(k *flux.Key, options string) (err error) {
	seen := map[string]bool{}
	for _, word := range strings.Fields(options) {
		name, value, _ := strings.Cut(word, "=")
		if seen[name] {
			return fmt.Errorf("%s stands there twice", shown(name))
		}
		seen[name] = true
		switch name {
		case "rights":
			k.Rights, err = flux.ParseRights(value)
		case "rate":
			k.Rate, err = strconv.ParseFloat(value, 64)
		case "max-points":
			k.MaxPoints, err = strconv.Atoi(value)
		case "max-metrics":
			k.MaxMetrics, err = strconv.Atoi(value)
		case "max-body":
			err = (*size)(&k.MaxBody).UnmarshalText([]byte(value))
		default:
			return fmt.Errorf("has no %s: behind the key and its prefix stand rights=, rate=, max-points=, max-body= and max-metrics=", shown(name))
		}
		if n, ok := errors.AsType[*strconv.NumError](err); ok {
			err = fmt.Errorf("%q is not a number", n.Num)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

// users are the names and passwords for basic authentication.
func (o keyOptions) users() (map[string]string, error) {
	users := map[string]string{}
	add := func(where, text string) error {
		user, password, _ := strings.Cut(text, ":")
		switch {
		case user == "" || password == "":
			return fmt.Errorf("%s is not USER:PASSWORD", where)
		case hashed.MatchString(password):
			return fmt.Errorf("%s has a hash in place of the password: only plain passwords can be used", where)
		case users[user] != "":
			return fmt.Errorf("%s names a user who was named before", where)
		}
		users[user] = password
		return nil
	}
	for i, text := range eachLine(o.BasicAuth) {
		if err := add(fmt.Sprintf("--basic-auth, number %d", i+1), text); err != nil {
			return nil, err
		}
	}
	if o.BasicAuthFile == "" {
		return users, nil
	}
	b, err := os.ReadFile(o.BasicAuthFile)
	if err != nil {
		return nil, fmt.Errorf("--basic-auth-file: %w", err)
	}
	named := len(users)
	for i, line := range strings.Split(string(b), "\n") {
		line = strings.TrimSuffix(line, "\r")
		if strings.TrimSpace(line) == "" || line[0] == '#' {
			continue
		}
		if err := add(fmt.Sprintf("--basic-auth-file: %s, line %d", o.BasicAuthFile, i+1), line); err != nil {
			return nil, err
		}
	}
	if len(users) == named {
		return nil, fmt.Errorf("--basic-auth-file: %s names no user", o.BasicAuthFile)
	}
	return users, nil
}

// hashed is what htpasswd writes for a password.
var hashed = regexp.MustCompile(`^(\$apr1\$|\$2[aby]\$|\$[56]\$|\{SHA\})`)

// describeAccess says who may send, without secrets.
func describeAccess(h *flux.HTTPConfig) string {
	if h.NoAuth {
		return "anybody"
	}
	who := "who has " + counted(int64(len(h.Keys)), "API key")
	if n := len(h.BasicAuth); n > 0 {
		who += " and is " + counted(int64(n), "user")
	}
	return who
}
