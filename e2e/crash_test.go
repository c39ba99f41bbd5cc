package e2e_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// TestCallInFlightIsFailedByTheCrash pins what a cut-off call is told (R01).
func TestCallInFlightIsFailedByTheCrash(t *testing.T) {
	h := start(t, servers{"victim": stub()})
	pid := childPID(t, h, "victim")
	failed := make(chan error, 1)
	go func() {
		_, err := h.call("victim", "sleep", map[string]any{"ms": 30_000})
		failed <- err
	}()
	time.Sleep(300 * time.Millisecond)
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-failed:
		var refused *refusal
		if !errors.As(err, &refused) || refused.Status < 500 {
			t.Fatalf("got %v, want a 5xx", err)
		}
		// Who, how it ended, and that the call may have had its effect.
		for _, want := range []string{"victim", "kill", "sent"} {
			if !strings.Contains(strings.ToLower(refused.Message), want) {
				t.Errorf("the message %q does not tell %q", refused.Message, want)
			}
		}
	case <-time.After(5 * time.Second):
		t.Fatal("the call was not failed within 5 s of the crash")
	}
	if result := h.mustCall("victim", "echo", map[string]any{"text": "back"}); result.text() != "back" {
		t.Errorf("the next call: got %q", result.text())
	}
}

func childPID(t *testing.T, h *hangar, server string) int {
	t.Helper()
	pid, err := strconv.Atoi(h.mustCall(server, "pid", map[string]any{}).text())
	if err != nil {
		t.Fatal(err)
	}
	return pid
}

// TestNothingAcknowledgedIsLostByKill kills the program itself: what it has
// answered for must be there after a restart on the same data.
func TestNothingAcknowledgedIsLostByKill(t *testing.T) {
	const count = 10
	h := start(t, servers{"from-config": stub()})
	create := func(id string) {
		t.Helper()
		spec := h.mark(stub())
		spec["mcp_server_id"] = id
		if err := h.request("POST", "/api/mcp_servers", spec, nil); err != nil {
			t.Fatalf("creating %s: %v", id, err)
		}
	}
	var ids []string
	for i := range count {
		ids = append(ids, fmt.Sprintf("made-%d", i))
		create(ids[i])
	}

	var stop atomic.Bool
	var wg sync.WaitGroup
	answered := make([][]time.Time, count)
	for i, id := range ids {
		wg.Go(func() {
			for !stop.Load() {
				// An error is no answer: the kill below causes them.
				if _, err := h.call(id, "echo", map[string]any{"text": "x"}); err == nil {
					answered[i] = append(answered[i], time.Now())
				}
				time.Sleep(5 * time.Millisecond)
			}
		})
	}
	time.Sleep(1500 * time.Millisecond)
	// A change is durable when it is answered, as a call is.
	create("made-last")
	killed := time.Now()
	orphans := h.kill()
	stop.Store(true)
	wg.Wait()
	noneLeft(t, orphans, 5*time.Second)

	h = h.again()
	fleet := h.list()
	for _, id := range append(ids, "made-last", "from-config") {
		if _, ok := fleet[id]; !ok {
			t.Errorf("%s is gone", id)
		}
	}
	calls := 0
	for i, id := range ids {
		want := 0
		for _, at := range answered[i] {
			if at.Before(killed) {
				want++
			}
		}
		calls += want
		if got := completedCalls(t, h, id); got < want || got > len(answered[i])+1 {
			t.Errorf("%s: history has %d completed calls, want between %d (answered before the kill) and %d", id, got, want, len(answered[i])+1)
		}
	}
	t.Logf("%d servers and %d calls were there after the kill", len(fleet), calls)
	if calls < 10*count {
		t.Errorf("only %d calls were made, the test tells little", calls)
	}
	if result := h.mustCall("made-last", "echo", map[string]any{"text": "alive"}); result.text() != "alive" {
		t.Errorf("a server after the restart: got %q", result.text())
	}
}

// completedCalls counts the calls in a server's history, page by page.
func completedCalls(t *testing.T, h *hangar, server string) int {
	t.Helper()
	count, _ := completedSince(t, h, server, 0)
	return count
}

// completedSince counts from a version on, and says where to go on.
func completedSince(t *testing.T, h *hangar, server string, from uint64) (count int, next uint64) {
	t.Helper()
	for {
		var page struct {
			History []struct {
				Kind    string `json:"event_type"`
				Version uint64 `json:"version"`
			} `json:"history"`
			Total int `json:"total"`
		}
		h.get("/api/mcp_servers/"+url.PathEscape(server)+"/tools/history?limit=200&from_position="+strconv.FormatUint(from, 10), &page)
		for _, record := range page.History {
			if record.Version < from {
				t.Fatalf("%s: version %d in a page from %d", server, record.Version, from)
			}
			from = record.Version + 1
			if record.Kind == "ToolInvocationCompleted" {
				count++
			}
		}
		if len(page.History) < 200 {
			return count, from
		}
	}
}

// TestDeletedServersStayDeleted: the other half of durability.
func TestDeletedServersStayDeleted(t *testing.T) {
	h := start(t, servers{"from-config": stub()})
	for _, id := range []string{"keep", "drop"} {
		spec := h.mark(stub())
		spec["mcp_server_id"] = id
		if err := h.request("POST", "/api/mcp_servers", spec, nil); err != nil {
			t.Fatal(err)
		}
	}
	h.mustCall("drop", "echo", map[string]any{"text": "x"})
	if err := h.request("DELETE", "/api/mcp_servers/drop", nil, nil); err != nil {
		t.Fatal(err)
	}
	if err := h.request("PUT", "/api/mcp_servers/keep", map[string]any{"description": "changed"}, nil); err != nil {
		t.Fatal(err)
	}
	noneLeft(t, h.kill(), 5*time.Second)

	h = h.again()
	fleet := h.list()
	if _, ok := fleet["drop"]; ok {
		t.Error("the deleted server is back")
	}
	var detail json.RawMessage
	h.get("/api/mcp_servers/keep", &detail)
	if !strings.Contains(string(detail), `"changed"`) {
		t.Errorf("the change of the description is lost: %s", detail)
	}
}
