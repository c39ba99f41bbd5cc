package httpapi

import (
	"fmt"
	"runtime"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/aabb9013/hangar/supervisor"
)

// fleetCollector reads the runtime at each scrape. It keeps nothing, so that
// the series of what was deleted are gone by themselves.
type fleetCollector struct {
	runtime Runtime
	now     func() time.Time
}

func (c fleetCollector) Describe(out chan<- *prometheus.Desc) {
	for _, f := range families {
		out <- f.desc
	}
}

// Collect runs on a goroutine of the registry's, where nobody else would
// contain a panic.
func (c fleetCollector) Collect(out chan<- prometheus.Metric) {
	defer func() {
		if cause := recover(); cause != nil {
			out <- prometheus.NewInvalidMetric(buildInfo.desc, fmt.Errorf("panic: %v", cause))
		}
	}()
	s := sink(out)
	c.node(s)
	now := c.now()
	for _, v := range c.runtime.Views() {
		s.server(v, now)
	}
	for _, g := range c.runtime.Groups() {
		s.group(g)
	}
}

func (c fleetCollector) node(s sink) {
	info, is := c.runtime.Info(), c.runtime.Status()
	s.send(buildInfo, 1, info.Version, runtime.Version())
	s.send(processStart, unixFloat(info.StartedAt))
	s.send(readOnly, oneIf(info.ReadOnly != ""))
	s.send(memoryBytes, float64(is.MemoryBytes))
	if is.MemoryBudget > 0 {
		s.send(memoryBudget, float64(is.MemoryBudget))
	}
	s.send(memoryPressure, oneIf(is.MemoryPressure))
	s.send(startsHeld, oneIf(is.StartsHeld))
	s.send(startsInProgress, float64(is.StartsInProgress))
	s.send(startsWaiting, float64(is.StartsWaiting))
	s.send(logBytes, float64(is.EventLogBytes))
	if is.EventLogMaxBytes > 0 {
		s.send(logMaxBytes, float64(is.EventLogMaxBytes))
	}
	s.send(logPosition, float64(is.EventLogPosition))
	s.send(eventsDropped, float64(is.EventsDropped))
	for _, top := range c.runtime.TopActors() {
		s.send(actorFailures, float64(top.Failures), top.Name)
	}
}

// sink is where the samples of a scrape go.
type sink chan<- prometheus.Metric

func (s sink) send(f family, value float64, labels ...string) {
	m, err := prometheus.NewConstMetric(f.desc, f.kind, value, labels...)
	if err != nil {
		m = prometheus.NewInvalidMetric(f.desc, err)
	}
	s <- m
}

func oneIf(yes bool) float64 {
	if yes {
		return 1
	}
	return 0
}

func (s sink) server(v *supervisor.View, now time.Time) {
	id := v.Spec.ID
	s.send(serverInfo, 1, id, string(v.Spec.Mode))
	s.send(serverState, float64(v.State-supervisor.Cold), id)
	s.send(serverUp, oneIf(v.Alive()), id)
	s.send(serverInitialized, oneIf(!v.ReadySince.IsZero()), id)
	s.send(serverBudget, float64(max(0, v.Spec.MaxRestarts-v.BudgetUsed(now))), id)
	s.send(healthFailures, float64(v.ProbeMisses), id)
	if v.ActorRestarts > 0 {
		s.send(serverActor, float64(v.ActorRestarts), id)
	}
	if bytes := v.MemoryBytes(); bytes > 0 {
		s.send(serverMemory, float64(bytes), id)
	}
	if c := v.Counters; c != nil {
		// No status: the difference of two counters that are read one after
		// the other could go down, which reads as a restart.
		s.send(toolCalls, float64(c.Calls.Load()), id)
		s.send(toolCallErrors, float64(c.Failed.Load()), id)
		s.send(serverWaiting, float64(c.Waiting.Load()), id)
	}
	if v.Events != nil {
		s.events(id, v.Events)
	}
}

func (s sink) events(id string, e *supervisor.EventCounters) {
	s.send(serverStarts, float64(e.Started.Load()), id, "success")
	s.send(serverStarts, float64(e.StartFailed.Load()), id, "failure")
	s.send(serverCrashes, float64(e.Crashed.Load()), id)
	s.send(serverRestarts, float64(e.Restarted.Load()), id)
	s.send(serverGaveUp, float64(e.GaveUp.Load()), id)
	s.send(healthChecks, float64(e.ChecksPassed.Load()), id, "healthy")
	s.send(healthChecks, float64(e.ChecksFailed.Load()), id, "unhealthy")
	for cause, n := range e.Stops {
		if n > 0 {
			s.send(serverStops, float64(n), id, cause)
		}
	}
	if at := e.StateChanged.Load(); at != 0 {
		s.send(serverChanged, unixFloat(time.Unix(0, at)), id)
	}
}

func (s sink) group(g *supervisor.GroupView) {
	id := g.Spec.ID
	s.send(groupMembers, float64(len(g.Members)), id)
	s.send(groupRotation, float64(g.Healthy), id)
	s.send(groupAvailable, oneIf(g.Available), id)
	s.send(groupCalls, float64(g.Calls), id)
	s.send(groupRetries, float64(g.Retries), id)
	s.send(groupRefused, float64(g.Refused), id)
	for _, state := range []supervisor.CircuitState{supervisor.CircuitClosed, supervisor.CircuitOpen, supervisor.CircuitHalfOpen} {
		s.send(breakerState, oneIf(g.Circuit == state), id, string(state))
	}
}
