package dedup_test

import (
	"os"
	"runtime"
	"testing"
)

// TestMain has the tests run with as many shards as there can be, wherever they run. Those of one shard say so by their
// bounds.
func TestMain(m *testing.M) {
	runtime.GOMAXPROCS(max(8, runtime.GOMAXPROCS(0)))
	os.Exit(m.Run())
}
