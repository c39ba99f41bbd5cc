package httpapi

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/aabb9013/hangar/supervisor"
)

// scrape asks for /metrics and returns every sample of ours as "name{label="value",…}".
func scrape(t *testing.T, a *API) map[string]float64 {
	t.Helper()
	r := send(t, a, request{method: "GET", path: "/metrics"})
	if got := r.header.Get("Content-Type"); r.status != 200 || !strings.HasPrefix(got, "text/plain; version=0.0.4") {
		t.Fatalf("%d, %q: %.300s", r.status, got, r.body)
	}
	parser := expfmt.NewTextParser(model.LegacyValidation)
	found, err := parser.TextToMetricFamilies(bytes.NewReader(r.body))
	if err != nil {
		t.Fatalf("the text format's own parser refuses it: %v", err)
	}
	samples := map[string]float64{}
	for name, f := range found {
		if !strings.HasPrefix(name, "mcp_hangar_") {
			continue
		}
		if counts := strings.HasSuffix(name, "_total"); counts != (f.GetType().String() == "COUNTER") {
			t.Errorf("%s is a %s", name, f.GetType())
		}
		if f.GetHelp() == "" {
			t.Errorf("%s has no help", name)
		}
		for _, m := range f.Metric {
			var labels []string
			for _, l := range m.Label {
				labels = append(labels, fmt.Sprintf("%s=%q", l.GetName(), l.GetValue()))
			}
			samples[strings.TrimPrefix(name, "mcp_hangar_")+"{"+strings.Join(labels, ",")+"}"] = m.GetGauge().GetValue() + m.GetCounter().GetValue()
		}
	}
	return samples
}

// busyFleet is the fleet of the tests with something to count everywhere.
func busyFleet() *fakeRuntime {
	rt := groupFleet()
	math := rt.views[0]
	math.ProbeMisses = 1
	math.Counters.Waiting.Store(4)
	math.Counters.Memory.Store(5 << 20)
	math.Events = &supervisor.EventCounters{}
	for _, kind := range []supervisor.EventKind{
		supervisor.ServerStarted, supervisor.ServerStarted, supervisor.ServerStartFailed, supervisor.ServerCrashed,
		supervisor.ServerGaveUp, supervisor.HealthCheckPassed, supervisor.HealthCheckFailed, supervisor.ServerStateChanged,
	} {
		math.Events.Count(supervisor.Event{Kind: kind}, testNow)
	}
	math.Events.Restarted.Add(2)
	math.Events.Count(supervisor.Event{Kind: supervisor.ServerStopped, Data: map[string]any{"reason": "idle"}}, testNow)
	rt.info.ReadOnly = "disk"
	rt.status = Status{
		MemoryBytes: 100, MemoryBudget: 200, MemoryPressure: true, StartsHeld: true, StartsInProgress: 3, StartsWaiting: 7,
		EventLogBytes: 11, EventLogMaxBytes: 12, EventLogPosition: 13, EventsDropped: 14,
	}
	return rt
}

func TestMetricsOfTheNodeAServerAndAGroup(t *testing.T) {
	got := scrape(t, testAPI(busyFleet()))
	maps.DeleteFunc(got, func(name string, _ float64) bool {
		return strings.HasPrefix(name, "build_info") || strings.Contains(name, "flaky") || strings.Contains(name, "planned") || strings.Contains(name, "lost")
	})
	const math = `{mcp_server="math"}`
	want := map[string]float64{
		"process_start_time_seconds{}": unixFloat(testNow) - 3600.5, "read_only{}": 1,
		"memory_bytes{}": 100, "memory_budget_bytes{}": 200, "memory_pressure{}": 1, "starts_held{}": 1, "starts_in_progress{}": 3, "starts_waiting{}": 7,
		"event_log_bytes{}": 11, "event_log_max_bytes{}": 12, "event_log_position{}": 13, "events_dropped_total{}": 14,
		`actor_failures_total{actor="eventlog"}`: 0, `actor_failures_total{actor="servers"}`: 2,
		`mcp_server_info{mcp_server="math",mode="subprocess"}`: 1, "mcp_server_state" + math: 2, "mcp_server_up" + math: 1, "mcp_server_initialized" + math: 1,
		"mcp_server_last_state_change_timestamp_seconds" + math:       unixFloat(testNow),
		`mcp_server_starts_total{mcp_server="math",result="success"}`: 2, `mcp_server_starts_total{mcp_server="math",result="failure"}`: 1,
		`mcp_server_stops_total{mcp_server="math",reason="idle"}`: 1, "mcp_server_crashes_total" + math: 1, "mcp_server_restarts_total" + math: 2,
		"mcp_server_give_ups_total" + math: 1, "mcp_server_restart_budget_remaining" + math: 4, "mcp_server_calls_waiting" + math: 4,
		"mcp_server_memory_bytes" + math: 5 << 20, "tool_calls_total" + math: 42, "tool_call_errors_total" + math: 2,
		`health_checks_total{mcp_server="math",result="healthy"}`: 1, `health_checks_total{mcp_server="math",result="unhealthy"}`: 1,
		"health_check_consecutive_failures" + math: 1,
		`group_members{group="pool"}`:              2, `group_members_in_rotation{group="pool"}`: 1, `group_available{group="pool"}`: 1,
		`group_calls_total{group="pool"}`: 40, `group_retries_total{group="pool"}`: 2, `group_refused_total{group="pool"}`: 1,
		`circuit_breaker_state{mcp_server="pool",state="closed"}`: 1, `circuit_breaker_state{mcp_server="pool",state="open"}`: 0,
		`circuit_breaker_state{mcp_server="pool",state="half_open"}`: 0,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestMetricsOfEveryState: the numbers of the states are the contract's.
func TestMetricsOfEveryState(t *testing.T) {
	for state, want := range map[supervisor.State]float64{
		supervisor.Cold: 0, supervisor.Initializing: 1, supervisor.Ready: 2, supervisor.Degraded: 3, supervisor.Dead: 4,
	} {
		rt := testFleet()
		rt.views[0].State = state
		if got := scrape(t, testAPI(rt))[`mcp_server_state{mcp_server="math"}`]; got != want {
			t.Errorf("%s is %g, want %g", state, got, want)
		}
	}
}

// TestMetricsFollowTheFleet: an open breaker is told, and what was deleted has
// no series any more.
func TestMetricsFollowTheFleet(t *testing.T) {
	rt := busyFleet()
	a := testAPI(rt)
	rt.groups[0].Circuit, rt.groups[0].Available = supervisor.CircuitOpen, false
	got := scrape(t, a)
	if got[`circuit_breaker_state{mcp_server="pool",state="open"}`] != 1 || got[`circuit_breaker_state{mcp_server="pool",state="closed"}`] != 0 || got[`group_available{group="pool"}`] != 0 {
		t.Errorf("the open breaker is not told: %v", got)
	}
	rt.views, rt.groups = rt.views[1:], nil
	for name := range scrape(t, a) {
		if strings.Contains(name, "math") || strings.Contains(name, "pool") {
			t.Errorf("%s is of something deleted", name)
		}
	}
}

// TestE15MetricsAreBounded: 500 servers and 50 groups with the longest ids, and
// nothing zero that could be left out.
func TestE15MetricsAreBounded(t *testing.T) {
	rt := busyFleet()
	math, pool := *rt.views[0], *rt.groups[0]
	math.ActorRestarts = 1
	for _, reason := range []string{"exited", supervisor.ReasonMemory, "config_reload", "dependency_restart", "made up \"by\" a\nclient"} {
		math.Events.Count(supervisor.Event{Kind: supervisor.ServerStopped, Data: map[string]any{"reason": reason}}, testNow)
	}
	rt.views, rt.groups = nil, nil
	for i := range 500 {
		v := math
		v.Spec.ID = fmt.Sprintf("%064d", i)
		rt.views = append(rt.views, &v)
	}
	for i := range 50 {
		g := pool
		g.Spec.ID = fmt.Sprintf("g%063d", i)
		rt.groups = append(rt.groups, &g)
	}
	a := testAPI(rt)
	if r := sendRaw(a, request{method: "GET", path: "/metrics"}); r.status != 200 || len(r.body) > 2<<20 {
		t.Errorf("%d, %d bytes", r.status, len(r.body))
	}
	var reasons []string
	for name := range scrape(t, a) {
		if _, rest, ok := strings.Cut(name, "reason="); ok && !slices.Contains(reasons, rest) {
			reasons = append(reasons, rest)
		}
	}
	if len(reasons) != 6 {
		t.Errorf("reasons of stops: %q", reasons)
	}
}

func TestTooManyScrapes(t *testing.T) {
	a := testAPI(testFleet())
	for range maxScrapes {
		a.page.scrapes <- struct{}{}
	}
	r := send(t, a, request{method: "GET", path: "/metrics"})
	wantError(t, r, 429, "RateLimitExceededError", "too many scrapes")
	if r.header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	<-a.page.scrapes
	for range 2 * maxScrapes { // each gives its place back
		scrape(t, a)
	}
}

// TestMetricsSurviveAPanic: the registry's goroutine has nobody else to contain it.
func TestMetricsSurviveAPanic(t *testing.T) {
	rt := testFleet()
	a := testAPI(rt, func(o *Options) { o.Now = func() time.Time { panic("broken clock") } })
	wantError(t, send(t, a, request{method: "GET", path: "/metrics"}), 500, "InternalServerError", "internal error")
}
