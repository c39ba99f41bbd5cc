package hangar_test

import (
	"strings"
	"testing"

	"github.com/aabb9013/hangar"
)

// scraper returns a function that reads /metrics.
func scraper(t *testing.T, rt *hangar.Runtime) func() map[string]string {
	f := serve(t, rt)
	return func() map[string]string {
		t.Helper()
		samples := map[string]string{}
		for line := range strings.Lines(f.send("GET", "/metrics", "")) {
			if name, value, ok := strings.Cut(strings.TrimSpace(line), " "); ok && !strings.HasPrefix(name, "#") {
				samples[strings.TrimPrefix(name, "mcp_hangar_")] = value
			}
		}
		return samples
	}
}

// TestMetricsOfARealFleet: calls and crashes of real processes, the breaker of a
// group, and the end of the series of what is deleted.
func TestMetricsOfARealFleet(t *testing.T) {
	rt := open(t, hangar.Options{DataDir: t.TempDir()})
	scrape := scraper(t, rt)
	missing := hangar.ServerSpec{ID: "missing", Command: []string{"/nonexistent/program"}}
	create(t, rt, stub("echo"), missing)
	if _, err := rt.Call(t.Context(), "echo", "echo", map[string]any{"text": "x"}); err != nil {
		t.Fatal(err)
	}
	if _, err := rt.Call(t.Context(), "echo", "crash", map[string]any{"code": 7}); err == nil {
		t.Fatal("it did not crash")
	}
	eventually(t, "the crash, the restart and the calls are told", func() bool {
		m := scrape()
		return m[`mcp_server_up{mcp_server="echo"}`] == "1" && m[`mcp_server_crashes_total{mcp_server="echo"}`] == "1" &&
			m[`mcp_server_restarts_total{mcp_server="echo"}`] == "1" && m[`mcp_server_starts_total{mcp_server="echo",result="success"}`] == "2" &&
			m[`tool_calls_total{mcp_server="echo"}`] == "2" && m[`tool_call_errors_total{mcp_server="echo"}`] == "1"
	})
	err := rt.Groups().Create(t.Context(), hangar.GroupSpec{
		ID: "pool", AutoStart: true, BreakerThreshold: 1, Members: []hangar.GroupMember{{ID: "missing"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the breaker is open", func() bool {
		m := scrape()
		return m[`circuit_breaker_state{mcp_server="pool",state="open"}`] == "1" && m[`circuit_breaker_state{mcp_server="pool",state="closed"}`] == "0" &&
			m[`group_members_in_rotation{group="pool"}`] == "0" && m[`mcp_server_starts_total{mcp_server="missing",result="failure"}`] != "0"
	})
	m := scrape()
	for _, name := range []string{"event_log_bytes", "event_log_position", "process_start_time_seconds", "go_goroutines", "process_resident_memory_bytes"} {
		if m[name] == "" || m[name] == "0" {
			t.Errorf("%s is %q", name, m[name])
		}
	}
	if err := rt.Groups().Delete(t.Context(), "pool"); err != nil {
		t.Fatal(err)
	}
	if err := rt.Servers().Delete(t.Context(), "echo"); err != nil {
		t.Fatal(err)
	}
	for name := range scrape() {
		if strings.Contains(name, `"echo"`) || strings.Contains(name, `"pool"`) {
			t.Errorf("%s is of something deleted", name)
		}
	}
}
