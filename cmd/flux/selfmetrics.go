package main

import (
	"fmt"
	"os"
	"strings"

	"github.com/alecthomas/kong"
)

// selfPrefix is what self-metrics stand under, empty for none. It is an option that can do without a value.
type selfPrefix string

// IsBool implements kong.BoolMapperValue.
func (p *selfPrefix) IsBool() bool { return true }

// Decode implements kong.MapperValue. A word for true or false stands for the default prefix, or for none.
func (p *selfPrefix) Decode(ctx *kong.DecodeContext) error {
	text := "true"
	if ctx.Scan.Peek().Type == kong.FlagValueToken {
		text = strings.TrimSpace(fmt.Sprint(ctx.Scan.Pop().Value))
	}
	*p = selfPrefix(text)
	on, err := parseBool(text)
	if err != nil {
		return nil // a prefix
	}
	*p = ""
	if on {
		host, err := os.Hostname()
		if err != nil {
			return fmt.Errorf("give --self-metrics=PREFIX, since this host's name is not known: %w", err)
		}
		*p = "skyline.flux." + selfPrefix(asElement(host))
	}
	return nil
}

// asElement makes one element of a metric's name of a host's.
func asElement(host string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r >= '0' && r <= '9', r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r == '-':
			return r
		}
		return '_'
	}, host)
}
