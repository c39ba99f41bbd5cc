package actors

import (
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/aabb9013/hangar/supervisor"
)

// MaxGroups bounds the groups of one node; one more is refused with
// supervisor.ErrOverloaded.
const MaxGroups = 1000

// group is everything of one group that outlives its actor. The actor decides
// who is in rotation; calls pick a member on their own goroutine.
type group struct {
	sys  *System
	id   string
	seq  uint64 // order of registration
	pid  *actor.PID
	gone chan struct{} // closed when the actor has stopped for good

	durable supervisor.GroupSpec // the spec as stored; the registry's own

	now   atomic.Pointer[groupNow]
	tools atomic.Pointer[groupTools]
	pool  pool
	// measures: latency ejects, so that calls are timed for it.
	measures atomic.Bool

	machine supervisor.Group // the actor's own, as are the following
	seats   []*seat
	former  []*seat
	timer   *time.Timer
}

// groupNow is the actor's snapshot for readers; it is immutable.
type groupNow struct {
	machine supervisor.Group
	seats   []*seat
	former  []*seat // removed lately or while they had calls, which may yet be cancelled
}

// seat is one member as the calls of a group meet it.
type seat struct {
	cell  *cell
	wants atomic.Bool // the actor wants to hear of a success
	// Of the calls since the last measurement, where latency ejects.
	calls, took atomic.Int64
}

// pool is what the callers share to pick a member. Its lock is held for a few
// dozen nanoseconds, by the actor for the making of a new balancer.
type pool struct {
	mu                      sync.Mutex
	balancer                *supervisor.Balancer
	seats                   []*seat
	budget                  supervisor.RetryBudget
	deleted                 bool
	calls, retries, refused uint64
	inFlight                func(index int) int // made once: a closure for each pick would be an allocation
}

// To a group's actor.
type (
	// applyGroup: registry → group; the spec is already durable. Answered
	// once calls and readers see it. cells are the members' in its order.
	applyGroup struct {
		spec  supervisor.GroupSpec
		cells []*cell
		reply chan error
	}
	// memberChanged: server → group; its condition, told again at each failure.
	memberChanged struct {
		member    string
		condition supervisor.Condition
	}
	// memberReported: server (health checks), GroupRef (calls) → group.
	memberReported struct {
		member string
		ok     bool
	}
	// probeReturned: GroupRef → group; the probe ended without an outcome.
	probeReturned struct{}
	// groupDue: the group's timer → group.
	groupDue struct{}
	// rebalanceGroup: system → group; answered once it is done.
	rebalanceGroup struct{ reply chan error }
	// retireGroup: registry → group; no further calls, then the actor stops.
	retireGroup struct{}
)

func (m applyGroup) fail(err error)     { answer(m.reply, err) }
func (m rebalanceGroup) fail(err error) { answer(m.reply, err) }

func newGroup(sys *System, seq uint64, spec supervisor.GroupSpec) *group {
	g := &group{sys: sys, id: spec.ID, seq: seq, gone: make(chan struct{}), durable: spec}
	g.pool.budget = supervisor.NewRetryBudget()
	g.pool.inFlight = func(i int) int { return int(g.pool.seats[i].cell.active.Load()) }
	g.pool.balancer = supervisor.Group{}.Balance(nil)
	g.machine = supervisor.NewGroup(spec)
	g.now.Store(&groupNow{machine: g.machine})
	return g
}

// receive is the group's actor.
func (g *group) receive(ctx actor.Context) {
	switch m := ctx.Message().(type) {
	case applyGroup:
		g.apply(m)
	case memberChanged:
		if !g.sys.closing.Load() { // all members are being stopped, which says nothing of them
			g.step(supervisor.MemberChanged{ID: m.member, Condition: m.condition})
		}
	case memberReported:
		g.step(supervisor.MemberReported{ID: m.member, OK: m.ok})
	case probeReturned:
		g.step(supervisor.ProbeReturned{})
	case groupDue:
		g.step(supervisor.GroupTimeElapsed{})
	case rebalanceGroup:
		g.step(supervisor.Rebalanced{})
		answer(m.reply, nil)
	case retireGroup:
		g.retire()
	case *actor.Started:
		g.lookAgain()
	case *actor.Stopped:
		if g.timer != nil {
			g.timer.Stop()
		}
		close(g.gone)
	case *actor.Stopping, *actor.Restarting:
	default:
		g.sys.logger.Error("unknown message", "actor", g.id, "message", fmt.Sprintf("%T", m))
	}
}

func (g *group) panicked(msg any, err error) {
	if _, ok := msg.(retireGroup); ok {
		g.sys.tell(g.pid, msg) // a deletion is durable: it must happen
	}
	failMessage(msg, err)
}

// step feeds the machine. Callers see the new rotation before anything is
// told: a member that failed gets no further call.
func (g *group) step(in supervisor.GroupInput) {
	machine, effects := g.machine.Step(in, time.Now())
	g.machine = machine
	g.publish()
	for _, effect := range effects {
		switch e := effect.(type) {
		case supervisor.Emit:
			g.sys.emit(e.Event)
		case supervisor.WakeMember:
			if s := g.seat(e.ID); s != nil && !g.sys.closing.Load() {
				g.sys.tell(s.cell.pid, wakeServer{})
			}
		case supervisor.MeasureLatencies:
			g.step(supervisor.LatenciesMeasured{Members: g.latencies()})
		}
	}
}

func (g *group) seat(id string) *seat {
	for _, s := range g.seats {
		if s.cell.id == id {
			return s
		}
	}
	return nil
}

// publish makes the present state visible to callers and readers, and arms
// the one timer.
func (g *group) publish() {
	p := &g.pool
	p.mu.Lock()
	p.balancer = g.machine.Balance(p.balancer)
	p.seats = g.seats
	p.mu.Unlock()
	g.measures.Store(g.machine.Spec.Outlier.Factor > 0)
	for i, s := range g.seats {
		s.wants.Store(g.machine.Wants(i))
	}
	g.now.Store(&groupNow{g.machine, g.seats, g.former})
	g.sys.changes.Add(1)
	if g.timer != nil {
		g.timer.Stop()
	}
	if due := g.machine.Due(); !due.IsZero() {
		g.timer = time.AfterFunc(time.Until(due), func() { g.sys.tell(g.pid, groupDue{}) })
	}
}

func (g *group) apply(m applyGroup) {
	known := make(map[string]supervisor.Condition, len(m.cells))
	seats := make([]*seat, len(m.cells))
	for i, c := range m.cells {
		known[c.id] = c.view.Load().Condition
		if at := slices.IndexFunc(g.seats, func(s *seat) bool { return s.cell == c }); at >= 0 {
			seats[i] = g.seats[at]
		} else {
			seats[i] = &seat{cell: c}
		}
	}
	former := slices.DeleteFunc(slices.Clone(g.former), func(s *seat) bool { return s.cell.active.Load() == 0 })
	for _, s := range g.seats {
		if !slices.Contains(seats, s) { // calls may pick it until the step publishes
			former = append(former, s)
		}
	}
	g.seats, g.former = seats, former
	g.step(supervisor.GroupSpecChanged{Spec: m.spec, Known: known})
	g.sys.fleetChanged()
	answer(m.reply, nil)
}

// lookAgain takes up what a panic may have lost: the servers know how they are,
// the timer is armed again, and another call may be the probe.
func (g *group) lookAgain() {
	if len(g.seats) == 0 {
		return // it is new
	}
	for _, m := range g.machine.Members {
		if s := g.seat(m.ID); s != nil && s.cell.view.Load().Condition != m.Condition {
			g.step(supervisor.MemberChanged{ID: m.ID, Condition: s.cell.view.Load().Condition})
		}
	}
	g.step(supervisor.ProbeReturned{})
}

func (g *group) retire() {
	g.pool.mu.Lock()
	g.pool.deleted = true
	g.pool.mu.Unlock()
	g.sys.engine.root.Stop(g.pid)
}

// latencies takes the measurement and begins the next.
func (g *group) latencies() []supervisor.Latency {
	all := make([]supervisor.Latency, 0, len(g.seats))
	for _, s := range g.seats {
		l := supervisor.Latency{ID: s.cell.id, Calls: int(s.calls.Swap(0))}
		if took := s.took.Swap(0); l.Calls > 0 {
			l.Mean = time.Duration(took / int64(l.Calls))
		}
		all = append(all, l)
	}
	return all
}

// view is what can be seen of the group now.
func (g *group) view() *supervisor.GroupView {
	now := g.now.Load()
	m := now.machine
	v := &supervisor.GroupView{
		Spec: m.Spec, State: m.State(), Circuit: m.Breaker.State(),
		Healthy: m.InRotation(), Available: m.Available(),
		Members: make([]supervisor.MemberView, len(m.Members)),
	}
	for i := range m.Members {
		server := now.seats[i].cell.view.Load()
		v.Members[i] = supervisor.MemberView{Member: m.Members[i], State: server.State, Phase: server.Phase}
	}
	g.pool.mu.Lock()
	defer g.pool.mu.Unlock()
	v.Calls, v.Retries, v.Refused = g.pool.calls, g.pool.retries, g.pool.refused
	return v
}
