package main

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"regexp"
	"strings"

	"github.com/alecthomas/kong"
	"gopkg.in/ini.v1"
)

// sections names the section of the configuration file that each command reads.
var sections = map[string]string{"serve": "flux", "forward": "blueflood_carbon_forwarder"}

// fileResolver gives options the values of a configuration file, unless the command line or the environment has them.
type fileResolver struct {
	path   string
	env    func(string) (string, bool)
	values map[string]string // by option name
}

// override is a value of the file that the command line or the environment replaces. In the original forwarder the
// file won, so that a migrating operator must be told.
type override struct{ option, by string }

// configPath finds --config before the command line is parsed.
func configPath(args []string, env func(string) (string, bool)) string {
	path := ""
	if len(args) > 0 {
		if v, ok := env("FLUX_" + strings.ToUpper(args[0]) + "_CONFIG"); ok {
			path = v
		}
	}
	for i, a := range args {
		switch {
		case a == "--":
			return path
		case (a == "--config" || a == "-c") && i+1 < len(args):
			path = args[i+1]
		case strings.HasPrefix(a, "--config="):
			path = strings.TrimPrefix(a, "--config=")
		case strings.HasPrefix(a, "-c"):
			path = strings.TrimPrefix(strings.TrimPrefix(a, "-c"), "=")
		}
	}
	return path
}

// Validate implements kong.Resolver.
func (r *fileResolver) Validate(*kong.Application) error { return nil }

// load reads the file for the command that is about to run.
func (r *fileResolver) load(app *kong.Application, args []string) error {
	if r.path == "" || len(args) == 0 || sections[args[0]] == "" {
		return nil
	}
	for _, cmd := range app.Children {
		if cmd.Name == args[0] {
			values, err := readFile(r.path, sections[cmd.Name], cmd)
			r.values = values
			return err
		}
	}
	return nil
}

// Resolve implements kong.Resolver.
func (r *fileResolver) Resolve(_ *kong.Context, _ *kong.Path, flag *kong.Flag) (any, error) {
	v, ok := r.values[flag.Name]
	if !ok {
		return nil, nil
	}
	for _, name := range flag.Envs {
		if _, set := r.env(name); set {
			return nil, nil
		}
	}
	if flag.IsBool() {
		b, err := parseBool(v)
		if err != nil {
			return nil, fmt.Errorf("%s: %s: %w", r.path, flag.Name, err)
		}
		return b, nil
	}
	if flag.IsSlice() { // one value a line, or separated by commas
		v = strings.Join(strings.FieldsFunc(v, func(c rune) bool { return c == ',' || c == '\n' }), ",")
	}
	return v, nil
}

// readFile returns the options of one section of an INI file.
func readFile(path, section string, cmd *kong.Command) (map[string]string, error) {
	f, err := ini.LoadSources(ini.LoadOptions{
		IgnoreInlineComment:        true, // a password may hold # or ;
		IgnoreContinuation:         true, // or end in a backslash
		AllowPythonMultilineValues: true,
		PreserveSurroundedQuote:    true,
		Insensitive:                true,
	}, path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("configuration file %s does not exist", path)
	}
	if err != nil { // the parser's own words cite the line, and that may be a key
		return nil, fmt.Errorf("configuration file %s cannot be read: it holds something else than [section], option = value and # comments", path)
	}
	if keys := f.Section(ini.DefaultSection).KeyStrings(); len(keys) > 0 {
		return nil, fmt.Errorf("configuration file %s: %s, stands outside a section: put options under [%s]", path, shown(keys[0]), section)
	}
	if !f.HasSection(section) {
		return nil, fmt.Errorf("configuration file %s has no section [%s], which flux %s reads", path, section, cmd.Name)
	}
	known := map[string]bool{}
	for _, flag := range cmd.Flags {
		known[flag.Name] = flag.Name != "help" && flag.Name != "config"
	}
	values := map[string]string{}
	for _, key := range f.Section(section).Keys() {
		name := strings.ReplaceAll(key.Name(), "_", "-")
		if !known[name] {
			return nil, fmt.Errorf("configuration file %s: flux %s has no %s", path, cmd.Name, shown(key.Name()))
		}
		if _, twice := values[name]; twice {
			return nil, fmt.Errorf("configuration file %s: option %s stands there twice", path, name)
		}
		values[name] = key.Value()
	}
	return values, nil
}

var optionForm = regexp.MustCompile(`^[a-z][a-z_-]{0,39}$`)

// shown is the name of an option for an error message. What does not look like one may be a secret in the wrong place.
func shown(name string) string {
	if optionForm.MatchString(name) {
		return fmt.Sprintf("option %q", name)
	}
	return "option whose name is not shown here, since it may be a key"
}

// overrides lists the options for which the file's value was passed over.
func (r *fileResolver) overrides(ctx *kong.Context) []override {
	var out []override
	node := ctx.Selected()
	if node == nil {
		return nil
	}
	for _, flag := range node.Flags {
		if _, inFile := r.values[flag.Name]; !inFile {
			continue
		}
		by := ""
		for _, name := range flag.Envs {
			if _, set := r.env(name); set {
				by = "environment variable " + name
			}
		}
		for _, p := range ctx.Path {
			if p.Flag == flag && !p.Resolved {
				by = "command line"
			}
		}
		if by != "" {
			out = append(out, override{flag.Name, by})
		}
	}
	return out
}

// logOverrides tells which values of the file do not count. Values are left out: one may be a secret.
func logOverrides(log *slog.Logger, list []override) {
	for _, o := range list {
		log.Warn("the configuration file's value is overridden", "option", o.option, "by", o.by)
	}
}
