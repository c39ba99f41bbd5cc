package actors

import (
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/aabb9013/hangar/supervisor"
)

const (
	// MemoryInterval is how often the memory of the servers is measured.
	MemoryInterval = 5 * time.Second
	// maxNamedVictims bounds the names in one event.
	maxNamedVictims = 100
	// exactFrom is the share of the budget from which measuring may cost more.
	exactFrom = 0.8
)

// MemorySampler returns the bytes of the process trees of these pids, in their
// order; exact asks to count shared pages once, at some cost, where the answer is
// else too large. It may block and
// is called from one goroutine at a time.
type MemorySampler func(pids []int, exact bool) []int64

// MemoryStatus is what is known of the memory of all servers.
type MemoryStatus struct {
	Bytes     int64 // at SampledAt
	Budget    int64 // 0 = none
	Under     bool  // pressure: idle servers are being stopped
	Held      bool  // starts are let through one at a time
	SampledAt time.Time
}

// memory is the actor that measures the servers and keeps them inside of the
// node's budget: it asks the least recently used idle ones to stop.
type memory struct {
	sys      *System
	self     *actor.PID
	pressure supervisor.MemoryPressure
	last     int64 // bytes of the last sample
	running  bool  // a sample is being taken
	held     bool
	timer    *time.Timer
}

func newMemory(sys *System) *memory {
	return &memory{sys: sys, pressure: supervisor.MemoryPressure{Budget: sys.opts.MemoryBudget}}
}

func (m *memory) receive(ctx actor.Context) {
	switch msg := ctx.Message().(type) {
	case *actor.Started:
		m.self = ctx.Self()
		m.arm()
	case *actor.Stopping, *actor.Restarting:
		if m.timer != nil {
			m.timer.Stop()
		}
	case limitMemory:
		m.limit(msg.budget)
	case sampleMemory:
		m.sample()
	case memorySampled:
		m.running = false
		m.arm()
		m.take(msg)
	}
}

// panicked must not end the measuring: the actor goes on, with its next sample.
func (m *memory) panicked(any, error) { m.running = false }

func (m *memory) arm() {
	if m.sys.opts.SampleMemory == nil {
		return
	}
	if m.timer != nil {
		m.timer.Stop()
	}
	self := m.self
	m.timer = time.AfterFunc(MemoryInterval, func() { m.sys.tell(self, sampleMemory{}) })
}

// limit takes a new budget. Starts that are held for the old one go on when the
// next sample says so.
func (m *memory) limit(budget int64) {
	m.pressure.Budget = budget
	status := m.sys.Memory()
	status.Budget = budget
	m.sys.memoryStatus.Store(&status)
}

// sample measures all running servers in one goroutine.
func (m *memory) sample() {
	if m.running {
		return
	}
	m.running = true
	var cells []*cell
	var views []*supervisor.View
	var pids []int
	for _, c := range m.sys.fleet.Load().order {
		if v := c.view.Load(); v.PID != 0 {
			cells, views, pids = append(cells, c), append(views, v), append(pids, v.PID)
		}
	}
	budget, measure := m.pressure.Budget, m.sys.opts.SampleMemory
	exact := m.pressure.Under || isNear(m.last, budget)
	self := m.self
	tell := func(bytes []int64) { m.sys.tell(self, memorySampled{cells, views, bytes, time.Now()}) }
	m.sys.run("measuring memory", func(error) { tell(nil) }, func() {
		if len(pids) == 0 {
			tell([]int64{})
			return
		}
		bytes := measure(pids, exact)
		// Pages that servers share make the rough sum too large: no server is
		// stopped for that.
		if !exact && isNear(sum(bytes), budget) {
			bytes = measure(pids, true)
		}
		tell(bytes)
	})
}

// isNear: from here on measuring may cost more.
func isNear(bytes, budget int64) bool {
	return budget > 0 && float64(bytes) > exactFrom*float64(budget)
}

func sum(all []int64) (total int64) {
	for _, n := range all {
		total += n
	}
	return total
}

// take publishes a sample and decides about it.
func (m *memory) take(s memorySampled) {
	if len(s.bytes) != len(s.cells) {
		return // the sampler failed, and said so
	}
	uses := make([]supervisor.MemoryUse, len(s.cells))
	epochs := make(map[string]int, len(s.cells))
	for i, c := range s.cells {
		c.counters.Memory.Store(s.bytes[i])
		c.curve.add(s.views[i].Epoch, MemoryPoint{s.at, s.bytes[i]})
		uses[i], epochs[c.id] = c.memoryUse(s.views[i].Epoch, s.bytes[i]), i
	}
	was := m.pressure.Under
	next, relief := m.pressure.Decide(uses, time.Now())
	m.pressure, m.last = next, relief.Bytes
	for _, name := range relief.Victims {
		i := epochs[name]
		m.sys.tell(s.cells[i].pid, reclaimServer{s.views[i].Epoch, uses[i].LastUsed})
	}
	if m.held || relief.Hold {
		m.held = relief.Hold
		m.sys.tell(m.sys.starts, holdStarts{relief.Hold})
	}
	m.sys.memoryStatus.Store(&MemoryStatus{
		Bytes: relief.Bytes, Budget: next.Budget, Under: next.Under, Held: relief.Hold, SampledAt: s.at,
	})
	if was != next.Under || len(relief.Victims) > 0 {
		m.sys.emit(supervisor.Event{Kind: supervisor.MemoryPressured, Data: map[string]any{
			"bytes": relief.Bytes, "budget_bytes": next.Budget, "under_pressure": next.Under,
			"victims": relief.Victims[:min(len(relief.Victims), maxNamedVictims)], "victims_count": len(relief.Victims),
			"starts_held": relief.Hold,
		}})
	}
}

// memoryUse is the server as the decision sees it. The instance of epoch was
// measured; when another one runs by now, that one is left alone.
func (c *cell) memoryUse(epoch uint64, bytes int64) supervisor.MemoryUse {
	v := c.view.Load()
	used := c.sys.at(&c.usedAt)
	if used.Before(v.ReadySince) {
		used = v.ReadySince
	}
	return supervisor.MemoryUse{
		Server: c.id, Bytes: bytes, LastUsed: used,
		Busy:     c.active.Load() > 0 || c.counters.Waiting.Load() > 0 || c.staysUp(&v.Spec),
		Serving:  v.Epoch == epoch && v.Alive(),
		Stopping: v.Epoch != epoch || v.Phase == supervisor.PhaseStopping || v.PID == 0,
	}
}

// onReclaim stops an idle instance for want of memory, unless it was used since
// that was decided. A call that comes during the stop starts the server again.
func (c *cell) onReclaim(m reclaimServer) {
	if m.epoch != c.machine.Epoch || !c.ready() || c.replacement != nil || c.staysUp(&c.spec) || c.active.Load() > 0 || c.queue.size > 0 || c.sys.at(&c.usedAt).After(m.lastUsed) {
		return
	}
	c.step(supervisor.StopWanted{Reason: supervisor.ReasonMemory})
}

// Memory is what the last sample told of all servers.
func (s *System) Memory() MemoryStatus {
	if status := s.memoryStatus.Load(); status != nil {
		return *status
	}
	return MemoryStatus{Budget: s.opts.MemoryBudget}
}
