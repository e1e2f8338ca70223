package ingest_test

import (
	"errors"
	"fmt"
	"time"

	"github.com/fluxmetrics/fluxkit/flux/ingest"
)

func Example() {
	body := `{"key": "warehouse-key-0000000", "metrics": [
		{"metric": "temperature.hall-2", "timestamp": 1795293175, "value": "21.5"},
		{"metric": "temperature.hall-1", "timestamp": 1795293120, "value": 20.25}]}`

	var p ingest.Parser
	req, err := p.JSON([]byte(body))
	if err != nil {
		fmt.Println(err)
		return
	}
	if string(req.Key) != "warehouse-key-0000000" { // compare in constant time instead
		fmt.Println("invalid key")
		return
	}
	rules := ingest.Rules{MaxAge: time.Hour, MaxFuture: time.Minute, Now: time.Unix(1795293180, 0)}
	if err := p.Validate(rules, "warehouse-1"); err != nil {
		fmt.Println(err)
		return
	}
	for _, it := range req.Items {
		fmt.Printf("%s %d %v\n", it.Name, it.Timestamp, it.Value)
	}
	// Output:
	// warehouse-1.temperature.hall-1 1795293120000 20.25
	// warehouse-1.temperature.hall-2 1795293175000 21.5
}

func ExampleParser_Query() {
	var p ingest.Parser
	req, err := p.Query("metric=cpu.user;host=web-1;dc=ams&value=0.5&key=K")
	if err == nil {
		err = p.Validate(ingest.Rules{Now: time.Unix(1795293180, 0)}, "")
	}
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Printf("%s %d %v\n", req.Items[0].Name, req.Items[0].Timestamp, req.Items[0].Value)
	// Output:
	// cpu.user;dc=ams;host=web-1 1795293180000 0.5
}

func ExampleError() {
	var p ingest.Parser
	_, err := p.JSON([]byte(`{"metrics":[{"metric":"a","value":1},{"metric":"a.b","value":1,"timestamp":1478021700}]}`))
	if err == nil {
		err = p.Validate(ingest.Rules{MaxAge: time.Hour, Now: time.Unix(1795293180, 0)}, "")
	}
	if e, ok := errors.AsType[*ingest.Error](err); ok {
		fmt.Println(e.Code, e.Reason, e.Item)
		fmt.Println(e.Message)
	}
	// Output:
	// 400 too_old 1
	// invalid timestamp - 1478021700 - timestamp is too old, older than 3600 seconds - item 1 ("a.b")
}
