package hangar_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aabb9013/hangar"
	"github.com/aabb9013/hangar/internal/testserver"
)

// patience bounds what takes moments; a loaded host may need long.
const patience = 30 * time.Second

// open makes a started runtime that the end of the test closes.
func open(t *testing.T, opts hangar.Options) *hangar.Runtime {
	t.Helper()
	rt, err := hangar.New(opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { shut(t, rt) })
	if err := rt.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	return rt
}

func shut(t *testing.T, rt *hangar.Runtime) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := rt.Close(ctx); err != nil {
		t.Errorf("Close: %v", err)
	}
}

func stub(id string, flags ...string) hangar.ServerSpec {
	command, env := testserver.Command(flags...)
	return hangar.ServerSpec{ID: id, Command: command, Env: env}
}

func create(t *testing.T, rt *hangar.Runtime, specs ...hangar.ServerSpec) {
	t.Helper()
	for _, spec := range specs {
		if err := rt.Servers().Create(t.Context(), spec); err != nil {
			t.Fatalf("Create %q: %v", spec.ID, err)
		}
	}
}

// echo calls a server and checks that it is the one that answers.
func echo(t *testing.T, rt *hangar.Runtime, id string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	result, err := rt.Call(ctx, id, "echo", map[string]any{"text": "to " + id})
	if err != nil || !bytes.Contains(result.Raw, []byte("to "+id)) {
		t.Errorf("echo of %q: %v, %v", id, result, err)
	}
}

// eventually waits for what takes moments.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !holds(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within %v: %s", patience, what)
		}
	}
}

// front is a runtime served over HTTP, and one MCP session with it.
type front struct {
	t       *testing.T
	url     string
	session string
}

// serve serves the runtime until the end of the test.
func serve(t *testing.T, rt *hangar.Runtime) *front {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return serveOn(t, rt, ln)
}

func serveOn(t *testing.T, rt *hangar.Runtime, ln net.Listener) *front {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- rt.Serve(ctx, ln) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	return &front{t: t, url: "http://" + ln.Addr().String()}
}

// serveUntilClose serves until the runtime is closed; done then tells how Serve ended.
func serveUntilClose(t *testing.T, rt *hangar.Runtime) (f *front, done <-chan error) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- rt.Serve(context.Background(), ln) }()
	return &front{t: t, url: "http://" + ln.Addr().String()}, ended
}

// exchange makes a request and returns the answer's status and body.
func (f *front) exchange(method, path, body string) (status int, answer string) {
	f.t.Helper()
	request, err := http.NewRequestWithContext(f.t.Context(), method, f.url+path, strings.NewReader(body))
	if err != nil {
		f.t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Accept", "application/json, text/event-stream, text/plain")
	if f.session != "" {
		request.Header.Set("Mcp-Session-Id", f.session)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		f.t.Fatal(err)
	}
	defer response.Body.Close()
	raw, err := io.ReadAll(response.Body)
	if err != nil {
		f.t.Fatal(err)
	}
	if id := response.Header.Get("Mcp-Session-Id"); id != "" {
		f.session = id
	}
	return response.StatusCode, string(raw)
}

// send is an exchange that must succeed.
func (f *front) send(method, path, body string) string {
	f.t.Helper()
	status, answer := f.exchange(method, path, body)
	if status >= 300 {
		f.t.Fatalf("%s %s: %d %s", method, path, status, answer)
	}
	return answer
}

// ask is an exchange that is answered with a JSON object.
func (f *front) ask(method, path, body string) (int, map[string]any) {
	f.t.Helper()
	status, text := f.exchange(method, path, body)
	var answer map[string]any
	if err := json.Unmarshal([]byte(text), &answer); err != nil {
		f.t.Fatalf("%s %s: %v: %s", method, path, err, text)
	}
	return status, answer
}

func (f *front) initialize() {
	f.t.Helper()
	f.send("POST", "/mcp", `{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-06-18","capabilities":{},"clientInfo":{"name":"t","version":"1"}}}`)
	f.send("POST", "/mcp", `{"jsonrpc":"2.0","method":"notifications/initialized"}`)
}

// call calls a tool over MCP.
func (f *front) call(tool string, arguments any) string {
	f.t.Helper()
	raw, err := json.Marshal(arguments)
	if err != nil {
		f.t.Fatal(err)
	}
	return f.send("POST", "/mcp", fmt.Sprintf(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":%q,"arguments":%s}}`, tool, raw))
}
