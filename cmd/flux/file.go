package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"reflect"
	"regexp"
	"strings"
	"unicode/utf8"

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
	if flag.IsSlice() && flag.Tag.Sep != -1 { // one value a line, or separated by commas
		v = strings.Join(eachLine([]string{strings.ReplaceAll(v, ",", "\n")}), ",")
	}
	return r.value(flag, v)
}

// value is the file's text as flag takes it. What is wrong with it is told without showing it.
func (r *fileResolver) value(flag *kong.Flag, text string) (any, error) {
	var value any = text
	var err error
	if flag.Target.Kind() == reflect.Bool {
		value, err = parseBool(text)
	} else {
		err = flag.Parse(kong.Scan().PushTyped(text, kong.FlagValueToken), reflect.New(flag.Target.Type()).Elem())
	}
	if form, ok := errors.AsType[*formError](err); ok {
		return nil, fmt.Errorf("%s: its value %s", r.path, form.want)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: its value is not a whole number in reach", r.path)
	}
	if flag.Enum != "" && !flag.EnumMap()[text] {
		return nil, fmt.Errorf("%s: its value must be one of %s", r.path, strings.Join(flag.EnumSlice(), ", "))
	}
	return value, nil
}

// maxFile bounds a configuration file, in bytes.
const maxFile = 1 << 20

// readFile returns the options of one section of an INI file. A repeatable option has its values one a line.
func readFile(path, section string, cmd *kong.Command) (map[string]string, error) {
	data, err := readBounded(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("configuration file %s does not exist", path)
	}
	if err != nil {
		return nil, fmt.Errorf("configuration file: %w", err)
	}
	return fileOptions(path, data, section, cmd)
}

// fileOptions is readFile for what the file holds.
func fileOptions(path string, data []byte, section string, cmd *kong.Command) (map[string]string, error) {
	f, err := parseFile(path, data)
	if err != nil {
		return nil, err
	}
	for _, s := range f.Sections() { // what stands outside a section, and what stands under [DEFAULT]
		if keys := s.KeyStrings(); len(keys) > 0 && strings.EqualFold(s.Name(), ini.DefaultSection) {
			return nil, fmt.Errorf("configuration file %s: %s, stands outside a section, or under [DEFAULT]: put options under [%s]", path, shown(keys[0]), section)
		}
	}
	if !f.HasSection(section) {
		return nil, fmt.Errorf("configuration file %s has no section [%s], which flux %s reads", path, section, cmd.Name)
	}
	known := map[string]*kong.Flag{}
	for _, flag := range cmd.Flags {
		if flag.Name != "help" && flag.Name != "config" && flag.Name != "check-config" {
			known[flag.Name] = flag
		}
	}
	values := map[string]string{}
	for _, key := range f.Section(section).Keys() {
		name := strings.ReplaceAll(key.Name(), "_", "-")
		flag := known[name]
		if flag == nil {
			return nil, fmt.Errorf("configuration file %s: flux %s has no %s", path, cmd.Name, shown(key.Name()))
		}
		all := key.ValueWithShadows()
		_, twice := values[name]
		if twice || len(all) > 1 && !flag.IsSlice() {
			return nil, fmt.Errorf("configuration file %s: option %s stands there twice", path, name)
		}
		if len(all) == 0 { // nothing behind the =
			all = []string{""}
		}
		v := strings.Join(all, "\n")
		if strings.Contains(v, "\n") && !flag.IsSlice() {
			return nil, fmt.Errorf("configuration file %s: option %s has a value of several lines: what is indented continues the line before, so begin each option at the start of its line", path, name)
		}
		if !utf8.ValidString(v) {
			return nil, fmt.Errorf("configuration file %s: option %s has a value that is not UTF-8: save the file as UTF-8", path, name)
		}
		values[name] = v
	}
	return values, nil
}

// parseFile reads an INI file as the original forwarder's parser does. The errors of the parser itself cite a line, and
// that may be a key.
func parseFile(path string, data []byte) (*ini.File, error) {
	if len(data) > maxFile {
		return nil, fmt.Errorf("configuration file %s is longer than %d bytes", path, maxFile)
	}
	for line := range bytes.Lines(data) { // the parser would take such quotes off
		if i := bytes.IndexAny(line, "=:"); i >= 0 {
			v := bytes.TrimSpace(line[i+1:])
			if bytes.HasPrefix(v, []byte("`")) || bytes.HasPrefix(v, []byte(`"""`)) {
				return nil, fmt.Errorf("configuration file %s: a value begins with ` or \"\"\", which cannot be read as it stands: a secret can have a file of its own, such as --password-file", path)
			}
		}
	}
	f, err := ini.LoadSources(ini.LoadOptions{
		IgnoreInlineComment:        true, // a password may hold # or ;
		IgnoreContinuation:         true, // or end in a backslash
		AllowPythonMultilineValues: true,
		ReaderBufferSize:           len(data) + 1, // what does not fit in it is cut, when it is a value of several lines
		PreserveSurroundedQuote:    true,
		Insensitive:                true,
		AllowShadows:               true,
		AllowDuplicateShadowValues: true,
	}, data)
	if err != nil {
		return nil, fmt.Errorf("configuration file %s cannot be read: it holds something else than [section], option = value and # comments", path)
	}
	return f, nil
}

// readBounded returns what a file holds, cut one byte behind the longest that it may be.
func readBounded(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxFile+1))
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
