package dedup_test

import (
	"flag"
	"os"
	"runtime"
	"testing"
)

// TestMain has the tests run with as many shards as there can be, wherever they run; those of one shard say so by their
// bounds. Benchmarks run as the machine is.
func TestMain(m *testing.M) {
	flag.Parse()
	if flag.Lookup("test.bench").Value.String() == "" {
		runtime.GOMAXPROCS(max(8, runtime.GOMAXPROCS(0)))
	}
	os.Exit(m.Run())
}
