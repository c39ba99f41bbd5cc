package httpapi

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/aabb9013/hangar/internal/jsonrpc"
)

var frontSeeds = []string{
	``, `{`, `[]`, `[[]]`, `null`, initializeLine, `{"jsonrpc":"2.0","id":1,"method":"ping"}`,
	callBody("1", "s__t", `{"a":[1,{"b":"\u0000"}]}`), callBody(`"x"`, "a___b", `{}`), callBody("-1", "hangar_status", "{}"),
	callBody("1", "hangar_call", `{"calls":[{"mcp_server":"s","tool":"t","arguments":{}}],"fail_fast":true}`),
	callBody("1", "hangar_start", `{"mcp_server":"s"}`), progressCall("1", `"a"`),
	`{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"cursor":"1.1"}}`,
	`{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}`,
	`[{"jsonrpc":"2.0","id":1,"method":"ping"},{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"s__t"}},7]`,
	`{"jsonrpc":"2.0","id":1,"result":{}}`, "{\"jsonrpc\":\"2.0\",\r\n\"id\":\"\\ud800\",\"method\":\"tools/call\",\"params\":{\"name\":\"s__\\n\"}}",
}

func fuzzFleet() *fleet { return newFleet(ready("s", `{"name":"t"}`), ready("a", `{"name":"_b"}`)) }

// checkAnswer holds one answer against JSON-RPC.
func checkAnswer(t *testing.T, sent, got []byte) {
	t.Helper()
	var env jsonrpc.Envelope
	if err := jsonrpc.Scan(got, jsonrpc.Limits{}, &env); err != nil || env.Kind != jsonrpc.Response && env.Kind != jsonrpc.ErrorResponse {
		t.Errorf("%q: answered %q, which is no response: %v", sent, got, err)
		return
	}
	var asked jsonrpc.Envelope
	if jsonrpc.Scan(sent, jsonrpc.Limits{}, &asked) == nil && asked.Kind == jsonrpc.Request && !bytes.Equal(asked.ID.Of(sent), env.ID.Of(got)) {
		t.Errorf("%q: answered %q with another id", sent, got)
	}
}

func FuzzFrontPost(f *testing.F) {
	for i, seed := range frontSeeds {
		f.Add([]byte(seed), i%2 == 0)
	}
	front := NewFront(FrontOptions{Runtime: fuzzFleet()})
	handler := testAPI(fuzzFleet(), func(o *Options) { o.MCP = front }).Handler()
	sessions := map[bool]*session{}
	for old, version := range map[bool]string{true: "2025-03-26", false: "2025-11-25"} {
		s, err := front.sessions.open(version)
		if err != nil {
			f.Fatal(err)
		}
		sessions[old] = s
	}
	conn, _ := net.Pipe()
	f.Fuzz(func(t *testing.T, body []byte, old bool) {
		var in fasthttp.Request
		in.Header.SetMethod("POST")
		in.Header.SetHost("localhost")
		in.SetRequestURI("/mcp")
		in.Header.SetContentType("application/json")
		in.Header.Set("Mcp-Session-Id", sessions[old].id)
		in.SetBody(body)
		var ctx fasthttp.RequestCtx
		ctx.Init(&in, nil, nil)
		ctx.Init2(conn, nil, false) // streams set deadlines on it
		handler(&ctx)
		streamed := ctx.Response.IsBodyStream()
		status, got := ctx.Response.StatusCode(), ctx.Response.Body()
		switch {
		case status == 202:
			if len(got) > 0 {
				t.Errorf("%q: 202 with %q", body, got)
			}
		case status >= 500 || status != 200 && status != 400 && status != 413:
			t.Errorf("%q: %d %s", body, status, got)
		case streamed:
			data := strings.TrimSuffix(strings.TrimPrefix(string(got), "event: message\ndata: "), "\n\n")
			checkAnswer(t, body, []byte(data))
		case len(got) > 0 && got[0] == '[':
			var answers []json.RawMessage
			if json.Unmarshal(got, &answers) != nil || len(answers) == 0 || !old {
				t.Errorf("%q: %s", body, got)
			}
			for _, a := range answers {
				checkAnswer(t, nil, a)
			}
		default:
			checkAnswer(t, body, got)
		}
		if n := len(sessions[old].calls); n > 0 {
			t.Errorf("%q: %d requests are still noted", body, n)
		}
	})
}

func FuzzStdio(f *testing.F) {
	f.Add([]byte(strings.Join(frontSeeds, "\n")))
	for _, seed := range frontSeeds {
		f.Add([]byte(seed))
		f.Add([]byte(seed + "\r\n\n" + seed))
	}
	front := NewFront(FrontOptions{Runtime: fuzzFleet(), MaxMessage: 4096})
	f.Fuzz(func(t *testing.T, in []byte) {
		hung := time.AfterFunc(20*time.Second, func() { panic(fmt.Sprintf("%q: ServeStdio does not end", in)) })
		defer hung.Stop()
		var out lockedBuffer
		err := front.ServeStdio(context.Background(), io.MultiReader(strings.NewReader(initializeLine+"\n"), bytes.NewReader(in)), &out)
		if err != nil {
			t.Errorf("%q: %v", in, err)
		}
		answers := bytes.Split(bytes.TrimSuffix(out.Bytes(), []byte("\n")), []byte("\n"))
		for _, a := range answers {
			checkAnswer(t, nil, a)
		}
		requests := 1
		for line := range bytes.SplitSeq(in, []byte("\n")) {
			var env jsonrpc.Envelope
			if line = bytes.TrimSpace(line); len(line) == 0 {
				continue
			}
			if err := jsonrpc.Scan(line, jsonrpc.Limits{MaxBytes: 4096}, &env); err != nil || env.Kind == jsonrpc.Request {
				requests++
			}
		}
		// A cancelled request has none.
		if len(answers) > requests || len(answers) < requests && !bytes.Contains(in, []byte("cancelled")) && !bytes.Contains(in, []byte(`\u`)) {
			t.Errorf("%q: %d answers to %d requests", in, len(answers), requests)
		}
	})
}

type lockedBuffer struct {
	mu sync.Mutex
	bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.Buffer.Write(p)
}
