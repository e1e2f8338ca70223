package ingest_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fluxmetrics/fluxkit/flux/ingest"
)

// TestGenerated compares the parser with the reference on bodies that look like requests, right and wrong, which a
// fuzzer seldom comes upon.
func TestGenerated(t *testing.T) {
	g := generator{rand.New(rand.NewPCG(1, 2))}
	var p ingest.Parser
	accepted, refused := 0, 0
	for range 3000 {
		body := []byte(g.body())
		if _, isObject, ok := decode(body); !ok || !isObject {
			checkBody(t, &p, body, "")
			continue
		}
		if checkBody(t, &p, body, g.one("", "p")) == nil {
			accepted++
		} else {
			refused++
		}
	}
	// The mix must not drift to one side.
	require.Greater(t, accepted, 500)
	require.Greater(t, refused, 500)
}

type generator struct{ *rand.Rand }

func (g generator) one(of ...string) string { return of[g.IntN(len(of))] }

func (g generator) odds(n int) bool { return g.IntN(n) == 0 }

// body is a request.
func (g generator) body() string {
	members := []string{`"key":"k"`}
	if g.odds(3) {
		members = append(members, g.point()...)
	} else {
		var items []string
		for range 1 + g.IntN(4) {
			items = append(items, g.object(g.point()))
		}
		if g.odds(40) {
			items = append(items, g.value())
		}
		members = append(members, `"metrics":`+g.space()+"["+g.space()+strings.Join(items, g.space()+","+g.space())+"]")
	}
	if g.odds(8) {
		members = append(members, fmt.Sprintf("%q:%s", g.one("status", "test", "validate_key", "fill", "other", "key", "metrics"), g.value()))
	}
	return g.spoil(g.space() + g.object(members) + g.space())
}

// spoil changes a byte of one body in ten.
func (g generator) spoil(body string) string {
	if g.odds(10) {
		i := g.IntN(len(body))
		body = body[:i] + g.one("", `"`, ",", "}", "]", "{", "[", ":", "0", "-", ".", "e", `\`, "\n", "\x00", "\xff") + body[i+g.IntN(2):]
	}
	return body
}

func (g generator) object(members []string) string {
	g.Shuffle(len(members), func(i, j int) { members[i], members[j] = members[j], members[i] })
	return "{" + g.space() + strings.Join(members, g.space()+","+g.space()) + g.space() + "}"
}

func (g generator) space() string {
	if !g.odds(6) {
		return ""
	}
	return g.one(" ", "\n", "\t", "\r\n", "   ")
}

// point is the members of a point, most of them good.
func (g generator) point() []string {
	metric := g.one(`"a.b"`, `"servers.web-1.cpu"`, `"a"`, `"p.a"`, `"p"`, `"px.y"`)
	timestamp := g.one(`1795293175`, `"1795293175"`, `1795293100`, `"1795290000"`)
	value := g.one(`1`, `"1.0"`, `-0.37`, `"12.50"`, `0.30000000000000004`, `1e5`, `123456789012345678`)
	if g.odds(8) {
		metric = g.one(`"a b"`, `"a..b"`, `"a;k=v"`, `"a;k=2;j=1"`, `"a;name=x"`, `"a\u002eb"`, `"é"`, `".a"`, `"a/../b"`, `"a/b"`, `""`, `"a;b"`, `"\ud83d\ude00"`, g.value())
	}
	if g.odds(8) {
		timestamp = g.one(`" 1795293175 "`, `"+1795293175"`, `01795293175`, `"01795293175"`, `1795293175.0`, `5`, `"5"`, `1795293175000`, `9999999999`, `""`, g.value())
	}
	if g.odds(8) {
		value = g.one(`"nan"`, `1e999`, `".5"`, `"5."`, `5.`, `"1_0"`, `"-"`, `-`, `1E+2`, `1e`, `00`, `"00"`, `""`, `"0x1"`, g.value())
	}
	members := []string{
		`"metric"` + g.space() + ":" + g.space() + metric, `"timestamp"` + g.space() + ":" + g.space() + timestamp, `"value":` + value,
	}
	if g.odds(10) {
		i := g.IntN(3)
		members = append(members[:i], members[i+1:]...)
	}
	if g.odds(5) {
		members = append(members, `"fill":`+g.one(`true`, `"true"`, `"True"`, `false`, `"false"`, `tru`, g.value()))
	}
	if g.odds(10) {
		members = append(members, g.one(`"host":"x"`, `"x":`+g.value(), `"metric":"b"`, `"m\u0065tric":"b"`, `"value":1`, `"timestam":1`, `"Metric":"b"`))
	}
	return members
}

// value is any JSON value.
func (g generator) value() string {
	return g.one(`null`, `true`, `false`, `0`, `-1.5e3`, `""`, `"x"`, `[]`, `{}`, `[1,"a"]`, `{"a":{"b":[null]}}`, `[ ]`, `{"a":1,"a":2}`, `"\ud800"`)
}

// TestGeneratedTelegraf does the same with bodies that look like telegraf's.
func TestGeneratedTelegraf(t *testing.T) {
	g := generator{rand.New(rand.NewPCG(3, 4))}
	var p ingest.Parser
	accepted, rejected := 0, 0
	for range 3000 {
		body := []byte(g.telegraf())
		header := g.one("", "", "h", "a..b c", "/x")
		checkTelegraf(t, &p, body, header)
		if req, err := p.Telegraf(body, ingest.Telegraf{Prefix: header}); err == nil && p.Validate(rules(), "") == nil {
			accepted += len(req.Items)
			rejected += len(req.Rejected)
		}
	}
	require.Greater(t, accepted, 2000)
	require.Greater(t, rejected, 2000)
}

func (g generator) telegraf() string {
	var objects []string
	for range 1 + g.IntN(4) {
		objects = append(objects, g.metric())
	}
	if g.odds(20) {
		objects = append(objects, g.one(g.value(), g.object(g.point())))
	}
	body := objects[0]
	if !g.odds(5) {
		body = g.object([]string{`"key":"k"`, `"metrics":` + g.space() + "[" + g.space() + strings.Join(objects, g.space()+","+g.space()) + g.space() + "]"})
	}
	return g.spoil(body)
}

// metric is one of telegraf's objects, most of them good.
func (g generator) metric() string {
	fields := []string{}
	for i := range g.IntN(5) {
		key := fmt.Sprintf("f%d", i)
		if g.odds(10) {
			key = g.one("a.b/c", "x(1)", "", "a b", "é", "a;b=c", `\u0066`, "...", "'*'", "f0")
		}
		value := g.one("1", "-2.5", "0.30000000000000004", "1e3", "98.5")
		if g.odds(8) {
			value = g.one(`"5"`, `"up"`, "1e999", "01", "1.", g.value())
		}
		fields = append(fields, `"`+key+`"`+g.space()+":"+g.space()+value)
	}
	tags := []string{`"host":` + g.one(`"h"`, `"web-1.example.com"`, `"h"`, `"p"`)}
	if g.odds(10) {
		tags[0] = g.one(`"host":""`, `"host":5`, `"Host":"h"`, `"host":"/h"`, `"host":"a//b"`, `"host":"h;a=b"`, `"host":"../h"`, `"host":"a./b"`)
	}
	for i := range g.IntN(3) {
		tags = append(tags, fmt.Sprintf(`"t%d":%s`, i, g.one(`"v"`, `"127.0.0.1"`, `""`, `"/var/log"`, `"a b"`, `"x\u002e"`)))
	}
	members := []string{`"fields":` + g.object(fields), `"tags":` + g.object(tags), `"name":` + g.one(`"cpu"`, `"m.n"`, `"m"`), `"timestamp":` + g.one("1795293175", "1795293170", `"1795293175"`)}
	if g.odds(10) {
		members[3] = `"timestamp":` + g.one("1478021700", "1795293175.5", "9999999999999", "1795299999", `"+1795293175"`, g.value())
	}
	if g.odds(15) {
		i := g.IntN(4)
		members[i] = members[i][:strings.IndexByte(members[i], ':')+1] + g.value()
	}
	if g.odds(15) {
		i := g.IntN(4)
		members = append(members[:i], members[i+1:]...)
	}
	if g.odds(15) {
		members = append(members, g.one(`"metric":"a"`, `"x":`+g.value(), `"n\u0061me":"x"`, `"value":1`))
	}
	return g.object(members)
}
