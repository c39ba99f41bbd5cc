package httpapi

import (
	"bytes"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"strings"
	"testing"

	"github.com/valyala/fasthttp"

	"github.com/aabb9013/hangar/backends"
	"github.com/aabb9013/hangar/supervisor"
)

// TestEverySentinelHasAnAnswer reads the sources, so that a new sentinel
// without a row fails here.
func TestEverySentinelHasAnAnswer(t *testing.T) {
	values := map[string]error{
		"supervisor.ErrInvalidSpec":      supervisor.ErrInvalidSpec,
		"supervisor.ErrServerNotFound":   supervisor.ErrServerNotFound,
		"supervisor.ErrServerExists":     supervisor.ErrServerExists,
		"supervisor.ErrToolNotFound":     supervisor.ErrToolNotFound,
		"supervisor.ErrStartFailed":      supervisor.ErrStartFailed,
		"supervisor.ErrCannotStart":      supervisor.ErrCannotStart,
		"supervisor.ErrStopped":          supervisor.ErrStopped,
		"supervisor.ErrReplaceFailed":    supervisor.ErrReplaceFailed,
		"supervisor.ErrInUse":            supervisor.ErrInUse,
		"supervisor.ErrOverloaded":       supervisor.ErrOverloaded,
		"supervisor.ErrCallTimeout":      supervisor.ErrCallTimeout,
		"supervisor.ErrClosing":          supervisor.ErrClosing,
		"supervisor.ErrReadOnly":         supervisor.ErrReadOnly,
		"supervisor.ErrNotBuilt":         supervisor.ErrNotBuilt,
		"supervisor.ErrInternal":         supervisor.ErrInternal,
		"supervisor.ErrGroupNotFound":    supervisor.ErrGroupNotFound,
		"supervisor.ErrGroupExists":      supervisor.ErrGroupExists,
		"supervisor.ErrGroupUnavailable": supervisor.ErrGroupUnavailable,
		"backends.ErrClosed":             backends.ErrClosed,
		"backends.ErrBusy":               backends.ErrBusy,
		"backends.ErrCrashed":            backends.ErrCrashed,
		"backends.ErrStdinStalled":       backends.ErrStdinStalled,
		"backends.ErrMessageTooLarge":    backends.ErrMessageTooLarge,
		"backends.ErrProtocol":           backends.ErrProtocol,
		"backends.ErrStdoutClosed":       backends.ErrStdoutClosed,
		"backends.ErrUnresponsive":       backends.ErrUnresponsive,
		"backends.ErrStdinClosed":        backends.ErrStdinClosed,
		"backends.ErrDeadline":           backends.ErrDeadline,
		"backends.ErrPermanent":          backends.ErrPermanent,
		"backends.ErrResource":           backends.ErrResource,
		"supervisor.ErrInMemory":         supervisor.ErrInMemory,
		"backends.ErrReaperLost":         backends.ErrReaperLost,
	}
	for _, row := range errorTable {
		if answer, _, _ := describeError(row.target); answer.name == "" {
			t.Errorf("%v has no name", row.target)
		}
	}
	for _, name := range sentinels(t, "supervisor", "backends") {
		err, ok := values[name]
		if !ok {
			t.Errorf("%s is new: give it a row in errorTable, its name in supervisor and a line here", name)
			continue
		}
		rows := 0
		for _, row := range errorTable {
			if row.target == err {
				rows++
			}
		}
		if rows != 1 {
			t.Errorf("%s has %d rows in errorTable, want 1", name, rows)
		}
		answer, retry, _ := describeError(fmt.Errorf("outer: %w", err))
		if answer.status < 400 || answer.name == "" || answer.message == "" {
			t.Errorf("%s is answered with %+v", name, answer)
		}
		if (answer.status == 503 || answer.status == 429) && retry == 0 {
			t.Errorf("%s answers %d without Retry-After", name, answer.status)
		}
	}
}

// sentinels lists the exported errors.New variables of sibling packages.
func sentinels(t *testing.T, packages ...string) (names []string) {
	t.Helper()
	for _, pkg := range packages {
		files, err := filepath.Glob("../" + pkg + "/*.go")
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range files {
			if strings.HasSuffix(path, "_test.go") {
				continue
			}
			file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
			if err != nil {
				t.Fatal(err)
			}
			for _, decl := range file.Decls {
				g, ok := decl.(*ast.GenDecl)
				if !ok || g.Tok != token.VAR {
					continue
				}
				for _, spec := range g.Specs {
					for _, id := range spec.(*ast.ValueSpec).Names {
						if strings.HasPrefix(id.Name, "Err") {
							names = append(names, pkg+"."+id.Name)
						}
					}
				}
			}
		}
	}
	if len(names) < 20 {
		t.Fatalf("found only %v", names)
	}
	return names
}

func TestClientTextIsMadeHarmless(t *testing.T) {
	for in, want := range map[string]string{
		"plain":                         `"plain"`,
		"a\r\nb\x1b[31m":                `"a\u000d\u000ab\u001b[31m"`,
		"\u202eevil":                    `"\u202eevil"`,
		"bad\xff":                       `"bad\xff"`,
		strings.Repeat("x", 1000):       `"` + strings.Repeat("x", 80) + `…"`,
		strings.Repeat("\x00", 1000):    `"` + strings.Repeat(`\u0000`, 14) + `…"`,
		"line\u2028sep":                 `"line\u2028sep"`,
		"<script>alert('x')</script> é": `"<script>alert('x')</script> é"`,
	} {
		if got := quoteClient(in); got != want {
			t.Errorf("quoteClient(%q) = %s, want %s", in, got, want)
		}
	}
}

func TestPanicIsContainedAndLogged(t *testing.T) {
	rt := testFleet()
	rt.stop = func(string, string) error { panic("secret hunter2") }
	var log bytes.Buffer
	a := testAPI(rt, func(o *Options) {
		o.Logger = logTo(&log)
		o.MCP = mcpFunc(func(*fasthttp.RequestCtx) { panic(errors.New("mcp hunter2")) })
	})
	for _, path := range []string{"/api/mcp_servers/math/stop", "/mcp"} {
		r := send(t, a, request{method: "POST", path: path, header: map[string]string{"X-Correlation-ID": "c9"}})
		wantError(t, r, 500, "InternalServerError", "internal error")
		if bytes.Contains(r.body, []byte("hunter2")) || bytes.Contains(r.body, []byte("goroutine")) {
			t.Errorf("the panic leaks: %s", r.body)
		}
		if r.header.Get("X-Correlation-ID") != "c9" {
			t.Errorf("the correlation id is lost")
		}
	}
	if text := log.String(); !strings.Contains(text, "hunter2") || !strings.Contains(text, "goroutine") || !strings.Contains(text, "stopServer") {
		t.Errorf("the log lacks the cause or the stack: %s", text)
	}
}

func TestUnknownErrorIsLogged(t *testing.T) {
	rt := testFleet()
	rt.stop = func(string, string) error { return errors.New("odd") }
	var log bytes.Buffer
	a := testAPI(rt, func(o *Options) { o.Logger = logTo(&log) })
	send(t, a, request{method: "POST", path: "/api/mcp_servers/math/stop"})
	if !strings.Contains(log.String(), "odd") {
		t.Errorf("log %q", log.String())
	}
}

func TestContentTypes(t *testing.T) {
	const body = `{"mcp_server_id":"n","mode":"subprocess","command":["x"]}`
	for kind, want := range map[string]int{
		"application/json":                  201,
		"Application/JSON; charset=utf-8":   201,
		"":                                  201,
		"text/plain":                        415,
		"application/x-www-form-urlencoded": 415,
		"multipart/form-data; boundary=x":   415,
		"application/jsonp":                 415,
		"text/plain; application/json":      415,
	} {
		rt := testFleet()
		r := send(t, testAPI(rt), request{method: "POST", path: "/api/mcp_servers", body: body, header: map[string]string{"Content-Type": kind}})
		if r.status != want || (rt.changed() != 0) != (want == 201) {
			t.Errorf("%q: %d, %d changes, want %d", kind, r.status, rt.changed(), want)
		}
	}
	rt := testFleet()
	r := send(t, testAPI(rt), request{method: "POST", path: "/api/mcp_servers", body: body, header: map[string]string{"Content-Encoding": "gzip"}})
	wantError(t, r, 415, "UnsupportedMediaType", "gzip")
}
