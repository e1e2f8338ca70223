package main

import (
	"context"
	"io/fs"
	"log/slog"
	"os"
	"time"

	"github.com/fluxmetrics/fluxkit/flux"
)

// watchEvery is how often files are looked at.
const watchEvery = time.Second

// watched are files whose content is read again when one of them has changed.
type watched struct {
	paths []string
	// again reads them and puts what they hold in use, or leaves everything as it is. It logs its success.
	again func(log *slog.Logger, s *flux.Server) error

	read []fs.FileInfo // as they were when they were read last
	seen []fs.FileInfo // as they were at the last look
	told string        // the error that was logged last
}

// watch is called before the files are read for the first time.
func watch(paths ...string) *watched {
	w := &watched{paths: paths}
	w.read = w.look()
	w.seen = w.read
	return w
}

// look returns what can be seen of the files from outside, nil for one that cannot be.
func (w *watched) look() []fs.FileInfo {
	now := make([]fs.FileInfo, len(w.paths))
	for i, path := range w.paths {
		if info, err := os.Stat(path); err == nil {
			now[i] = info
		}
	}
	return now
}

func unchanged(a, b []fs.FileInfo) bool {
	for i := range a {
		switch {
		case a[i] == nil || b[i] == nil:
			if a[i] != b[i] {
				return false
			}
		case !os.SameFile(a[i], b[i]) || a[i].Size() != b[i].Size() || !a[i].ModTime().Equal(b[i].ModTime()):
			return false
		}
	}
	return true
}

// follow looks at the files every second until ctx ends. One that has changed is read once it has stood still for a second, so that it
// is not read while it is being written; upon a signal at once. What could not be used is tried again.
func (w *watched) follow(ctx context.Context, log *slog.Logger, s *flux.Server, hup <-chan os.Signal) {
	t := time.NewTicker(watchEvery)
	defer t.Stop()
	for {
		told := false
		select {
		case <-ctx.Done():
			return
		case <-hup:
			told = true
		case <-t.C:
		}
		now := w.look()
		still := unchanged(now, w.seen)
		w.seen = now
		if changed := !unchanged(now, w.read); told || still && (changed || w.told != "") {
			w.use(log, s, now, told || changed)
		}
	}
}

// use reads the files, which looked like now before. An error that was logged is logged again only for anew ones.
func (w *watched) use(log *slog.Logger, s *flux.Server, now []fs.FileInfo, anew bool) {
	w.read = now
	err := w.again(log, s)
	switch {
	case err == nil:
		w.told = ""
	case anew || err.Error() != w.told:
		w.told = err.Error()
		log.Error(w.told)
	}
}
