package supervisor

import (
	"strings"
	"sync/atomic"
	"time"
)

// EventCounters count the events of one server since it was registered with
// this runtime; unlike Counters they are not stored. One goroutine at a time
// counts, anybody may read at any time. The zero value is ready.
type EventCounters struct {
	Started, StartFailed, Crashed, GaveUp atomic.Uint64
	Restarted                             atomic.Uint64 // automatic starts, the kind that the budget is for
	ChecksPassed, ChecksFailed            atomic.Uint64
	StateChanged                          atomic.Int64 // unix ns of the last change of state, 0 = none yet
	stopped                               [len(stopCauses)]atomic.Uint64
}

// stopCauses are the classes of stops. A reason is anybody's text, so that it
// must not become a label as it is.
var stopCauses = [...]string{reasonIdle, reasonExited, ReasonMemory, ReasonReload, "dependency", "requested"}

const causeRequested = len(stopCauses) - 1

// Count takes one event of the server, which happened at now.
func (c *EventCounters) Count(e Event, now time.Time) {
	switch e.Kind {
	case ServerStarted:
		c.Started.Add(1)
	case ServerStartFailed:
		c.StartFailed.Add(1)
	case ServerCrashed:
		c.Crashed.Add(1)
	case ServerGaveUp:
		c.GaveUp.Add(1)
		c.StateChanged.Store(now.UnixNano()) // the one change that has no event of its own when an actor is given up
	case ServerStateChanged:
		c.StateChanged.Store(now.UnixNano())
	case ServerStopped:
		reason, _ := e.Data["reason"].(string)
		c.stopped[stopCause(reason)].Add(1)
	case HealthCheckPassed:
		c.ChecksPassed.Add(1)
	case HealthCheckFailed:
		c.ChecksFailed.Add(1)
	}
}

// Stops yields how many stops each cause had, causes without one included. The
// causes are idle, exited, memory_budget, config_reload, dependency (one of its
// dependencies was stopped, restarted or given up) and requested (any other).
func (c *EventCounters) Stops(yield func(cause string, n uint64) bool) {
	for i := range stopCauses {
		if !yield(stopCauses[i], c.stopped[i].Load()) {
			return
		}
	}
}

func stopCause(reason string) int {
	if strings.HasPrefix(reason, "dependency_") {
		reason = "dependency"
	}
	for i, cause := range stopCauses {
		if cause == reason {
			return i
		}
	}
	return causeRequested
}
