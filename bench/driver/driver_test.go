package driver

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"
)

// gateway answers as it should, except where spoil changes something. It is net/http and encoding/json, so that the
// driver is not tested by its own code.
type gateway struct {
	mu     sync.Mutex
	seen   map[string]int
	spoil  func(n int, id *json.RawMessage, text *string) (status int)
	sse    bool
	naked  bool // no session
	calls  int
	faults []string
}

type rpc struct {
	JSONRPC string          `json:"jsonrpc"`
	ID      json.RawMessage `json:"id,omitempty"`
	Method  string          `json:"method,omitempty"`
	Params  *struct {
		Name      string
		Arguments struct{ Text string }
	} `json:"params,omitempty"`
	Result any `json:"result,omitempty"`
}

func (g *gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	g.mu.Lock()
	defer g.mu.Unlock()
	body, _ := io.ReadAll(r.Body)
	var message rpc
	if err := json.Unmarshal(body, &message); err != nil || r.URL.Path != "/mcp" || r.Method != "POST" {
		g.faults = append(g.faults, fmt.Sprintf("%s %s %q: %v", r.Method, r.URL.Path, body, err))
	}
	session := r.Header.Get("Mcp-Session-Id")
	switch {
	case message.Method == "initialize":
		if !g.naked {
			w.Header().Set("Mcp-Session-Id", "the-session")
		}
	case !g.naked && (session != "the-session" || r.Header.Get("MCP-Protocol-Version") != protocolVersion):
		g.faults = append(g.faults, "no session or version header: "+message.Method)
	}
	if message.ID == nil {
		w.WriteHeader(202)
		return
	}
	answer := rpc{JSONRPC: "2.0", ID: message.ID, Result: map[string]any{}}
	if message.Method == "tools/call" {
		g.calls++
		id := string(message.ID)
		if g.seen[id]++; g.seen[id] > 1 {
			g.faults = append(g.faults, "id used twice: "+id)
		}
		text := message.Params.Arguments.Text
		if g.spoil != nil {
			if status := g.spoil(g.calls, &answer.ID, &text); status != 0 {
				w.WriteHeader(status)
				return
			}
		}
		answer.Result = map[string]any{"content": []any{map[string]any{"type": "text", "text": text}}}
	}
	encoded, _ := json.Marshal(answer)
	if g.sse {
		w.Header().Set("Content-Type", "text/event-stream")
		fmt.Fprintf(w, "id: 0\ndata:\n\ndata: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/progress\"}\n\n")
		w.(http.Flusher).Flush() // chunked
		fmt.Fprintf(w, "event: message\ndata: %s\n\n", encoded)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Write(encoded)
}

func runAgainst(t *testing.T, g *gateway, c Config) (Result, error) {
	t.Helper()
	g.seen = map[string]int{}
	server := httptest.NewServer(g)
	defer server.Close()
	c.Addr = strings.TrimPrefix(server.URL, "http://")
	result, err := Run(t.Context(), c)
	for _, fault := range g.faults {
		t.Error(fault)
	}
	return result, err
}

func TestDriverCountsGoodCalls(t *testing.T) {
	for name, g := range map[string]*gateway{"json": {}, "sse": {sse: true}, "no session": {naked: true}} {
		for _, payload := range []int{MinText, 64, 65536} {
			result, err := runAgainst(t, g, Config{
				Servers: 7, InFlight: 4, Payload: payload, Prime: true, Warmup: 10 * time.Millisecond, Duration: 200 * time.Millisecond, PID: os.Getpid(),
			})
			if err != nil || result.Errors > 0 || result.Calls == 0 || result.P50 <= 0 || result.P99 < result.P50 {
				t.Errorf("%s, %d bytes: %+v, %v", name, payload, result, err)
			}
		}
	}
}

func TestDriverDetectsWrongAnswers(t *testing.T) {
	quote := func(text string) json.RawMessage { return json.RawMessage(`"` + text + `"`) }
	for name, c := range map[string]struct {
		spoil func(n int, id *json.RawMessage, text *string) int
		want  string
	}{
		"another id":         {func(n int, id *json.RawMessage, _ *string) int { *id = json.RawMessage("12345"); return 0 }, "wrong id"},
		"the id as a string": {func(n int, id *json.RawMessage, _ *string) int { *id = quote(string(*id)); return 0 }, "wrong id"},
		"another text": {func(n int, _ *json.RawMessage, text *string) int {
			*text = strings.Replace(*text, "a", "b", 1)
			return 0
		}, "wrong content"},
		"the text cut": {func(n int, _ *json.RawMessage, text *string) int {
			*text = (*text)[:len(*text)-1]
			return 0
		}, "wrong content"},
		"a status": {func(int, *json.RawMessage, *string) int { return 503 }, "status 503"},
	} {
		// Only every third call is spoiled, so that the workers do not give up.
		spoil := c.spoil
		g := &gateway{}
		spoiled := 0
		g.spoil = func(n int, id *json.RawMessage, text *string) int {
			if n%3 != 0 {
				return 0
			}
			spoiled++
			return spoil(n, id, text)
		}
		result, err := runAgainst(t, g, Config{Servers: 2, InFlight: 2, Payload: 200, Duration: 150 * time.Millisecond})
		if err != nil || result.Errors != uint64(spoiled) || spoiled == 0 || !strings.Contains(result.FirstError, c.want) {
			t.Errorf("%s: %d spoiled, %d errors, first %q, %v; want %q", name, spoiled, result.Errors, result.FirstError, err, c.want)
		}
	}
}

func TestDriverGivesUpOnADeadTarget(t *testing.T) {
	g := &gateway{spoil: func(int, *json.RawMessage, *string) int { return 500 }}
	result, err := runAgainst(t, g, Config{Servers: 1, InFlight: 3, Payload: 64, Duration: 100 * time.Millisecond})
	if err != nil || result.Calls != 0 || result.Errors != 3*giveUp {
		t.Errorf("got %+v, %v; want %d errors", result, err, 3*giveUp)
	}
	if _, err := Run(t.Context(), Config{Addr: "127.0.0.1:1", Servers: 1, InFlight: 1, Payload: 64, Duration: time.Second}); err == nil {
		t.Error("nobody listens, and there was no error")
	}
	if err := (Config{Servers: 0, InFlight: 0, Payload: 1}).Validate(); err == nil || strings.Count(err.Error(), "\n") != 1 {
		t.Errorf("Validate: got %v, want two faults", err)
	}
}

func TestTurnsMeasureOneTargetAtATime(t *testing.T) {
	var mu sync.Mutex
	var order []string
	var targets []Config
	for _, name := range []string{"a", "b"} {
		g := &gateway{seen: map[string]int{}}
		g.spoil = func(n int, _ *json.RawMessage, text *string) int {
			mu.Lock()
			defer mu.Unlock()
			if len(order) == 0 || order[len(order)-1] != name {
				order = append(order, name)
			}
			if name == "b" && n == 1 {
				return 503
			}
			return 0
		}
		server := httptest.NewServer(g)
		defer server.Close()
		targets = append(targets, Config{Addr: strings.TrimPrefix(server.URL, "http://"), PID: os.Getpid(), Servers: 2, InFlight: 3, Payload: 64,
			Warmup: 10 * time.Millisecond, Duration: 200 * time.Millisecond})
	}
	results, err := Turns(t.Context(), 60*time.Millisecond, targets)
	if err != nil || len(results) != 2 {
		t.Fatalf("got %d results, %v", len(results), err)
	}
	for i, turns := range results {
		if len(turns) != 3 {
			t.Errorf("target %d had %d turns, want 3", i, len(turns))
		}
		for n, r := range turns {
			errors := uint64(0)
			if i == 1 && n == 0 {
				errors = 1
			}
			if r.Calls == 0 || r.CPU <= 0 || r.Errors != errors {
				t.Errorf("turn %d of target %d: %+v, want %d errors", n, i, r, errors)
			}
		}
	}
	if got := strings.Join(order, ""); got != "abab" { // ab, ba, ab: one after the other, in an order that is turned around
		t.Errorf("the targets were called in the order %s", got)
	}
	for _, c := range []struct {
		turn    time.Duration
		targets []Config
	}{{0, targets}, {time.Second, nil}, {time.Second, []Config{{}}}} {
		if _, err := Turns(t.Context(), c.turn, c.targets); err == nil {
			t.Errorf("turns of %s of %d targets are no error", c.turn, len(c.targets))
		}
	}
}

func TestStormCallsEveryServerOnce(t *testing.T) {
	g := &gateway{}
	result, err := runAgainst(t, g, Config{Servers: 40, InFlight: 1, Payload: 64, Storm: true})
	if err != nil || result.Calls != 40 || result.Errors != 0 || g.calls != 40 {
		t.Errorf("got %+v, %v and %d calls", result, err, g.calls)
	}
}

func TestTextIsUniqueAndOfTheSize(t *testing.T) {
	var r Request
	seen := map[string]bool{}
	for n := range uint64(100) {
		for _, size := range []int{16, 17, 64, 200} {
			r.Build(n<<36+n, "s0__echo", size)
			if len(r.Text) != size || seen[string(r.Text)] || !json.Valid(r.Body) {
				t.Fatalf("call %d: text %q of %d bytes, body %s", n, r.Text, len(r.Text), r.Body)
			}
			seen[string(r.Text)] = true
		}
	}
}

func TestCPUGrowsWithWork(t *testing.T) {
	before, err := CPU(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(100 * time.Millisecond); time.Now().Before(end); {
	}
	after, err := CPU(os.Getpid())
	if err != nil || after <= before {
		t.Errorf("CPU went from %v to %v: %v", before, after, err)
	}
	if m, err := MemoryOf(os.Getpid()); err != nil || m.RSS < 1000 || m.PSS <= 0 || m.PSS > m.RSS+1000 {
		t.Errorf("memory %+v: %v", m, err)
	}
}
