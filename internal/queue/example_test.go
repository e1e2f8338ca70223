package queue_test

import (
	"context"
	"fmt"
	"os"

	"github.com/fluxmetrics/fluxkit/internal/queue"
)

func Example() {
	dir, err := os.MkdirTemp("", "queue")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	ctx := context.Background()

	q, err := queue.Open(queue.Options{Dir: dir})
	if err != nil {
		panic(err)
	}
	for _, rec := range []string{"one", "two", "three"} {
		if _, err := q.Append(ctx, []byte(rec), 1); err != nil { // on the medium when it returns
			panic(err)
		}
	}
	rec, pos, err := q.Next(ctx, q.Acked(), nil)
	fmt.Println(string(rec), pos, err)
	fmt.Println(q.Ack(pos), q.Release())

	q, err = queue.Open(queue.Options{Dir: dir}) // the next process
	fmt.Println(err, q.Recovered().Records, "pending")
	rec, pos, err = q.Next(ctx, q.Acked(), rec)
	fmt.Println(string(rec), pos, err)
	fmt.Println(q.Release())
	// Output:
	// one 1 <nil>
	// <nil> <nil>
	// <nil> 2 pending
	// two 2 <nil>
	// <nil>
}

func ExampleInspect() {
	dir, err := os.MkdirTemp("", "queue")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	q, err := queue.Open(queue.Options{Dir: dir})
	if err != nil {
		panic(err)
	}
	defer q.Release()
	if _, err := q.Append(context.Background(), []byte("a record"), 7); err != nil {
		panic(err)
	}
	report, err := queue.Inspect(dir, func(r queue.Record) error {
		fmt.Printf("%d: %s, %d points\n", r.Pos, r.Data, r.Points)
		return nil
	})
	fmt.Println(report.Records, report.Bytes, report.Damaged, err)
	// Output:
	// 1: a record, 7 points
	// 1 48 0 <nil>
}
