package jsonrpc

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

// generator writes messages that are nearly right: random bytes seldom get past
// the first key, and what matters here is how members combine.
type generator struct {
	*rand.Rand
	strings.Builder
}

func (g *generator) pick(list ...string) string { return list[g.IntN(len(list))] }

func (g *generator) space() {
	if g.IntN(8) == 0 {
		g.WriteString(g.pick(" ", "\t", "\n", "\r\n", "\n        ", "\n          \n"))
	}
}

// text writes a string, now and then with an escaped letter, which means the same.
func (g *generator) text(s string) {
	g.WriteByte('"')
	for _, r := range s {
		if g.IntN(25) == 0 && r < 0x10000 {
			fmt.Fprintf(g, g.pick(`\u%04x`, `\u%04X`), r)
		} else {
			g.WriteRune(r)
		}
	}
	g.WriteByte('"')
}

func (g *generator) scalar() {
	switch g.IntN(3) {
	case 0:
		g.text(g.pick("", "2.0", "m", "name", "tools/call", "grüße, 引用 😀", strings.Repeat("long ascii text ", g.IntN(9))))
	case 1:
		g.WriteString(g.pick("0", "-1", "7", "1.5e3", "12345678901234567890123", "1e400"))
	default:
		g.WriteString(g.pick("true", "false", "null"))
	}
}

func (g *generator) value(depth int) {
	g.space()
	switch n := g.IntN(6); {
	case n == 0 && depth < 4:
		g.WriteByte('[')
		for i := range g.IntN(4) {
			if i > 0 {
				g.WriteByte(',')
			}
			g.value(depth + 1)
		}
		g.space()
		g.WriteByte(']')
	case n <= 2 && depth < 4:
		g.object(depth+1, "name", "_meta", "arguments", "progressToken", "requestId", "isError", "id", "x", "y", "Name", "", "é")
	default:
		g.scalar()
	}
	g.space()
}

// object writes an object with some of the keys, each of them seldom twice.
func (g *generator) object(depth int, keys ...string) {
	g.WriteByte('{')
	g.space()
	first := true
	for _, i := range g.Perm(len(keys)) {
		// At the top most have to be there, or every message is refused for that.
		if g.IntN(3) == 0 && (depth > 0 || keys[i] == "id" || g.IntN(6) == 0) {
			continue
		}
		for n := 1; n > 0; n-- {
			if !first {
				g.WriteByte(',')
				g.space()
			}
			first = false
			key := keys[i]
			if g.IntN(100) == 0 {
				key = strings.ToUpper(key)
			}
			g.text(key)
			g.space()
			g.WriteByte(':')
			g.member(key, depth)
			if g.IntN(100) == 0 {
				n++
			}
		}
	}
	g.WriteByte('}')
}

// member writes a value that mostly fits the key.
func (g *generator) member(key string, depth int) {
	if g.IntN(30) == 0 {
		g.value(depth)
		return
	}
	g.space()
	switch key {
	case "jsonrpc":
		g.text("2.0")
	case "id", "progressToken", "requestId":
		g.WriteString(g.pick("1", `"a"`, "-3", `"1"`, "4711"))
	case "method", "name":
		g.text(g.pick("tools/call", "ping", "a_b"))
	case "params":
		g.object(depth+1, "name", "arguments", "_meta", "progressToken", "requestId", "uri")
	case "_meta":
		g.object(depth+1, "progressToken", "traceparent", "name")
	case "result":
		g.object(depth+1, "content", "isError", "structuredContent", "x", "_meta")
	case "error":
		g.object(depth+1, "code", "message", "data")
	case "isError":
		g.WriteString(g.pick("true", "false"))
	default:
		g.value(depth)
	}
	g.space()
}

func (g *generator) message() []byte {
	g.Reset()
	g.space()
	keys := []string{"jsonrpc", "id", "method", "params"}
	switch g.IntN(4) {
	case 0:
		keys = []string{"jsonrpc", "id", "result"}
	case 1:
		keys = []string{"jsonrpc", "id", "error"}
	}
	if g.IntN(10) == 0 {
		keys = append(keys, g.pick("x", "result", "error", "params", "ſ"))
	}
	g.object(0, keys...)
	g.space()
	b := []byte(g.String())
	if g.IntN(10) == 0 { // break it
		i := g.IntN(len(b))
		b[i] = `{}[]",:\x0 `[g.IntN(11)]
	}
	return b
}

func TestScanGenerated(t *testing.T) {
	g := &generator{Rand: rand.New(rand.NewPCG(1, 2))}
	kinds := map[Kind]int{}
	for i := range 3000 {
		b := g.message()
		checkScan(t, b)
		checkSplice(t, b, uint64(i), []byte("tool\n"), i%2 == 0)
		var env Envelope
		_ = Scan(b, Limits{}, &env)
		kinds[env.Kind]++
	}
	// Should the generator drift into nonsense, it would test nothing.
	for _, k := range []Kind{Invalid, Request, Notification, Response, ErrorResponse} {
		if kinds[k] < 100 {
			t.Errorf("only %d of kind %v", kinds[k], k)
		}
	}
	t.Log(kinds)
}
