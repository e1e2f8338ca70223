package ingest_test

import (
	"bytes"
	"compress/zlib"
	"errors"
	"fmt"
	"io"
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

func ExampleParser_Telegraf() {
	body := `{"metrics": [
		{"fields": {"usage_idle": 98.5, "state": "ok"}, "name": "cpu", "tags": {"cpu": "cpu0", "host": "web-1"}, "timestamp": 1795293175},
		{"fields": {"used": 1024}, "name": "disk", "tags": {"host": "web-1", "path": "/var"}, "timestamp": 1478021700}]}`

	var p ingest.Parser
	req, err := p.Telegraf([]byte(body), ingest.Telegraf{Prefix: "prod"})
	if err == nil {
		err = p.Validate(ingest.Rules{MaxAge: time.Hour, Now: time.Unix(1795293180, 0)}, "warehouse-1")
	}
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, it := range req.Items {
		fmt.Printf("%s %d %v\n", it.Name, it.Timestamp, it.Value)
	}
	for i := range req.Rejected {
		fmt.Println(req.Rejected[i].Reason, "-", req.Rejected[i].Message())
	}
	// Output:
	// warehouse-1.prod.web-1.cpu0.cpu.usage_idle 1795293175000 98.5
	// non_numeric - invalid value - "ok" - non-numeric value - item 0, field "state" ("prod.web-1.cpu0.cpu.state")
	// too_old - invalid timestamp - 1478021700 - timestamp is too old, older than 3600 seconds - item 1, field "used" ("prod.web-1.-var.disk.used")
}

func ExampleParser_Lines() {
	var p ingest.Parser
	req, err := p.Lines([]byte("cpu.user 0.5 1795293175\ncpu.system 0.25\ncpu.idle;host=web-1;dc=ams 99 -1\n"))
	if err == nil {
		err = p.Validate(ingest.Rules{Now: time.Unix(1795293180, 0)}, "")
	}
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, it := range req.Items {
		fmt.Printf("%s %d %v\n", it.Name, it.Timestamp, it.Value)
	}
	for i := range req.Rejected {
		fmt.Println(req.Rejected[i].Message())
	}
	// Output:
	// cpu.user 1795293175000 0.5
	// cpu.idle;dc=ams;host=web-1 1795293180000 99
	// invalid line - "cpu.system 0.25" - not a name, a value and a timestamp - line 2
}

func ExampleRequest_Report() {
	var p ingest.Parser
	req, err := p.Telegraf([]byte(`{"fields":{"up":1,"state":"ok"},"name":"ntp","tags":{"host":"web-1"},"timestamp":1795293175}`), ingest.Telegraf{})
	if err == nil {
		err = p.Validate(ingest.Rules{Now: time.Unix(1795293180, 0)}, "")
	}
	if err != nil {
		fmt.Println(err)
		return
	}
	report := req.Report()
	fmt.Println(report.Code, report.Message)
	fmt.Println(report.NonNumeric, report.Processed, "of", report.Submitted)
	// Output:
	// 207 1 non-numeric value metrics were dropped
	// [web-1.ntp.state] 1 of 2
}

func ExampleTemplate() {
	template, err := ingest.ParseTemplate("dc.host.measurement.tags.field")
	if err != nil {
		fmt.Println(err)
		return
	}
	var p ingest.Parser
	req, err := p.Telegraf([]byte(`{"fields":{"used":1},"name":"disk","tags":{"dc":"ams","device":"sda1","host":"web-1"},"timestamp":1795293175}`),
		ingest.Telegraf{Template: template})
	if err == nil {
		err = p.Validate(ingest.Rules{Now: time.Unix(1795293180, 0)}, "")
	}
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Printf("%s\n", req.Items[0].Name)
	// Output:
	// ams.web-1.disk.sda1.used
}

func ExampleDecoders() {
	var compressed bytes.Buffer
	w := zlib.NewWriter(&compressed)
	_, _ = io.WriteString(w, "cpu.user 0.5 1795293175\n")
	_ = w.Close()

	var decoders ingest.Decoders
	body, err := decoders.Open(&compressed, "deflate", 8<<20)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer body.Close()
	text, err := io.ReadAll(body)
	fmt.Printf("%s%v\n", text, err)
	// Output:
	// cpu.user 0.5 1795293175
	// <nil>
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
