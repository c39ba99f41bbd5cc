package httpapi

import (
	"bytes"
	"strings"
	"testing"

	"github.com/valyala/fasthttp"
)

func TestHostAndOriginTable(t *testing.T) {
	for _, c := range []struct {
		host, origin string
		want         string // name of the error, empty if it passes
	}{
		{"localhost", "", ""},
		{"localhost:8000", "", ""},
		{"LOCALHOST:1", "", ""},
		{"127.0.0.1:8000", "", ""},
		{"127.255.3.4", "", ""},
		{"[::1]:8000", "", ""},
		{"[::1]", "", ""},
		{"[0:0:0:0:0:0:0:1]:80", "", ""},
		{"hangar.example", "", ""},
		{"Hangar.Example:9999", "", ""},
		{"pinned.example:81", "", ""},
		{"pinned.example:82", "", "ForbiddenHost"},
		{"pinned.example", "", "ForbiddenHost"},
		{"", "", "ForbiddenHost"},
		{"evil.com", "", "ForbiddenHost"},
		{"localhost.evil.com", "", "ForbiddenHost"},
		{"localhost:8000.evil.com", "", "ForbiddenHost"},
		{"localhost.", "", "ForbiddenHost"},
		{"evil.com@localhost", "", "ForbiddenHost"},
		{"0.0.0.0:8000", "", "ForbiddenHost"},
		{"127.0.0.1.nip.io", "", "ForbiddenHost"},
		{"127.1", "", "ForbiddenHost"},
		{"0127.0.0.1", "", "ForbiddenHost"},
		{"2130706433", "", "ForbiddenHost"},
		{"[::ffff:127.0.0.1]:80", "", "ForbiddenHost"},
		{"[::1%25eth0]", "", "ForbiddenHost"},
		{"[::2]", "", "ForbiddenHost"},
		{"[::1", "", "ForbiddenHost"},
		{"::1", "", "ForbiddenHost"},
		{"localhost:", "", "ForbiddenHost"},
		{"localhost:123456", "", "ForbiddenHost"},
		{"localhost:80a", "", "ForbiddenHost"},
		{"192.168.1.2", "", "ForbiddenHost"},
		{"[fd00::5]:8000", "", ""},
		{"[FD00::5]", "http://[fd00::5]:8000", ""},
		{"[fd00::6]:8000", "", "ForbiddenHost"},
		{"fd00::5", "", "ForbiddenHost"},

		{"localhost:8000", "http://localhost:5173", ""},
		{"localhost:8000", "https://127.0.0.1", ""},
		{"localhost:8000", "http://[::1]:3000", ""},
		{"localhost:8000", "https://console.example:8443", ""},
		{"localhost:8000", "HTTPS://CONSOLE.example:8443", ""},
		{"localhost:8000", "https://hangar.example", ""},
		{"hangar.example", "http://hangar.example", ""},
		{"localhost:8000", "https://console.example", "ForbiddenOrigin"},
		{"localhost:8000", "null", "ForbiddenOrigin"},
		{"localhost:8000", "https://evil.com", "ForbiddenOrigin"},
		{"localhost:8000", "http://localhost.evil.com", "ForbiddenOrigin"},
		{"localhost:8000", "http://localhost@evil.com", "ForbiddenOrigin"},
		{"localhost:8000", "http://evil.com/localhost", "ForbiddenOrigin"},
		{"localhost:8000", "http://0.0.0.0:8000", "ForbiddenOrigin"},
		{"localhost:8000", "localhost:8000", "ForbiddenOrigin"},
		{"localhost:8000", "file://", "ForbiddenOrigin"},
		{"localhost:8000", "chrome-extension://localhost", "ForbiddenOrigin"},
		{"evil.com", "http://evil.com", "ForbiddenHost"},
	} {
		rt := testFleet()
		a := testAPI(rt, func(o *Options) {
			o.AllowedHosts = []string{"hangar.example", "pinned.example:81", "fd00:0::5"}
			o.AllowedOrigins = []string{"https://console.example:8443/"}
		})
		for _, req := range []request{
			{method: "DELETE", path: "/api/mcp_servers/math"},
			{method: "GET", path: "/health/live"},
			{method: "OPTIONS", path: "/api/mcp_servers"},
			{method: "GET", path: "/nothing"},
		} {
			req.header = map[string]string{"Host": c.host}
			if c.origin != "" {
				req.header["Origin"] = c.origin
			}
			r := send(t, a, req)
			if c.want != "" {
				wantError(t, r, 403, c.want, "not allowed")
			} else if r.status == 403 {
				t.Errorf("host %q origin %q: %s", c.host, c.origin, r.body)
			}
		}
		if c.want != "" && rt.changed() != 0 {
			t.Errorf("host %q origin %q: refused, but after %d changes", c.host, c.origin, rt.changed())
		}
	}
}

func TestWholeURLInRequestLineIsChecked(t *testing.T) {
	rt := testFleet()
	r := sendWithURI(t, testAPI(rt), "http://evil.com/api/mcp_servers")
	wantError(t, r, 403, "ForbiddenHost", "evil.com")
	if r := sendWithURI(t, testAPI(rt), "http://127.0.0.1:9/api/mcp_servers"); r.status != 200 {
		t.Errorf("%d %s", r.status, r.body)
	}
}

func sendWithURI(t *testing.T, a *API, uri string) reply {
	t.Helper()
	var ctx fasthttp.RequestCtx
	var in fasthttp.Request
	ctx.Init(&in, nil, nil)
	ctx.Request.Header.SetRequestURI(uri)
	ctx.Request.Header.SetHost("localhost")
	a.Handler()(&ctx)
	return reply{status: ctx.Response.StatusCode(), body: bytes.Clone(ctx.Response.Body())}
}

func TestNamesThatCannotBeHeededAreTold(t *testing.T) {
	var log bytes.Buffer
	testAPI(testFleet(), func(o *Options) {
		o.Logger = logTo(&log)
		o.AllowedHosts = []string{"hangar.example", " pinned.example:81", "*", "::1", "", "http://a.example", "*.b.example"}
		o.AllowedOrigins = []string{"https://console.example", "", "c.example"}
	})
	if !strings.Contains(log.String(), `values="http://a.example, *.b.example, c.example"`) {
		t.Errorf("told was: %s", log.String())
	}
}

func TestStarTurnsTheHostCheckOff(t *testing.T) {
	a := testAPI(testFleet(), func(o *Options) { o.AllowedHosts = []string{"*"} })
	if r := send(t, a, request{method: "GET", path: "/health/live", header: map[string]string{"Host": "10.0.0.7:8000"}}); r.status != 200 {
		t.Errorf("%d %s", r.status, r.body)
	}
	r := send(t, a, request{method: "GET", path: "/health/live", header: map[string]string{"Host": "10.0.0.7", "Origin": "http://evil.com"}})
	wantError(t, r, 403, "ForbiddenOrigin", "evil.com")
}

func TestCorrelationIDIsEchoedClean(t *testing.T) {
	a := testAPI(testFleet())
	for in, want := range map[string]string{
		"":                       "",
		"abc-123":                "abc-123",
		"a b\tc<\x7fé>":          "abc<>",
		strings.Repeat("x", 500): strings.Repeat("x", 128),
	} {
		for _, path := range []string{"/health/live", "/nothing"} {
			r := send(t, a, request{method: "GET", path: path, header: map[string]string{"X-Correlation-ID": in}})
			if got := r.header.Get("X-Correlation-ID"); got != want {
				t.Errorf("%q is echoed as %q, want %q", in, got, want)
			}
		}
	}
}

func TestGuardDoesNotAllocate(t *testing.T) {
	g, _ := newEdgeGuard([]string{"hangar.example"}, nil)
	var ctx fasthttp.RequestCtx
	ctx.Request.Header.SetHost("hangar.example:8000")
	ctx.Request.Header.Set("Origin", "http://localhost:3000")
	if n := testing.AllocsPerRun(100, func() {
		if err := g.check(&ctx, edgeHeadersOf(&ctx.Request.Header).hasOrigin); err != nil {
			t.Fatal(err)
		}
	}); n > 0 {
		t.Errorf("%v allocations per check", n)
	}
}
