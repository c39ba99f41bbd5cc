package httpapi

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/valyala/fasthttp"
)

func TestRouteTableAndDocumentListTheSameOperations(t *testing.T) {
	doc, err := document()
	if err != nil {
		t.Fatal(err)
	}
	var table, documented []string
	for _, r := range routes() {
		table = append(table, fmt.Sprintf("%s %s needs %s", r.method, r.path, r.permission))
	}
	for path, item := range doc.Paths.Map() {
		for method, op := range item.Operations() {
			documented = append(documented, fmt.Sprintf("%s %s needs %s", method, path, op.Extensions["x-permission"]))
			if op.OperationID == "" || op.Summary == "" || op.Responses.Default() == nil {
				t.Errorf("%s %s lacks an operationId, a summary or a default response", method, path)
			}
		}
	}
	slices.Sort(table)
	slices.Sort(documented)
	if diff := cmp.Diff(table, documented); diff != "" {
		t.Errorf("routes.go and openapi.json differ (-table +document):\n%s", diff)
	}
}

func TestDocumentIsServed(t *testing.T) {
	r := send(t, testAPI(testFleet()), request{method: "GET", path: "/api/openapi.json"})
	if r.status != 200 || r.decode(t)["openapi"] != "3.1.0" {
		t.Errorf("%d %.80s", r.status, r.body)
	}
}

func TestRouteWithoutPermissionIsRefused(t *testing.T) {
	handle := func(*API, *fasthttp.RequestCtx) error { return nil }
	for _, bad := range []route{
		{method: "GET", path: "/x", handle: handle},
		{method: "GET", path: "/x", permission: PermPublic},
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%+v was accepted", bad)
				}
			}()
			testAPI(testFleet()).newRouter([]route{bad})
		}()
	}
}

// TestEveryRouteAsksForItsPermission proves 401 and 403 before any change, for
// every row of the table.
func TestEveryRouteAsksForItsPermission(t *testing.T) {
	for _, c := range []struct {
		err    error
		status int
		name   string
	}{
		{fmt.Errorf("no key: %w", ErrUnauthenticated), 401, "AuthenticationError"},
		{ErrForbidden, 403, "AccessDeniedError"},
		{errors.New("the key store is down"), 403, "AccessDeniedError"},
	} {
		for _, row := range routes() {
			rt := testFleet()
			var asked []Permission
			a := testAPI(rt, func(o *Options) {
				o.Authorize = func(_ *fasthttp.RequestCtx, p Permission) error { asked = append(asked, p); return c.err }
			})
			path := strings.NewReplacer("{id}", "math", "{tool}", "add").Replace(row.path)
			r := send(t, a, request{method: row.method, path: path})
			if row.permission == PermPublic {
				if r.status != 200 || len(asked) != 0 {
					t.Errorf("%s %s is public, but answers %d", row.method, row.path, r.status)
				}
				continue
			}
			wantError(t, r, c.status, c.name, "")
			if !slices.Equal(asked, []Permission{row.permission}) || rt.changed() != 0 {
				t.Errorf("%s %s asked for %v, %d changes", row.method, row.path, asked, rt.changed())
			}
			if c.status == 401 && r.header.Get("WWW-Authenticate") == "" {
				t.Errorf("%s %s: 401 without WWW-Authenticate", row.method, row.path)
			}
			if strings.Contains(string(r.body), "key store") {
				t.Errorf("the authorizer's trouble leaks: %s", r.body)
			}
		}
	}
}

// TestWrongMethodIsToldTheRightOnes checks Allow of every path for 405 and for
// OPTIONS, in both spellings of the path.
func TestWrongMethodIsToldTheRightOnes(t *testing.T) {
	methods := map[string][]string{}
	for _, r := range routes() {
		methods[r.path] = append(methods[r.path], r.method)
		if r.method == "GET" {
			methods[r.path] = append(methods[r.path], "HEAD")
		}
	}
	a := testAPI(testFleet())
	for template, has := range methods {
		want := append([]string{"OPTIONS"}, has...)
		slices.Sort(want)
		path := strings.NewReplacer("{id}", "math", "{tool}", "add").Replace(template)
		for _, p := range []string{path, path + "/"} {
			r := send(t, a, request{method: "OPTIONS", path: p})
			if got := allow(r); r.status != 204 || !slices.Equal(got, want) || len(r.body) > 0 {
				t.Errorf("OPTIONS %s: %d, Allow %v, want %v", p, r.status, got, want)
			}
			for _, m := range []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "TRACE", "CONNECT", "BREW"} {
				if slices.Contains(has, m) {
					continue
				}
				r := send(t, a, request{method: m, path: p})
				wantError(t, r, 405, "MethodNotAllowed", "method")
				if got := allow(r); !slices.Equal(got, want) {
					t.Errorf("%s %s: Allow %v, want %v", m, p, got, want)
				}
			}
		}
	}
}

func allow(r reply) []string {
	list := strings.Split(r.header.Get("Allow"), ", ")
	slices.Sort(list)
	return list
}

func TestUnknownPathsAreNotFound(t *testing.T) {
	rt := testFleet()
	a := testAPI(rt)
	for _, path := range []string{
		"/", "/api", "/api/", "/api/nothing", "/api/mcp_servers/math/tools/add", "/api/mcp_servers/math/tools/add/call/x",
		"/api/mcp_servers//", "/health", "/mcp", "/mcp/servers/math", "/mcpx", "/api/../health/live", "//health/live", "/health/live//",
		"/API/mcp_servers", "/api/mcp_servers/math/start/../stop", "/" + strings.Repeat("a/", 2000),
	} {
		for _, method := range []string{"GET", "POST", "DELETE", "OPTIONS"} {
			r := send(t, a, request{method: method, path: path})
			wantError(t, r, 404, "NotFound", "no such path")
			if len(r.body) > 400 {
				t.Errorf("a long path comes back whole: %d bytes", len(r.body))
			}
		}
	}
	if rt.changed() != 0 {
		t.Errorf("%d changes", rt.changed())
	}
}

// TestRandomPathsNeverBreakTheRouter feeds the router what nobody would write.
func TestRandomPathsNeverBreakTheRouter(t *testing.T) {
	a := testAPI(testFleet())
	rng := rand.New(rand.NewPCG(1, 2))
	parts := []string{"/", "/", "api", "mcp_servers", "math", "tools", "history", "call", "start", "health", "ready", "%", "%2F", "%00", "%e2%82", "..", ".", "{id}", "*", "?", "#", ";", ":", "é", "mcp"}
	methods := []string{"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "FOO"}
	for range 20_000 {
		path := "/"
		for range rng.IntN(9) {
			path += parts[rng.IntN(len(parts))]
		}
		req := request{method: methods[rng.IntN(len(methods))], path: path}
		if r := send(t, a, req); r.status >= 500 {
			t.Fatalf("%s %q: %d %s", req.method, path, r.status, r.body)
		}
	}
}

func TestMCPIsMountedAsItIs(t *testing.T) {
	var paths []string
	a := testAPI(testFleet(), func(o *Options) {
		o.MCP = mcpFunc(func(ctx *fasthttp.RequestCtx) { paths = append(paths, string(ctx.Path())); ctx.SetStatusCode(202) })
		o.Authorize = func(*fasthttp.RequestCtx, Permission) error { return ErrForbidden }
	})
	big := strings.Repeat("x", DefaultMaxBodyBytes+1)
	for _, path := range []string{"/mcp", "/mcp/", "/mcp/servers/math"} {
		r := sendRaw(a, request{method: "POST", path: path, body: big, header: map[string]string{"Content-Type": "text/plain", "X-Correlation-ID": "c1"}})
		if r.status != 202 || r.header.Get("X-Correlation-ID") != "c1" {
			t.Errorf("%s: %d %v", path, r.status, r.header)
		}
	}
	if want := []string{"/mcp", "/mcp/", "/mcp/servers/math"}; !slices.Equal(paths, want) {
		t.Errorf("paths %v, want %v", paths, want)
	}
	r := sendRaw(a, request{method: "POST", path: "/mcp", header: map[string]string{"Origin": "https://evil.com"}})
	wantError(t, r, 403, "ForbiddenOrigin", "evil.com")
}
