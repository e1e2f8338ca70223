package deadletter_test

import (
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/fluxmetrics/fluxkit/internal/deadletter"
)

func Example() {
	dir, err := os.MkdirTemp("", "deadletter")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "dead.jsonl")
	f, err := deadletter.Open(deadletter.Options{Path: path})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer f.Close()
	err = f.Append([]deadletter.Entry{{
		Destination: "blueflood", Tenant: "acme", Reason: "too_old", Detail: "400 Out of bounds",
		At: time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC), Name: []byte("servers.web.cpu"), Timestamp: 1777800000000, Value: 0.5,
	}})
	if err != nil {
		fmt.Println(err)
		return
	}
	_, err = deadletter.Read(path, func(e deadletter.Entry) error {
		fmt.Printf("%s: %s %v\n", e.Reason, e.Name, e.Value)
		return nil
	})
	fmt.Println(err, f.Stats().Points)
	// Output:
	// too_old: servers.web.cpu 0.5
	// <nil> 1
}
