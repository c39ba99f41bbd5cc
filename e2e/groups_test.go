package e2e_test

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"
)

const groupPatience = 60 * time.Second

// group is a group as GET /api/groups/{id} shows it.
type group struct {
	ID      string `json:"group_id"`
	State   string `json:"state"`
	Circuit string `json:"circuit_breaker_state"`
	Healthy int    `json:"healthy_count"`
	Members []struct {
		ID         string `json:"id"`
		InRotation bool   `json:"in_rotation"`
		Weight     int    `json:"weight"`
	} `json:"members"`
	Retries int `json:"total_retries"`
}

func (h *hangar) group(id string) group {
	h.t.Helper()
	var g group
	h.get("/api/groups/"+id, &g)
	return g
}

// awaitGroup waits until the group looks as wanted.
func (h *hangar) awaitGroup(id, what string, is func(g group) bool) {
	h.t.Helper()
	var last group
	if !eventually(groupPatience, func() bool { last = h.group(id); return is(last) }) {
		h.t.Fatalf("group %s is not %s: %+v", id, what, last)
	}
}

func inRotation(n int) func(g group) bool { return func(g group) bool { return g.Healthy == n } }

// member is a server defined inside of a group.
func member(id string, keys map[string]any, flags ...string) map[string]any {
	m := stub(flags...)
	m["id"] = id
	maps.Copy(m, keys)
	return m
}

func pool(keys map[string]any, members ...map[string]any) map[string]any {
	g := map[string]any{"mode": "group", "members": members}
	maps.Copy(g, keys)
	return g
}

// TestWeightsAreKeptExactly sends 60 calls to a group of weights 1, 2 and 3.
func TestWeightsAreKeptExactly(t *testing.T) {
	h := start(t, servers{"pool": pool(map[string]any{"strategy": "weighted_round_robin"},
		member("a", map[string]any{"weight": 1}), member("b", map[string]any{"weight": 2}), member("c", map[string]any{"weight": 3}))})
	h.awaitGroup("pool", "complete", inRotation(3))
	client := h.newRPC()
	for n := range 60 {
		text := strconv.Itoa(n)
		if n%2 == 0 {
			if got := h.mustCall("pool", "echo", map[string]any{"text": text}).text(); got != text {
				t.Errorf("got %q, want %q", got, text)
			}
		} else if result, err := client.call("pool__echo", map[string]any{"text": text}); err != nil || result.text() != text {
			t.Errorf("at /mcp: %v %q", err, result.text())
		}
	}
	for id, want := range map[string]string{"a": "11", "b": "21", "c": "31"} {
		if got := h.mustCall(id, "count", nil).text(); got != want { // this call is one too
			t.Errorf("%s has seen %s calls, want %s", id, got, want)
		}
	}
	names := client.toolNames()
	for _, name := range []string{"pool__echo", "a__echo"} {
		if n := len(slices.DeleteFunc(slices.Clone(names), func(other string) bool { return other != name })); n != 1 {
			t.Errorf("%s is listed %d times", name, n)
		}
	}
}

// TestKilledMemberLosesOnlyWhatWasWrittenToIt kills one of three members under
// 500 calls a second, half of them of a tool that may be repeated.
func TestKilledMemberLosesOnlyWhatWasWrittenToIt(t *testing.T) {
	const (
		calls = 1000
		pace  = 2 * time.Millisecond
	)
	h := start(t, servers{"pool": pool(nil, member("a", nil), member("b", nil), member("c", nil))})
	h.awaitGroup("pool", "complete", inRotation(3))
	victim := childPID(t, h, "b")
	var wg sync.WaitGroup
	var lost atomic.Int32
	ticker := time.NewTicker(pace)
	defer ticker.Stop()
	for n := range calls {
		<-ticker.C
		if n == calls/2 {
			if err := syscall.Kill(victim, syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
		}
		wg.Go(func() {
			if n%2 == 0 {
				if _, err := h.call("pool", "sleep", map[string]any{"ms": 20}); err != nil {
					t.Errorf("a call that may be repeated failed: %v", err)
				}
				return
			}
			_, err := h.call("pool", "progress", map[string]any{"n": 1, "delay_ms": 20})
			var refused *refusal
			switch {
			case err == nil:
			case errors.As(err, &refused) && strings.Contains(refused.Message, "had been sent"):
				lost.Add(1)
			default:
				t.Errorf("lost without having been written: %v", err)
			}
		})
	}
	wg.Wait()
	g := h.group("pool")
	t.Logf("%d calls lost, %d retries", lost.Load(), g.Retries)
	if lost.Load() == 0 && g.Retries == 0 {
		t.Error("the kill hit no call: this test proves nothing")
	}
	h.awaitGroup("pool", "complete again", inRotation(3))
}

// TestDeadGroupRefusesAtOnceAndRecoversByItself has members that cannot start
// until a file is there.
func TestDeadGroupRefusesAtOnceAndRecoversByItself(t *testing.T) {
	mended := filepath.Join(t.TempDir(), "mended")
	guarded := func(id string) map[string]any {
		m := member(id, nil)
		command := m["command"].([]string)
		m["command"] = append([]string{"sh", "-c", `test -e "$0" || exit 1; exec "$@"`, mended}, command...)
		return m
	}
	h := start(t, servers{"pool": pool(map[string]any{
		"circuit_breaker": map[string]any{"failure_threshold": 3, "reset_timeout_s": 1},
	}, guarded("a"), guarded("b"), guarded("c"))})
	h.awaitGroup("pool", "broken", func(g group) bool { return g.Healthy == 0 && g.Circuit != "closed" })

	quickest := time.Hour
	for range 50 {
		began := time.Now()
		_, err := h.call("pool", "echo", map[string]any{"text": "x"})
		quickest = min(quickest, time.Since(began))
		var refused *refusal
		if !errors.As(err, &refused) || refused.Status != 503 || !strings.Contains(refused.Message, "group_unavailable") {
			t.Fatalf("got %v, want group_unavailable", err)
		}
	}
	t.Logf("refused within %s at best", quickest)
	if quickest > 10*time.Millisecond {
		t.Errorf("the quickest of 50 refusals took %s, want at most 10 ms", quickest)
	}
	if _, err := h.newRPC().call("pool__echo", map[string]any{"text": "x"}); err == nil || !strings.Contains(err.Error(), "group_unavailable") {
		t.Errorf("at /mcp: %v", err)
	}

	if err := os.WriteFile(mended, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	h.awaitGroup("pool", "whole", func(g group) bool { return g.Healthy == 3 && g.Circuit == "closed" && g.State == "healthy" })
	h.mustCall("pool", "echo", map[string]any{"text": "back"})
}

// TestGroupMadeByAPISurvivesAKill walks the REST API and kills the program.
func TestGroupMadeByAPISurvivesAKill(t *testing.T) {
	h := start(t, servers{"a": stub(), "b": stub()})
	must := func(method, path string, body any) {
		t.Helper()
		if err := h.request(method, path, body, nil); err != nil {
			t.Fatal(err)
		}
	}
	must("POST", "/api/groups", map[string]any{"group_id": "pool", "strategy": "least_connections"})
	must("POST", "/api/groups/pool/members", map[string]any{"member_id": "a", "weight": 5})
	must("POST", "/api/groups/pool/members", map[string]any{"member_id": "b"})
	must("PUT", "/api/groups/pool", map[string]any{"min_healthy": 2})
	must("DELETE", "/api/groups/pool/members/b", nil)
	for path, want := range map[string]int{"/api/groups/none": 404, "/api/groups/pool/members/b": 404} {
		var refused *refusal
		if err := h.request("DELETE", path, nil, nil); !errors.As(err, &refused) || refused.Status != want {
			t.Errorf("DELETE %s: %v, want %d", path, err, want)
		}
	}
	h.kill()
	h = h.again()
	h.awaitGroup("pool", "back", inRotation(1))
	if g := h.group("pool"); g.State != "partial" || len(g.Members) != 1 || g.Members[0].Weight != 5 {
		t.Errorf("after the kill: %+v", g)
	}
	h.mustCall("pool", "echo", map[string]any{"text": "hello"})
	must("POST", "/api/groups/pool/rebalance", nil)
	must("DELETE", "/api/groups/pool", nil)
	if s := h.list()["a"]; s.State != "ready" {
		t.Errorf("deleting the group left its shared server %s", s.State)
	}
	if len(h.list()) != 2 {
		t.Errorf("servers %v", h.list())
	}
}

// groupFleet is a group of two for the official clients, both of which get calls
// and progress through it.
func groupFleet(t *testing.T) *hangar {
	t.Helper()
	h := start(t, servers{"pool": pool(nil, member("a", nil), member("b", nil))})
	h.awaitGroup("pool", "complete", inRotation(2))
	return h
}

func TestGoSDKCallsAGroup(t *testing.T) {
	h := groupFleet(t)
	progress := make(chan float64, 10)
	session := h.sdkSession(&mcp.ClientOptions{
		ProgressNotificationHandler: func(_ context.Context, r *mcp.ProgressNotificationClientRequest) { progress <- r.Params.Progress },
	})
	if !slices.Contains(sdkTools(t, session), "pool__echo") {
		t.Error("pool__echo is not listed")
	}
	seen := map[string]bool{}
	for range 4 {
		result, err := session.CallTool(t.Context(), &mcp.CallToolParams{Name: "pool__pid"})
		if err != nil || result.IsError || len(result.Content) != 1 {
			t.Fatalf("%+v, %v", result, err)
		}
		seen[result.Content[0].(*mcp.TextContent).Text] = true
	}
	if len(seen) != 2 {
		t.Errorf("four calls went to the processes %v, want two of them", seen)
	}
	params := &mcp.CallToolParams{Name: "pool__progress", Arguments: map[string]any{"n": 2, "delay_ms": 20}}
	params.SetProgressToken("mine")
	if _, err := session.CallTool(t.Context(), params); err != nil {
		t.Fatal(err)
	}
	for want := 1.0; want <= 2; want++ {
		select {
		case got := <-progress:
			if got != want {
				t.Errorf("progress %g, want %g", got, want)
			}
		case <-time.After(groupPatience):
			t.Fatal("no progress is told")
		}
	}
	if result, err := session.CallTool(t.Context(), &mcp.CallToolParams{Name: "pool__fail"}); err != nil || !result.IsError {
		t.Errorf("a tool's own error: %+v, %v", result, err)
	}
	if g := h.group("pool"); g.Retries != 0 {
		t.Errorf("%d retries of a tool's own error", g.Retries)
	}
}

func TestTypeScriptSDKCallsAGroup(t *testing.T) {
	require(t, "node")
	h := groupFleet(t)
	calls := `[
		{"name": "pool__pid", "arguments": {}}, {"name": "pool__pid", "arguments": {}},
		{"name": "pool__progress", "arguments": {"n": 2, "delay_ms": 20}}, {"name": "pool__fail", "arguments": {}}
	]`
	var saw struct {
		Tools   []string
		Results []struct {
			toolResult
			Progress []float64
		}
	}
	if err := json.Unmarshal(node(t, "client.mjs", h.url+"/mcp", calls), &saw); err != nil {
		t.Fatal(err)
	}
	if !slices.Contains(saw.Tools, "pool__echo") {
		t.Errorf("tools %v", saw.Tools)
	}
	if r := saw.Results; len(r) != 4 || r[0].text() == r[1].text() || !slices.Equal(r[2].Progress, []float64{1, 2}) || !r[3].IsError {
		t.Errorf("got %+v", r)
	}
}
