package httpapi

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aabb9013/hangar/backends"
)

func TestInitializeNegotiates(t *testing.T) {
	_, c := serveFront(t, newFleet())
	for asked, want := range map[string]string{
		"2025-11-25": "2025-11-25", "2025-06-18": "2025-06-18", "2025-03-26": "2025-03-26",
		"2024-11-05": "2025-11-25", "2026-07-28": "2025-11-25", "x": "2025-11-25",
	} {
		// A version header of a revision nobody serves does not stand in the way.
		r := c.post(`{"jsonrpc":"2.0","id":"a","method":"initialize","params":{"protocolVersion":"`+asked+`","capabilities":{}}}`, "MCP-Protocol-Version", "2026-07-28")
		var answer struct {
			ID     string
			Result struct {
				ProtocolVersion string
				Capabilities    struct{ Tools struct{ ListChanged bool } }
				ServerInfo      backends.ClientInfo
				Instructions    string
			}
		}
		if err := json.Unmarshal(r.body, &answer); err != nil {
			t.Fatal(err)
		}
		got := answer.Result
		if r.status != 200 || answer.ID != "a" || got.ProtocolVersion != want || !got.Capabilities.Tools.ListChanged || got.Instructions == "" ||
			got.ServerInfo != (backends.ClientInfo{Name: "hangar", Version: "0.1.0"}) {
			t.Errorf("%s: got %d %s", asked, r.status, r.body)
		}
		if len(r.header.Get("Mcp-Session-Id")) != 32 || r.header.Get("Content-Type") != "application/json" {
			t.Errorf("%s: header %v", asked, r.header)
		}
	}
}

func TestInitializeRefusesGarbage(t *testing.T) {
	f, c := serveFront(t, newFleet())
	for _, params := range []string{`{}`, `[]`, `{"protocolVersion":""}`, `{"protocolVersion":7}`, `{"protocolVersion":null}`, `{"protocolVersion":["2025-11-25"]}`, ``} {
		body := `{"jsonrpc":"2.0","id":7,"method":"initialize"}`
		if params != "" {
			body = `{"jsonrpc":"2.0","id":7,"method":"initialize","params":` + params + `}`
		}
		r := c.post(body)
		wantRPCError(t, r.body, "7", codeInvalidParams, "protocolVersion")
		if r.header.Get("Mcp-Session-Id") != "" {
			t.Errorf("%s opened a session", params)
		}
	}
	if n := f.sessions.count(); n != 0 {
		t.Errorf("%d sessions are open", n)
	}
	r := c.post(`{"jsonrpc":"2.0","id":7,"method":"initi\u0061lize","params":{"protocolVersion":"2025-06-18"}}`)
	if r.status != 200 || r.header.Get("Mcp-Session-Id") == "" {
		t.Errorf("an escaped method: %d %s", r.status, r.body)
	}
	wantRPCError(t, c.with("2025-06-18").post(`{"jsonrpc":"2.0","id":1,"method":"nope/\u0000x"}`).body, "1", codeUnknownMethod, `nope/\u0000x`)
}

func TestIDsComeBackByteForByte(t *testing.T) {
	fl := newFleet(ready("s", `{"name":"ok"}`, `{"name":"bad"}`, `{"name":"rpc"}`))
	fl.servers["s"].do = func(c *backends.Call, _ time.Duration) error {
		switch c.Tool {
		case "bad":
			return backends.ErrUnresponsive
		case "rpc":
			return answerWith(c, fmt.Sprintf(`{"error":{"code":5,"message":"no"},"jsonrpc":"2.0","id":%d}`, c.ID))
		}
		return result(c, `{}`)
	}
	_, c := serveFront(t, fl)
	s := c.with("2025-11-25")
	for _, id := range []string{
		`0`, `1`, `-1`, `1.50`, `1e3`, `18446744073709551615`, `18446744073709551616`, `99999999999999999999999999999999`,
		`"1"`, `""`, `"a\u0062\/\"é"`, `"` + strings.Repeat("x", 5000) + `"`,
	} {
		for _, body := range []string{
			callBody(id, "s__ok", "{}"), callBody(id, "s__bad", "{}"), callBody(id, "s__rpc", "{}"), callBody(id, "no__tool", "{}"), callBody(id, "hangar_list", "{}"),
			`{"id": ` + id + ` , "jsonrpc":"2.0","method":"ping"}`, `{"jsonrpc":"2.0","method":"tools/list","id":` + id + `}`, `{"jsonrpc":"2.0","method":"nope","id":` + id + `}`,
			`{"jsonrpc":"2.0","method":"initialize","id":` + id + `,"params":{}}`, `{"jsonrpc":"1.0","method":"ping","id":` + id + `}`,
		} {
			r := s.post(body)
			var answer struct{ ID json.RawMessage }
			if err := json.Unmarshal(r.body, &answer); err != nil || string(answer.ID) != id {
				t.Errorf("%.100s: got %.200s (%v)", body, r.body, err)
			}
		}
		// Errors of HTTP, too.
		for _, broken := range []*client{c, {t: t, url: c.url, http: c.http, session: "none"}} {
			wantRPCError(t, broken.post(`{"jsonrpc":"2.0","method":"ping","id":`+id+`}`).body, id, codeInvalidRequest, "send initialize")
		}
	}
}

func TestSessionsOverHTTP(t *testing.T) {
	_, c := serveFront(t, newFleet())
	const ping = `{"jsonrpc":"2.0","id":1,"method":"ping"}`
	s := c.with("2025-11-25")
	steps := []struct {
		what         string
		c            *client
		method, body string
		header       []string
		status       int
	}{
		{"no session", c, "POST", ping, nil, 400},
		{"no session", c, "GET", "", nil, 400},
		{"no session", c, "DELETE", "", nil, 400},
		{"unknown session", c, "POST", ping, []string{"Mcp-Session-Id", strings.Repeat("0", 32)}, 404},
		{"bad version", s, "POST", ping, []string{"MCP-Protocol-Version", "2024-11-05"}, 400},
		{"bad version", s, "GET", "", []string{"MCP-Protocol-Version", "1"}, 400},
		{"bad version", s, "DELETE", "", []string{"MCP-Protocol-Version", "1"}, 400},
		{"served version", s, "POST", ping, []string{"MCP-Protocol-Version", "2025-06-18"}, 200},
		{"notification", s, "POST", `{"jsonrpc":"2.0","method":"notifications/initialized"}`, nil, 202},
		{"unknown notification", s, "POST", `{"jsonrpc":"2.0","method":"what/ever","params":{}}`, nil, 202},
		{"odd cancellation", s, "POST", `{"jsonrpc":"2.0","method":"notifications/cancelled"}`, nil, 202},
		{"response", s, "POST", `{"jsonrpc":"2.0","id":9,"result":{}}`, nil, 202},
		{"error response", s, "POST", `{"jsonrpc":"2.0","id":null,"error":{"code":1,"message":""}}`, nil, 202},
		{"notification without session", c, "POST", `{"jsonrpc":"2.0","method":"notifications/initialized"}`, nil, 400},
		{"delete", s, "DELETE", "", nil, 204},
		{"after delete", s, "POST", ping, nil, 404},
		{"after delete", s, "GET", "", nil, 404},
		{"after delete", s, "DELETE", "", nil, 404},
	}
	for _, step := range steps {
		r := step.c.do(step.method, step.body, step.header...)
		if r.status != step.status {
			t.Errorf("%s: %s %s: got %d %s, want %d", step.what, step.method, step.body, r.status, r.body, step.status)
		}
		if r.status < 300 && r.status > 200 && len(r.body) > 0 {
			t.Errorf("%s: the body should be empty: %s", step.what, r.body)
		}
	}
}

func TestSessionsExpire(t *testing.T) {
	clock := newClock()
	f, c := serveFront(t, newFleet(), func(o *FrontOptions) { o.Now = clock.now })
	const ping = `{"jsonrpc":"2.0","id":1,"method":"ping"}`
	s := c.with("2025-11-25")
	for range 3 { // each use counts anew
		clock.advance(SessionIdle)
		if r := s.post(ping); r.status != 200 {
			t.Fatalf("after %s: %d", SessionIdle, r.status)
		}
	}
	clock.advance(SessionIdle + 1)
	if r := s.post(ping); r.status != 404 {
		t.Errorf("after more than that: %d", r.status)
	}
	if f.sessions.count() != 0 {
		t.Error("the session is still held")
	}
}

func TestSessionsAreBounded(t *testing.T) {
	clock := newClock()
	table := newSessions(clock.now)
	open := func() *session {
		s, err := table.open("2025-11-25")
		if err != nil {
			return nil
		}
		return s
	}
	first := open()
	clock.advance(time.Second)
	second := open()
	clock.advance(time.Second)
	for table.count() < MaxSessions {
		open()
	}
	if open() != nil {
		t.Fatal("a session was opened although all were used just now")
	}
	clock.advance(minSessionIdle)
	table.find([]byte(first.id), clock.now())
	if open() == nil || table.find([]byte(second.id), clock.now()) != nil || table.find([]byte(first.id), clock.now()) == nil {
		t.Error("the session that was idle longest should make room, and no other")
	}
	select {
	case <-second.ended:
	default:
		t.Error("an evicted session did not end")
	}
	clock.advance(SessionIdle + 1)
	if open() == nil || table.count() != 1 {
		t.Errorf("expired sessions were kept: %d", table.count())
	}
	table.closeAll()
	if open() != nil || table.count() != 0 {
		t.Error("a session was opened after the end")
	}
}

func TestFullSessionTableAnswers503(t *testing.T) {
	f, c := serveFront(t, newFleet())
	for f.sessions.count() < MaxSessions {
		_, _ = f.sessions.open("2025-11-25")
	}
	r := c.post(`{"jsonrpc":"2.0","id":3,"method":"initialize","params":{"protocolVersion":"2025-11-25"}}`)
	wantRPCError(t, r.body, "3", codeOverloaded, "too many sessions")
	if r.status != 503 || r.header.Get("Retry-After") == "" || r.header.Get("Mcp-Session-Id") != "" {
		t.Errorf("got %d %v", r.status, r.header)
	}
	f.Close()
	r = c.post(`{"jsonrpc":"2.0","id":3,"method":"initialize","params":{"protocolVersion":"2025-11-25"}}`)
	wantRPCError(t, r.body, "3", codeClosing, "closing")
	if r.status != 503 || r.header.Get("Retry-After") != "5" {
		t.Errorf("after Close: %d %v", r.status, r.header)
	}
}

func TestSessionsAreRandom(t *testing.T) {
	table := newSessions(time.Now)
	seen, keys := map[string]bool{}, map[uint64]bool{}
	for range 100 {
		s, err := table.open("x")
		if err != nil || seen[s.id] || keys[s.key] || len(s.id) != 32 { // 128 bits
			t.Fatalf("%+v %v", s, err)
		}
		seen[s.id], keys[s.key] = true, true
	}
}

func TestSessionTableIsSafeForConcurrentUse(t *testing.T) {
	table := newSessions(time.Now)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 200 {
				s, err := table.open("x")
				if err != nil {
					t.Error(err)
					return
				}
				wg.Go(func() { table.close([]byte(s.id)) })
				table.find([]byte(s.id), time.Now())
				table.close([]byte(s.id))
			}
		})
	}
	wg.Wait()
	if table.count() != 0 {
		t.Errorf("%d left", table.count())
	}
}

func TestContentNegotiation(t *testing.T) {
	_, c := serveFront(t, newFleet(), func(o *FrontOptions) { o.MaxMessage = 1 << 20 })
	s := c.with("2025-11-25")
	const ping = `{"jsonrpc":"2.0","id":1,"method":"ping"}`
	for _, step := range []struct {
		method, body string
		header       []string
		status       int
	}{
		{"POST", ping, []string{"Content-Type", "text/plain"}, 415},
		{"POST", ping, []string{"Content-Type", "application/x-www-form-urlencoded"}, 415},
		{"POST", ping, []string{"Content-Type", "application/jsonx"}, 415},
		{"POST", ping, []string{"Content-Type", ""}, 415},
		{"POST", ping, []string{"Content-Type", "Application/JSON; charset=utf-8"}, 200},
		{"POST", ping, []string{"Accept", "text/event-stream"}, 406},
		{"POST", ping, []string{"Accept", "text/html, application/json;q=0"}, 406},
		{"POST", ping, []string{"Accept", "*/*"}, 200},
		{"POST", ping, []string{"Accept", "application/*;q=0.1"}, 200},
		{"POST", ping, []string{"Accept", "text/html ,APPLICATION/JSON; q=0.9"}, 200},
		{"POST", ping, []string{"Accept", ""}, 200},
		{"GET", "", []string{"Accept", "application/json"}, 406},
		{"PUT", ping, nil, 405},
		{"PATCH", ping, nil, 405},
		{"OPTIONS", "", nil, 405},
		{"HEAD", "", nil, 405},
		{"POST", `{"jsonrpc":"2.0","id":1,"method":"ping","params":{"x":"` + strings.Repeat("y", 1<<20) + `"}}`, nil, 413},
	} {
		r := s.do(step.method, step.body, step.header...)
		if r.status != step.status {
			t.Errorf("%s %.60s %q: got %d %s, want %d", step.method, step.body, step.header, r.status, r.body, step.status)
		}
		if step.status >= 400 && step.method != "HEAD" {
			wantRPCError(t, r.body, "null", map[int]int{413: codeParse}[step.status]+map[bool]int{true: codeInvalidRequest}[step.status != 413], "")
		}
		if step.status == 405 && r.header.Get("Allow") != "POST, GET, DELETE" {
			t.Errorf("%s: Allow is %q", step.method, r.header.Get("Allow"))
		}
	}
	other := *s
	for path, status := range map[string]int{"/": 200, "/x": 404, "/servers/a": 404, "//": 200} {
		other.url = c.url + path
		if r := other.post(ping); r.status != status {
			t.Errorf("/mcp%s: got %d, want %d", path, r.status, status)
		}
	}
}

func TestBrokenMessages(t *testing.T) {
	_, c := serveFront(t, newFleet())
	s := c.with("2025-11-25")
	for body, want := range map[string]struct {
		id   string
		code int
	}{
		``:    {"null", codeParse},
		`{`:   {"null", codeParse},
		`nul`: {"null", codeParse},
		"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"\xff\"}": {"1", codeParse},
		`{"jsonrpc":"2.0","id":1,"method":"ping"}x`:          {"1", codeParse},
		`5`:                        {"null", codeInvalidRequest},
		`{}`:                       {"null", codeInvalidRequest},
		`{"id":4,"method":"ping"}`: {"4", codeInvalidRequest},
		`{"jsonrpc":"2.0","id":null,"method":"ping"}`:                  {"null", codeInvalidRequest},
		`{"jsonrpc":"2.0","id":{},"method":"ping"}`:                    {"null", codeInvalidRequest},
		`{"jsonrpc":"2.0","id":4,"method":7}`:                          {"4", codeInvalidRequest},
		`{"jsonrpc":"2.0","id":4,"id":5,"method":"ping"}`:              {"null", codeInvalidRequest},
		`{"jsonrpc":"2.0","id":4,"method":"ping","params":3}`:          {"4", codeInvalidRequest},
		`[{"jsonrpc":"2.0","id":4,"method":"ping"}]`:                   {"null", codeInvalidRequest},
		`{"jsonrpc":"2.0","id":4,"method":"tools/call"}`:               {"4", 0},
		`{"jsonrpc":"2.0","id":4,"method":"ping","result":{}}`:         {"4", codeInvalidRequest},
		`{"jsonrpc":"2.0","method":"ping","ID":4,"params":{"a":[[]]}}`: {"null", codeInvalidRequest},
	} {
		r := s.post(body)
		status := 400
		if want.code == 0 { // a fault of the params rides on 200
			status, want.code = 200, codeInvalidParams
		}
		if r.status != status {
			t.Errorf("%q: got %d %s, want %d", body, r.status, r.body, status)
		}
		wantRPCError(t, r.body, want.id, want.code, "")
	}
}

func TestBatches(t *testing.T) {
	fl := newFleet(ready("s", `{"name":"x"}`))
	_, c := serveFront(t, fl)
	old := c.with("2025-03-26")
	ping := func(id string) string { return `{"jsonrpc":"2.0","id":` + id + `,"method":"ping"}` }
	const note = `{"jsonrpc":"2.0","method":"notifications/initialized"}`
	list := func(items ...string) string { return "[" + strings.Join(items, ",") + "]" }

	for _, version := range []string{"2025-06-18", "2025-11-25"} {
		r := c.with(version).post(list(ping("1")))
		wantRPCError(t, r.body, "null", codeInvalidRequest, "batches are not supported")
		if r.status != 400 {
			t.Errorf("%s: got %d", version, r.status)
		}
	}
	if r := c.post(list(ping("1"))); r.status != 400 {
		t.Errorf("without a session: %d", r.status)
	}
	for _, body := range []string{list(note), list(note, `{"jsonrpc":"2.0","id":1,"result":{}}`)} {
		if r := old.post(body); r.status != 202 || len(r.body) > 0 {
			t.Errorf("%s: got %d %s", body, r.status, r.body)
		}
	}
	many := make([]string, 101)
	for i := range many {
		many[i] = ping(fmt.Sprint(i))
	}
	for body, code := range map[string]int{
		`[]`: codeInvalidRequest, list(many...): codeInvalidRequest, `[1,`: codeParse, `[1]x`: codeParse, `[1 2]`: codeParse,
		`[` + strings.Repeat("1,", 1<<20) + `1]`: codeInvalidRequest,
	} {
		r := old.post(body)
		wantRPCError(t, r.body, "null", code, "batch")
		if r.status != 400 {
			t.Errorf("%.50s: %d", body, r.status)
		}
	}
	if r := old.post(list(many[:100]...)); r.status != 200 || strings.Count(string(r.body), `"result":{}`) != 100 {
		t.Errorf("100 pings: %d %.200s", r.status, r.body)
	}
	mixed := list(ping(`"b"`), note, `[`+ping("2")+`]`, `7`, callBody("3", "s__x", `{"a":1}`), callBody("4", "s__none", "{}"),
		`{"jsonrpc":"2.0","id":5,"method":"initialize","params":{"protocolVersion":"2025-03-26"}}`)
	r := old.post(mixed)
	const want = `[{"jsonrpc":"2.0","id":"b","result":{}},` +
		`{"jsonrpc":"2.0","id":null,"error":{"code":-32600,"message":"jsonrpc: batches are not supported (at byte 0)"}},` +
		`{"jsonrpc":"2.0","id":null,"error":{"code":-32600,"message":"jsonrpc: not a JSON-RPC 2.0 message: the message is not an object (at byte 0)"}},` +
		`{"jsonrpc":"2.0","id":3,"result":{"content":[]}},` +
		`{"jsonrpc":"2.0","id":4,"error":{"code":-32602,"message":"unknown tool: s__none"}},` +
		`{"jsonrpc":"2.0","id":5,"error":{"code":-32600,"message":"the session is already initialized"}}]`
	if r.status != http.StatusOK || string(r.body) != want {
		t.Errorf("got %d %s\nwant %s", r.status, r.body, want)
	}
}

func TestBatchRunsItsRequestsBesideEachOther(t *testing.T) {
	fl := newFleet(ready("s", `{"name":"x"}`))
	var together sync.WaitGroup
	together.Add(batchRequests)
	fl.servers["s"].do = func(c *backends.Call, _ time.Duration) error {
		together.Done()
		together.Wait()
		return result(c, `{}`)
	}
	_, c := serveFront(t, fl)
	calls := make([]string, batchRequests)
	for i := range calls {
		calls[i] = callBody(fmt.Sprint(i), "s__x", "{}")
	}
	if r := c.with("2025-03-26").post("[" + strings.Join(calls, ",") + "]"); r.status != 200 {
		t.Errorf("got %d %s", r.status, r.body)
	}
}

func TestHostAndOriginComeBeforeMCP(t *testing.T) {
	fl := newFleet(ready("s", `{"name":"x"}`))
	f, c := serveFront(t, fl)
	s := c.with("2025-11-25")
	sessions := f.sessions.count()
	for _, header := range [][2]string{
		{"Origin", "http://evil.com"}, {"Origin", "null"}, {"Origin", "http://localhost.evil.com"}, {"Origin", "http://0.0.0.0"},
	} {
		for _, method := range []string{"POST", "GET", "DELETE"} {
			if r := s.do(method, callBody("1", "s__x", "{}"), header[0], header[1]); r.status != 403 {
				t.Errorf("%s with %v: got %d %s", method, header, r.status, r.body)
			}
		}
	}
	for _, host := range []string{"evil.com", "0.0.0.0", "localhost.evil.com"} {
		req, _ := http.NewRequest("POST", c.url, strings.NewReader(`{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25"}}`))
		req.Host = host
		req.Header.Set("Content-Type", "application/json")
		resp, err := c.http.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != 403 || resp.Header.Get("Mcp-Session-Id") != "" {
			t.Errorf("Host %s: got %d", host, resp.StatusCode)
		}
	}
	if len(fl.servers["s"].sent()) > 0 || f.sessions.count() != sessions {
		t.Error("a refused request had an effect")
	}
	if r := s.post(`{"jsonrpc":"2.0","id":1,"method":"ping"}`, "Origin", "http://localhost:1234"); r.status != 200 {
		t.Errorf("a local page: %d", r.status)
	}
}
