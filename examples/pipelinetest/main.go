// Command pipelinetest is a small pipeline and, in its test, how to test one in process: lines come in, metrics are
// renamed, and what is left goes to Carbon. The test uses graphitetest, so that it needs no server and no port.
package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"os/signal"
	"time"

	"github.com/fluxmetrics/fluxkit/graphite"
)

func main() {
	listen := flag.String("listen", "127.0.0.1:2103", "`address` to take lines at")
	carbon := flag.String("carbon", "127.0.0.1:2004", "`address` of Carbon's pickle port")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	l, err := net.Listen("tcp", *listen)
	if err == nil {
		err = pipeline(ctx, l, *carbon)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "pipelinetest:", err)
		os.Exit(1)
	}
}

// pipeline takes lines from l, renames the metrics and delivers them to carbon until ctx ends.
func pipeline(ctx context.Context, l net.Listener, carbon string) error {
	client, err := graphite.NewClient(graphite.ClientConfig{Addrs: []string{carbon}, ConfirmAfter: 50 * time.Millisecond})
	if err != nil {
		return err
	}
	receiver := &graphite.LineReceiver{}
	serveErr := receiver.Serve(ctx, l, func(ctx context.Context, pts []graphite.Point) error {
		kept := pts[:0]
		for _, p := range pts {
			if renamed, ok := rename(p.Name); ok {
				p.Name = renamed
				kept = append(kept, p)
			}
		}
		return client.Send(ctx, kept) // blocks when Carbon is away for long: the sender is pushed back, nothing is lost
	})
	drain, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	return errors.Join(serveErr, client.Close(drain))
}

// rename moves metrics of the old namespace to the new one and drops those for debugging.
func rename(name []byte) ([]byte, bool) {
	if bytes.HasPrefix(name, []byte("debug.")) {
		return nil, false
	}
	if rest, ok := bytes.CutPrefix(name, []byte("legacy.")); ok {
		return append([]byte("servers."), rest...), true
	}
	return name, true
}
