package main

import (
	"fmt"
	"io"
	"log/slog"
	"os"
)

// logOptions are the options of every command that stays.
type logOptions struct {
	LogLevel  string `group:"log" enum:"debug,info,warn,error" default:"info" placeholder:"LEVEL" help:"Least level to log: debug, info, warn or error."`
	LogFormat string `group:"log" enum:"text,json" default:"text" placeholder:"FORMAT" help:"text (logfmt) or json, one record a line."`
	LogFile   string `group:"log" placeholder:"FILE" help:"Append the log to FILE instead of writing it to standard error."`
}

// open returns the logger, and what closes its file.
func (o logOptions) open(stderr io.Writer) (*slog.Logger, func(), error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(o.LogLevel)); err != nil {
		return nil, nil, fmt.Errorf("--log-level: %w", err)
	}
	w, done := stderr, func() {}
	if o.LogFile != "" {
		f, err := os.OpenFile(o.LogFile, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o640)
		if err != nil {
			return nil, nil, fmt.Errorf("--log-file: %w", err)
		}
		w, done = f, func() { f.Close() }
	}
	opts := &slog.HandlerOptions{Level: level}
	if o.LogFormat == "json" {
		return slog.New(slog.NewJSONHandler(w, opts)), done, nil
	}
	return slog.New(slog.NewTextHandler(w, opts)), done, nil
}
