package main

import (
	"slices"
	"strconv"
	"strings"

	"github.com/alecthomas/kong"
)

// normalise lets option names be written with underscores, as the original forwarder has them, and cut short where it
// let them be. It joins the words that its overwrite_collection_timestamp took.
func normalise(args []string) []string {
	out := make([]string, 0, len(args))
	forward := len(args) > 0 && args[0] == "forward"
	for i := 0; i < len(args); i++ {
		a := args[i]
		if a == "--" {
			return append(out, args[i:]...)
		}
		if strings.HasPrefix(a, "--") {
			name, value, given := strings.Cut(a, "=")
			name = strings.ReplaceAll(name, "_", "-")
			if forward {
				name = inFull(name)
			}
			if name == "--overwrite-collection-timestamp" {
				if !given && i+1 < len(args) {
					if _, err := parseBool(args[i+1]); err == nil {
						i++
						value, given = args[i], true
					}
				}
				if b, err := parseBool(value); given && err == nil {
					value = strconv.FormatBool(b)
				}
			}
			if a = name; given {
				a += "=" + value
			}
		}
		out = append(out, a)
	}
	return out
}

// inFull is the option of the original forwarder that name abbreviates, if it is one alone: its getopt took --over.
// Names that came later are never abbreviated, so that a further one breaks no command line.
func inFull(name string) string {
	originals := []string{
		"--endpoint", "--interval", "--blueflood", "--tenant", "--metric-prefix", "--ttl", "--user", "--key", "--auth-url",
		"--limit", "--protocol", "--overwrite-collection-timestamp", "--config", "--help",
	}
	meant := slices.DeleteFunc(originals, func(o string) bool { return !strings.HasPrefix(o, name) })
	if len(meant) != 1 {
		return name
	}
	return meant[0]
}

// pointsLast puts the words of a flux send that are not options behind a --, so that a negative value is not taken for
// an option.
func pointsLast(args []string) []string {
	if len(args) == 0 || args[0] != "send" {
		return args
	}
	options, words := []string{"send"}, []string(nil)
	for i := 1; i < len(args); i++ {
		a := args[i]
		switch {
		case a == "--":
			words = append(words, args[i+1:]...)
			i = len(args)
		case !strings.HasPrefix(a, "-") || isNumber(a):
			words = append(words, a)
		default:
			options = append(options, a)
			if takesValue := a != "--help" && a != "-h" && !strings.Contains(a, "="); takesValue && i+1 < len(args) {
				i++
				options = append(options, args[i])
			}
		}
	}
	if len(words) == 0 {
		return options
	}
	return append(append(options, "--"), words...)
}

func isNumber(s string) bool {
	_, err := strconv.ParseFloat(s, 64)
	return err == nil
}

// nameEnvironment gives each option of each command its variable: FLUX_SERVE_MAX_AGE for flux serve --max-age. It also
// fills in what the help of --config says of it.
func nameEnvironment(k *kong.Kong) error {
	for _, cmd := range k.Model.Children {
		for _, f := range cmd.Flags {
			if f.Name == "help" || len(f.Envs) > 0 {
				continue
			}
			name := strings.ToUpper(strings.ReplaceAll("FLUX_"+cmd.Name+"_"+f.Name, "-", "_"))
			f.Envs = []string{name}
			f.Tag.Envs = f.Envs
			f.Help = strings.NewReplacer(
				"%section%", "["+sections[cmd.Name]+"]",
				"%variable%", "FLUX_"+strings.ToUpper(cmd.Name)+"_LOG_LEVEL for --log-level",
			).Replace(f.Help)
		}
	}
	return nil
}
