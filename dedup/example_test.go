package dedup_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/alicebob/miniredis/v2"

	"github.com/fluxmetrics/fluxkit/dedup"
)

func ExampleFilter() {
	ctx := context.Background()
	f := &dedup.Filter{Future: 24 * time.Hour}
	at := time.Now().Truncate(time.Second).UnixMilli()
	pts := []dedup.Mark{
		{Metric: []byte("servers.web.cpu"), Timestamp: at, Value: 0.5},
		{Metric: []byte("servers.web.cpu"), Timestamp: at, Value: 0.5},
	}
	out := make([]dedup.Verdict, len(pts))
	if err := f.Judge(ctx, pts, out); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(out[0], "and", out[1])
	f.Kept(pts[:1]) // it is in the queue

	_ = f.Judge(ctx, pts[:1], out[:1])
	fmt.Println("sent again:", out[0])

	_ = f.Done(ctx, pts[:1]) // the destination has it
	pts[0].Timestamp -= 60_000
	_ = f.Judge(ctx, pts[:1], out[:1])
	fmt.Println("a minute older:", out[0])
	// Output:
	// new and duplicate
	// sent again: duplicate
	// a minute older: late
}

func ExampleMemory() {
	ctx := context.Background()
	s := &dedup.Memory{MaxMetrics: 10_000}
	_ = s.Raise(ctx, []dedup.Mark{{Metric: []byte("a.b"), Timestamp: 1478021700000, Value: 1}})
	_ = s.Raise(ctx, []dedup.Mark{{Metric: []byte("a.b"), Timestamp: 1478021640000, Value: 2}})
	m := []dedup.Mark{{Metric: []byte("a.b")}}
	_ = s.Last(ctx, m)
	fmt.Println(m[0].Timestamp, m[0].Value)
	// Output: 1478021700000 1
}

// A host whose clock was ahead has left a mark that mutes its metric.
func ExampleEditor() {
	ctx := context.Background()
	var s dedup.Editor = &dedup.Memory{} // or a Redis
	_ = s.Raise(ctx, []dedup.Mark{{Metric: []byte("a.b"), Timestamp: 1795293240000, Value: 1}})
	stored, _ := s.Get(ctx, []byte("a.b"))
	fmt.Println(stored.Mark.Timestamp)
	_ = s.Set(ctx, dedup.Mark{Metric: []byte("a.b"), Timestamp: 1478021700000, Value: 1})
	stored, _ = s.Get(ctx, []byte("a.b"))
	fmt.Println(stored.Mark.Timestamp)
	// Output:
	// 1795293240000
	// 1478021700000
}

// Two destinations must have a point before its metric's mark rises.
func ExampleFilter_required() {
	ctx := context.Background()
	s := &dedup.Memory{}
	f := &dedup.Filter{Store: s, Required: 2}
	pts := []dedup.Mark{{Metric: []byte("a.b"), Timestamp: 1478021700000, Value: 1}}
	_ = f.Judge(ctx, pts, make([]dedup.Verdict, 1))
	f.Kept(pts)
	for range 2 { // each destination for itself, whenever it has the points
		_ = f.Done(ctx, pts)
		stored, _ := s.Get(ctx, []byte("a.b"))
		fmt.Println(stored.Mark.Timestamp == 1478021700000)
	}
	// Output:
	// false
	// true
}

func ExampleNewRedis() {
	srv, err := miniredis.Run()
	if err != nil {
		fmt.Println(err)
		return
	}
	s, err := dedup.NewRedis("redis://"+srv.Addr()+"/0", dedup.RedisOptions{TTL: time.Hour})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer s.Close()
	ctx, m := context.Background(), []dedup.Mark{{Metric: []byte("a.b"), Timestamp: 1478021700000, Value: 1}}
	if err := s.Raise(ctx, m); err != nil {
		fmt.Println(err)
	}
	text, _ := srv.Get("flux.last.a.b")
	fmt.Println(text)

	srv.Close()
	err = s.Raise(ctx, m)
	fmt.Println("away:", errors.Is(err, dedup.ErrUnavailable))
	// Output:
	// [1478021700, 1.0]
	// away: true
}
