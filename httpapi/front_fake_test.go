package httpapi

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aabb9013/hangar/backends"
	"github.com/aabb9013/hangar/internal/jsonrpc"
	"github.com/aabb9013/hangar/supervisor"
)

// fleet is a runtime whose servers answer like real ones would.
type fleet struct {
	*fakeRuntime
	version atomic.Uint64
	servers map[string]*server
}

// server is one of its targets. Its default do answers what it was sent.
type server struct {
	view      atomic.Pointer[supervisor.View]
	do        func(c *backends.Call, timeout time.Duration) error
	mu        sync.Mutex
	lines     []string
	stopped   map[uint64]chan error // calls that wait until they are cancelled
	overtaken map[uint64]error
	cancels   atomic.Int64
}

func newFleet(servers ...*supervisor.View) *fleet {
	f := &fleet{fakeRuntime: &fakeRuntime{views: servers, info: Info{Version: "0.1.0", StartedAt: testNow}}, servers: map[string]*server{}}
	f.version.Store(1)
	for _, v := range servers {
		s := &server{stopped: map[uint64]chan error{}}
		s.view.Store(v)
		f.servers[v.Spec.ID] = s
	}
	return f
}

// ready is a running server with tools of these raw objects.
func ready(id string, tools ...string) *supervisor.View {
	v := &supervisor.View{
		Spec:  supervisor.ServerSpec{ID: id, Mode: supervisor.ModeSubprocess, Command: []string{id}}.WithDefaults(),
		State: supervisor.Ready, Catalogue: &backends.Catalogue{}, Counters: &supervisor.Counters{},
	}
	for _, raw := range tools {
		var tool struct{ Name string }
		_ = json.Unmarshal([]byte(raw), &tool)
		v.Catalogue.Tools = append(v.Catalogue.Tools, backends.Tool{Name: tool.Name, Raw: json.RawMessage(raw)})
	}
	return v
}

func (f *fleet) FleetVersion() uint64 { return f.version.Load() }

func (f *fleet) Target(id []byte) Target {
	if s, ok := f.servers[string(id)]; ok {
		return s
	}
	return nil
}

func (s *server) ID() string             { return s.View().Spec.ID }
func (s *server) View() *supervisor.View { return s.view.Load() }

func (s *server) Do(c *backends.Call, timeout time.Duration) error {
	s.mu.Lock()
	s.lines = append(s.lines, string(c.Line))
	s.mu.Unlock()
	if s.do != nil {
		return s.do(c, timeout)
	}
	return result(c, `{"content":[]}`)
}

// sent are the lines that reached the server.
func (s *server) sent() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.lines...)
}

func (s *server) Cancel(id uint64, cause error) {
	s.cancels.Add(1)
	s.mu.Lock()
	defer s.mu.Unlock()
	if ch, ok := s.stopped[id]; ok {
		delete(s.stopped, id)
		ch <- cause
		return
	}
	if s.overtaken == nil {
		s.overtaken = map[uint64]error{}
	}
	s.overtaken[id] = cause // its Do comes a moment later, see Target
}

// hang waits until the call is cancelled or its time is up.
func (s *server) hang(c *backends.Call, timeout time.Duration) error {
	ch := make(chan error, 1)
	s.mu.Lock()
	if cause, ok := s.overtaken[c.ID]; ok {
		ch <- cause
	} else {
		s.stopped[c.ID] = ch
	}
	s.mu.Unlock()
	select {
	case cause := <-ch:
		return cause
	case <-time.After(timeout):
		return fmt.Errorf("%w: server %q did not answer within %s", supervisor.ErrCallTimeout, s.ID(), timeout)
	}
}

// hanging counts the calls that hang.
func (s *server) hanging() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.stopped)
}

func result(c *backends.Call, raw string) error {
	return answerWith(c, fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"result":%s}`, c.ID, raw))
}

func answerWith(c *backends.Call, line string) error {
	var env jsonrpc.Envelope
	if err := jsonrpc.Scan([]byte(line), jsonrpc.Limits{}, &env); err != nil {
		return err
	}
	c.SetAnswer([]byte(line), &env)
	return nil
}

// report sends one progress notification of the call.
func report(c *backends.Call, n int) {
	line := fmt.Appendf(nil, `{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":%d,"progress":%d}}`, c.ID, n)
	var env jsonrpc.Envelope
	if err := jsonrpc.Scan(line, jsonrpc.Limits{}, &env); err != nil {
		panic(err)
	}
	if c.Progress != nil {
		c.Progress(line, &env)
	}
	clear(line) // the instance reads its next line into the same memory
}

// clock is a time that a test moves on.
type clock struct{ ns atomic.Int64 }

func newClock() *clock {
	c := &clock{}
	c.ns.Store(testNow.UnixNano())
	return c
}

func (c *clock) now() time.Time          { return time.Unix(0, c.ns.Load()).UTC() }
func (c *clock) advance(d time.Duration) { c.ns.Add(int64(d)) }

// client is one MCP client over HTTP.
type client struct {
	t       testing.TB
	url     string
	http    *http.Client
	session string
}

// serveFront serves a front by the real server and returns a client without a
// session.
func serveFront(t *testing.T, rt Runtime, change ...func(*FrontOptions)) (*Front, *client) {
	t.Helper()
	opts := FrontOptions{Runtime: rt}
	for _, c := range change {
		c(&opts)
	}
	f := NewFront(opts)
	return f, connect(t, f, rt)
}

func connect(t *testing.T, f *Front, rt Runtime) *client {
	t.Helper()
	addr, stop := startServer(t, testAPI(rt, func(o *Options) { o.MCP = f }), nil)
	transport := &http.Transport{}
	t.Cleanup(func() {
		f.Close()
		transport.CloseIdleConnections()
		_ = stop()
	})
	return &client{t: t, url: "http://" + addr + "/mcp", http: &http.Client{Transport: transport, Timeout: 20 * time.Second}}
}

// with opens a session of a revision.
func (c *client) with(version string) *client {
	c.t.Helper()
	out := *c
	r := c.post(`{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"` + version + `","capabilities":{},"clientInfo":{"name":"t","version":"1"}}}`)
	out.session = r.header.Get("Mcp-Session-Id")
	if r.status != 200 || out.session == "" {
		c.t.Fatalf("initialize: %d %s", r.status, r.body)
	}
	return &out
}

func (c *client) send(method, body string, header ...string) (*http.Response, error) {
	req, err := http.NewRequest(method, c.url, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", "application/json, text/event-stream")
	if method == "POST" {
		req.Header.Set("Content-Type", "application/json")
	}
	if c.session != "" {
		req.Header.Set("Mcp-Session-Id", c.session)
	}
	for i := 0; i < len(header); i += 2 {
		if header[i+1] == "" {
			req.Header.Del(header[i])
		} else {
			req.Header.Set(header[i], header[i+1])
		}
	}
	return c.http.Do(req)
}

func (c *client) do(method, body string, header ...string) reply {
	c.t.Helper()
	resp, err := c.send(method, body, header...)
	if err != nil {
		c.t.Errorf("%s %.80s: %v", method, body, err)
		return reply{header: http.Header{}}
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		c.t.Errorf("%s %.80s: %v", method, body, err)
	}
	return reply{status: resp.StatusCode, header: resp.Header, body: data}
}

func (c *client) post(body string, header ...string) reply {
	c.t.Helper()
	return c.do("POST", body, header...)
}

// call makes a tools/call and returns the answer's text.
func (c *client) call(id, name, arguments string) string {
	c.t.Helper()
	return string(c.post(callBody(id, name, arguments)).body)
}

func callBody(id, name, arguments string) string {
	return fmt.Sprintf(`{"jsonrpc":"2.0","id":%s,"method":"tools/call","params":{"name":%q,"arguments":%s}}`, id, name, arguments)
}

// tool calls one of the front's own tools and returns its structured result.
func (c *client) tool(name, arguments string) (structured json.RawMessage, isError bool) {
	c.t.Helper()
	return toolAnswer(c.t, []byte(c.call("1", name, arguments)))
}

func toolAnswer(t testing.TB, raw []byte) (structured json.RawMessage, isError bool) {
	t.Helper()
	var answer struct {
		Result struct {
			Content           []struct{ Type, Text string }
			StructuredContent json.RawMessage
			IsError           bool
		}
	}
	if err := json.Unmarshal(raw, &answer); err != nil || len(answer.Result.Content) != 1 {
		t.Fatalf("no tool result: %s", raw)
	}
	var text bytes.Buffer
	if json.Compact(&text, []byte(answer.Result.Content[0].Text)) != nil || text.String() != string(answer.Result.StructuredContent) {
		t.Errorf("text and structure differ:\n%s\n%s", text.String(), answer.Result.StructuredContent)
	}
	return answer.Result.StructuredContent, answer.Result.IsError
}

// wantRPCError checks id, code and part of the text of a JSON-RPC error.
func wantRPCError(t testing.TB, raw []byte, id string, code int, text string) {
	t.Helper()
	var answer struct {
		JSONRPC string
		ID      json.RawMessage
		Error   *rpcFault
	}
	if err := json.Unmarshal(raw, &answer); err != nil || answer.Error == nil || answer.JSONRPC != "2.0" {
		t.Errorf("%q is no JSON-RPC error", raw)
		return
	}
	if string(answer.ID) != id && !(id == "null" && answer.ID == nil) || answer.Error.Code != code || !strings.Contains(answer.Error.Message, text) {
		t.Errorf("got %s, want id %s, code %d, %q in the message", raw, id, code, text)
	}
}

// events reads a stream of server-sent events; a comment is an empty string.
type events struct {
	body io.ReadCloser
	in   *bufio.Scanner
}

func eventsOf(resp *http.Response) *events {
	in := bufio.NewScanner(resp.Body)
	in.Buffer(nil, 32<<20)
	return &events{body: resp.Body, in: in}
}

func (e *events) next(t testing.TB) (data string, ok bool) {
	t.Helper()
	for e.in.Scan() {
		line := e.in.Text()
		switch {
		case strings.HasPrefix(line, ":"):
			return "", true
		case strings.HasPrefix(line, "data: "):
			return line[len("data: "):], true
		case line == "" || line == "event: message":
		default:
			t.Errorf("unexpected line in the stream: %q", line)
		}
	}
	return "", false
}

func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
	}
}

// local is a session without a transport, for tests of what is behind it.
func local() *session { return &session{key: 1, version: frontVersions[0], ended: make(chan struct{})} }

// ask sends one request to the front itself.
func (f *Front) ask(t testing.TB, s *session, body string) []byte {
	t.Helper()
	var env jsonrpc.Envelope
	if err := jsonrpc.Scan([]byte(body), f.limits, &env); err != nil {
		t.Fatalf("%s: %v", body, err)
	}
	return f.request(nil, s, []byte(body), &env, nil)
}

// logger writes into b.
func logger(b io.Writer) *slog.Logger { return slog.New(slog.NewTextHandler(b, nil)) }

func scanned(t testing.TB, body string) *jsonrpc.Envelope {
	t.Helper()
	var env jsonrpc.Envelope
	if err := jsonrpc.Scan([]byte(body), jsonrpc.Limits{}, &env); err != nil {
		t.Fatalf("%s: %v", body, err)
	}
	return &env
}

// fuse is a fleet whose version panics when told to.
type fuse struct {
	*fleet
	burning atomic.Bool
}

func (f *fuse) FleetVersion() uint64 {
	if f.burning.Load() {
		panic("ouch")
	}
	return f.fleet.FleetVersion()
}
