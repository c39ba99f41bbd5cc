package httpapi

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/google/go-cmp/cmp"
	"github.com/valyala/fasthttp"
)

var update = flag.Bool("update", false, "write the golden files of testdata")

// testNow is when every request of these tests is made.
var testNow = time.Date(2026, 3, 23, 10, 15, 30, 0, time.UTC)

// reply is an answer, copied out of fasthttp's memory.
type reply struct {
	status int
	header http.Header
	body   []byte
}

func (r reply) decode(t testing.TB) map[string]any {
	t.Helper()
	var m map[string]any
	if err := json.Unmarshal(r.body, &m); err != nil {
		t.Fatalf("answer %q is no JSON object: %v", r.body, err)
	}
	return m
}

// request is one request of a test; the zero Host is a loopback one.
type request struct {
	method, path, body string
	header             map[string]string
}

func testAPI(rt Runtime, change ...func(*Options)) *API {
	opts := Options{Runtime: rt, Now: func() time.Time { return testNow }}
	for _, f := range change {
		f(&opts)
	}
	return New(opts)
}

// send runs the handler on a bare RequestCtx and checks the answer against the
// contract.
func send(t testing.TB, a *API, req request) reply {
	t.Helper()
	r := sendRaw(a, req)
	checkContract(t, req, r)
	return r
}

func sendRaw(a *API, req request) reply {
	var in fasthttp.Request
	in.Header.SetMethod(req.method)
	in.Header.SetHost("localhost:8000")
	in.SetRequestURI(req.path)
	if req.body != "" {
		in.SetBodyString(req.body)
		in.Header.SetContentType("application/json")
	}
	for k, v := range req.header {
		in.Header.Set(k, v)
	}
	var ctx fasthttp.RequestCtx
	ctx.Init(&in, nil, nil)
	a.Handler()(&ctx)
	out := reply{status: ctx.Response.StatusCode(), header: http.Header{}, body: bytes.Clone(ctx.Response.Body())}
	for k, v := range ctx.Response.Header.All() {
		out.header.Add(string(k), string(v))
	}
	scribble(&ctx)
	return out
}

// scribble does to a request's memory what the next request would do to it.
func scribble(ctx *fasthttp.RequestCtx) {
	for _, b := range [][]byte{
		ctx.Request.Body(), ctx.URI().PathOriginal(), ctx.URI().Path(), ctx.URI().QueryString(),
		ctx.Request.Header.RequestURI(), ctx.Request.Header.Peek("X-Correlation-ID"),
	} {
		for i := range b {
			b[i] = 'B'
		}
	}
}

var document = sync.OnceValues(func() (*openapi3.T, error) {
	doc, err := openapi3.NewLoader().LoadFromData(openAPIDocument)
	if err != nil {
		return nil, err
	}
	return doc, doc.Validate(context.Background())
})

// documented finds the operation of a request in openapi.json.
func documented(doc *openapi3.T, method, path string) *routers.Route {
	path, _, _ = strings.Cut(path, "?")
	if len(path) > 1 {
		path = strings.TrimSuffix(path, "/")
	}
	segments := strings.Split(path, "/")
	for template, item := range doc.Paths.Map() {
		parts := strings.Split(template, "/")
		match := len(parts) == len(segments)
		for i := 0; match && i < len(parts); i++ {
			match = parts[i] == segments[i] || strings.HasPrefix(parts[i], "{")
		}
		if op := item.GetOperation(method); match && op != nil {
			return &routers.Route{Spec: doc, Path: template, PathItem: item, Method: method, Operation: op}
		}
	}
	return nil
}

var validated sync.Map // answers that were already held against the document

// checkContract holds an answer against openapi.json, and every error against
// the envelope.
func checkContract(t testing.TB, req request, r reply) {
	t.Helper()
	if r.status >= 400 {
		checkEnvelope(t, req, r)
	}
	doc, err := document()
	if err != nil {
		t.Fatalf("openapi.json: %v", err)
	}
	if req.method == "HEAD" || req.method == "OPTIONS" {
		return // implied by the other methods, not documented one by one
	}
	route := documented(doc, req.method, req.path)
	if route == nil {
		if r.status < 400 {
			t.Fatalf("%s %s answered %d but openapi.json does not know it", req.method, req.path, r.status)
		}
		return
	}
	// Each validation compiles its schema anew, which is slow; many answers of
	// these tests are the same.
	key := fmt.Sprint(req.method, route.Path, r.status, r.header.Get("Retry-After"), string(r.body))
	if _, seen := validated.LoadOrStore(key, true); seen {
		return
	}
	in := &http.Request{Method: req.method, Header: http.Header{}}
	err = openapi3filter.ValidateResponse(context.Background(), &openapi3filter.ResponseValidationInput{
		RequestValidationInput: &openapi3filter.RequestValidationInput{Request: in, Route: route},
		Status:                 r.status,
		Header:                 r.header,
		Body:                   io.NopCloser(bytes.NewReader(r.body)),
		Options:                &openapi3filter.Options{IncludeResponseStatus: true},
	})
	if err != nil {
		t.Errorf("%s %s: the answer is not as documented: %v\n%s", req.method, req.path, err, r.body)
	}
}

func checkEnvelope(t testing.TB, req request, r reply) {
	t.Helper()
	if got := r.header.Get("Content-Type"); got != "application/json" {
		t.Errorf("%s %s: error %d has content type %q", req.method, req.path, r.status, got)
	}
	if !bytes.HasPrefix(r.body, []byte(`{"error":"`)) {
		t.Errorf("%s %s: error %d does not begin with the envelope: %s", req.method, req.path, r.status, r.body)
	}
	m := r.decode(t)
	if code, _ := m["status_code"].(float64); int(code) != r.status {
		t.Errorf("%s %s: status_code is %v, the status %d", req.method, req.path, m["status_code"], r.status)
	}
	if m["error"] == "" || m["message"] == "" || m["message"] == nil {
		t.Errorf("%s %s: error and message must be there: %s", req.method, req.path, r.body)
	}
}

// wantError checks status, name and part of the message.
func wantError(t testing.TB, r reply, status int, name, message string) {
	t.Helper()
	m := r.decode(t)
	text, _ := m["message"].(string)
	if r.status != status || m["error"] != name || !strings.Contains(text, message) {
		t.Errorf("got %d %s, want %d %s with %q in the message", r.status, r.body, status, name, message)
	}
}

// golden compares an answer with testdata, or writes it there.
func golden(t *testing.T, name string, body []byte) {
	t.Helper()
	var b bytes.Buffer
	if err := json.Indent(&b, body, "", "  "); err != nil {
		t.Fatalf("%q is no JSON: %v", body, err)
	}
	b.WriteByte('\n')
	path := filepath.Join("testdata", name+".json")
	if *update {
		if err := os.WriteFile(path, b.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), b.String()); diff != "" {
		t.Errorf("%s (-want +got):\n%s", path, diff)
	}
}

// logTo returns a logger that writes into b.
func logTo(b *bytes.Buffer) *slog.Logger { return slog.New(slog.NewTextHandler(b, nil)) }

// mcpFunc stands where a Front does.
type mcpFunc func(*fasthttp.RequestCtx)

func (f mcpFunc) serve(ctx *fasthttp.RequestCtx, _ edgeHeaders) { f(ctx) }
