package supervisor

import (
	"maps"
	"testing"
	"time"
)

func TestEventCounters(t *testing.T) {
	var c EventCounters
	now := time.Unix(1000, 0)
	for _, e := range []Event{
		{Kind: ServerStateChanged}, {Kind: ServerStarted}, {Kind: ServerStarted}, {Kind: ServerStartFailed}, {Kind: ServerCrashed},
		{Kind: HealthCheckPassed}, {Kind: HealthCheckFailed}, {Kind: HealthCheckFailed}, {Kind: ServerRegistered},
	} {
		c.Count(e, now)
	}
	c.Count(Event{Kind: ServerGaveUp}, now.Add(time.Second))
	for _, reason := range []any{"idle", "exited", ReasonMemory, "config_reload", "dependency_restart", "dependency_gave_up", "dependency_stopped", "user_request", "anything \n else", nil} {
		c.Count(Event{Kind: ServerStopped, Data: map[string]any{"reason": reason}}, now)
	}
	got := map[string]uint64{
		"started": c.Started.Load(), "failed": c.StartFailed.Load(), "crashed": c.Crashed.Load(), "gave up": c.GaveUp.Load(),
		"passed": c.ChecksPassed.Load(), "missed": c.ChecksFailed.Load(),
	}
	if want := (map[string]uint64{"started": 2, "failed": 1, "crashed": 1, "gave up": 1, "passed": 1, "missed": 2}); !maps.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if at := c.StateChanged.Load(); at != now.Add(time.Second).UnixNano() {
		t.Errorf("changed at %d", at)
	}
	want := map[string]uint64{"idle": 1, "exited": 1, "memory_budget": 1, "config_reload": 1, "dependency": 3, "requested": 3}
	if got := maps.Collect(c.Stops); !maps.Equal(got, want) {
		t.Errorf("stops: got %v, want %v", got, want)
	}
	for range c.Stops {
		break // an early end must not go on
	}
}
