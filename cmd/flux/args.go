package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/alecthomas/kong"
)

// normalise lets option names be written with underscores, as the original forwarder has them, and joins the words
// that its overwrite_collection_timestamp took.
func normalise(args []string) []string {
	out := make([]string, 0, len(args))
	for i := 0; i < len(args); i++ {
		a := args[i]
		if a == "--" {
			return append(out, args[i:]...)
		}
		if strings.HasPrefix(a, "--") {
			name, value, given := strings.Cut(a, "=")
			name = strings.ReplaceAll(name, "_", "-")
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

// parseBool reads the words that INI files and Python have for true and false.
func parseBool(s string) (bool, error) {
	switch strings.ToLower(strings.TrimSpace(s)) {
	case "1", "true", "yes", "on":
		return true, nil
	case "0", "false", "no", "off":
		return false, nil
	}
	return false, fmt.Errorf("%q is neither true nor false: use one of true, yes, on, 1, false, no, off, 0", s)
}

// span is a duration that may be given as a number of seconds, as the originals have it, or as Go writes it: 30, 0.5,
// 1h30m.
type span time.Duration

// UnmarshalText implements encoding.TextUnmarshaler.
func (s *span) UnmarshalText(b []byte) error {
	text := strings.TrimSpace(string(b))
	if sec, err := strconv.ParseFloat(text, 64); err == nil {
		if sec < 0 || sec > 1e9 || sec != sec {
			return fmt.Errorf("%q is not a number of seconds from 0 to 1e9", text)
		}
		*s = span(sec * float64(time.Second))
		return nil
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 {
		return fmt.Errorf("%q is not a duration: use seconds, such as 30 or 0.5, or a unit, such as 90s, 5m or 1h", text)
	}
	*s = span(d)
	return nil
}

// orOff is the duration for a field in which zero means the default and less than zero turns the rule off.
func (s span) orOff() time.Duration {
	if s == 0 {
		return -1
	}
	return time.Duration(s)
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
