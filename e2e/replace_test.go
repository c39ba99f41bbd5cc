package e2e_test

import (
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// rewriteServer puts another definition of the one server into the file.
func (h *hangar) rewriteServer(id string, spec map[string]any) {
	h.t.Helper()
	text, err := json.Marshal(sideBySide(servers{id: spec}))
	if err != nil {
		h.t.Fatal(err)
	}
	if err := os.WriteFile(h.config+".new", text, 0o600); err != nil {
		h.t.Fatal(err)
	}
	if err := os.Rename(h.config+".new", h.config); err != nil {
		h.t.Fatal(err)
	}
}

// sideBySide is a configuration whose file is read only when that is asked for.
func sideBySide(fleet servers) map[string]any {
	return map[string]any{"config_reload": map[string]any{"enabled": false}, "mcp_servers": fleet}
}

func blueGreen(spec map[string]any) map[string]any {
	spec["reload"] = map[string]any{"strategy": "blue_green"}
	return spec
}

func (h *hangar) reload() error { return h.request("POST", "/api/config/reload", nil, nil) }

func (h *hangar) pidOf(server string) string { return h.mustCall(server, "pid", nil).text() }

// TestReloadsSideBySideFailNoCall: calls without a pause, short and long ones,
// while the server's program is replaced five times. Then a program that cannot
// start changes nothing, and kill -9 in the middle of a replacement leaves
// neither of the two.
func TestReloadsSideBySideFailNoCall(t *testing.T) {
	spec := blueGreen(stub())
	h := startConfig(t, sideBySide(servers{"s": spec}))
	pids := []string{h.pidOf("s")}
	over := make(chan struct{})
	var callers sync.WaitGroup
	var calls, failures atomic.Int64
	for i := range 4 {
		callers.Go(func() {
			for {
				select {
				case <-over:
					return
				default:
				}
				tool, arguments := "echo", map[string]any{"text": "x"}
				if i%2 == 1 {
					tool, arguments = "sleep", map[string]any{"ms": 150}
				}
				calls.Add(1)
				if result, err := h.call("s", tool, arguments); err != nil || result.IsError {
					failures.Add(1)
					t.Errorf("%s: %v %s", tool, err, result.text())
					return
				}
			}
		})
	}
	const reloads = 5
	for i := range reloads {
		next := maps.Clone(spec)
		next["cwd"] = []string{"/", os.TempDir()}[i%2]
		h.rewriteServer("s", next)
		before := calls.Load()
		if err := h.reload(); err != nil {
			t.Errorf("reload %d: %v", i, err)
		}
		pids = append(pids, h.pidOf("s"))
		if !eventually(readyWithin, func() bool { return calls.Load() > before+8 || failures.Load() > 0 }) {
			t.Fatal("no calls are made")
		}
	}
	close(over)
	callers.Wait()
	t.Logf("%d calls during %d reloads, %d failed; pids %v", calls.Load(), reloads, failures.Load(), pids)
	if distinct := slices.Compact(slices.Sorted(slices.Values(pids))); len(distinct) != reloads+1 {
		t.Errorf("pids %v: want another one after each reload", pids)
	}
	if !eventually(stopWithin, func() bool { return h.countRunning("s") == 1 }) {
		t.Errorf("%d instances are left, want one", h.countRunning("s"))
	}
	t.Run("a program that is not there", func(t *testing.T) { h.keepsServing(t, spec) })
	t.Run("kill -9 with both running", func(t *testing.T) { h.killedInBetween(t, spec) })
}

// countRunning counts the processes of a server's instances.
func (h *hangar) countRunning(server string) (n int) {
	var answer struct {
		Processes []struct {
			Server *string `json:"mcp_server_id"`
		} `json:"processes"`
	}
	h.get("/api/supervision/processes", &answer)
	for _, p := range answer.Processes {
		if p.Server != nil && *p.Server == server {
			n++
		}
	}
	return n
}

func (h *hangar) keepsServing(t *testing.T, spec map[string]any) {
	pid := h.pidOf("s")
	broken := maps.Clone(spec)
	broken["command"] = []string{"/nowhere/no-such-program"}
	h.rewriteServer("s", broken)
	var refused *refusal
	if err := h.reload(); !errors.As(err, &refused) || refused.Status < http.StatusBadRequest || !strings.Contains(refused.Message, "old instance") {
		t.Errorf("the reload answered %v", err)
	}
	if now := h.pidOf("s"); now != pid {
		t.Errorf("pid %s, was %s", now, pid)
	}
}

func (h *hangar) killedInBetween(t *testing.T, spec map[string]any) {
	silent := maps.Clone(spec)
	silent["command"] = []string{"sleep", "600"}
	h.rewriteServer("s", silent)
	reloaded := make(chan error, 1)
	go func() { reloaded <- h.reload() }()
	if !eventually(readyWithin, func() bool { return h.countRunning("s") == 2 }) {
		t.Fatalf("%d instances run, want both", h.countRunning("s"))
	}
	noneLeft(t, h.kill(), 30*time.Second)
	if err := <-reloaded; err == nil {
		t.Error("the reload was answered by a program that was killed")
	}
}
