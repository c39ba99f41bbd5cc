package httpapi

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/aabb9013/hangar/backends"
	"github.com/aabb9013/hangar/internal/jsonrpc"
	"github.com/aabb9013/hangar/supervisor"
)

// instant answers at once, as an instance does: it copies its line.
type instant struct {
	view *supervisor.View
	line []byte
	env  jsonrpc.Envelope
}

func (s *instant) ID() string             { return s.view.Spec.ID }
func (s *instant) View() *supervisor.View { return s.view }
func (s *instant) Cancel(uint64, error)   {}
func (s *instant) Do(c *backends.Call, _ time.Duration) error {
	c.SetAnswer(s.line, &s.env)
	return nil
}

// instantRuntime has only that server.
type instantRuntime struct {
	*fakeRuntime
	server instant
}

func (r *instantRuntime) Target([]byte) Target { return &r.server }

func newInstant(size int) *instantRuntime {
	r := &instantRuntime{fakeRuntime: &fakeRuntime{}}
	r.server.view = ready("server", `{"name":"other"}`, `{"name":"echo"}`)
	r.server.line = fmt.Appendf(nil, `{"jsonrpc":"2.0","id":12345,"result":{"content":[{"type":"text","text":%s}]}}`, strconv.Quote(strings.Repeat("x", size)))
	if err := jsonrpc.Scan(r.server.line, jsonrpc.Limits{}, &r.server.env); err != nil {
		panic(err)
	}
	return r
}

// frontCall is one tools/call on a bare RequestCtx, to be made again and again.
func frontCall(tb testing.TB, size int, id string) func() {
	f := NewFront(FrontOptions{Runtime: newInstant(size)})
	s, err := f.sessions.open(frontVersions[0])
	if err != nil {
		tb.Fatal(err)
	}
	body := callBody(id, "server__echo", fmt.Sprintf(`{"text":%q}`, strings.Repeat("x", size)))
	var in fasthttp.Request
	in.Header.SetMethod("POST")
	in.Header.SetHost("localhost")
	in.SetRequestURI("/mcp")
	in.Header.SetContentType("application/json")
	in.Header.Set("Accept", "application/json, text/event-stream")
	in.Header.Set("Mcp-Session-Id", s.id)
	in.Header.Set("Mcp-Protocol-Version", s.version)
	in.SetBodyString(body)
	ctx := &fasthttp.RequestCtx{}
	ctx.Init(&in, nil, nil)
	return func() {
		f.ServeHTTP(ctx)
		if ctx.Response.StatusCode() != 200 || len(ctx.Response.Body()) < size {
			tb.Fatalf("%d %s", ctx.Response.StatusCode(), ctx.Response.Body())
		}
		ctx.Response.Header.Reset()
	}
}

func BenchmarkFrontCall(b *testing.B) {
	for _, size := range []int{64, 64 << 10} {
		for _, id := range []string{"7", `"request-7"`} {
			b.Run(fmt.Sprintf("%d/%s", size, strings.Trim(id, `"`)), func(b *testing.B) {
				call := frontCall(b, size, id)
				b.ReportAllocs()
				b.SetBytes(int64(2 * size))
				for b.Loop() {
					call()
				}
			})
		}
	}
}

// BenchmarkFrontParallel shows what sessions cost each other.
func BenchmarkFrontParallel(b *testing.B) {
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		call := frontCall(b, 64, "7")
		for pb.Next() {
			call()
		}
	})
}

// The front's own budget; one is for the envelope, one for the key of an id
// that is a string. Under the race detector pools forget some of what they hold.
func TestCallAllocatesLittle(t *testing.T) {
	const most = 5
	for _, id := range []string{"7", `"request-7"`} {
		call := frontCall(t, 64, id)
		call()
		if got := testing.AllocsPerRun(500, call); got > most {
			t.Errorf("a call with the id %s allocates %v times, want at most %d", id, got, most)
		}
	}
}
