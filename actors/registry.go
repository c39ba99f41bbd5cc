package actors

import (
	"fmt"
	"slices"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/aabb9013/hangar/persistence"
	"github.com/aabb9013/hangar/supervisor"
)

// MaxServers bounds the fleet of one node.
const MaxServers = 10000

// MaxChanges bounds the changes of one server or group that wait for the one under way;
// one more is refused with supervisor.ErrOverloaded. That a deleted server leaves
// its groups is not refused: each does once.
const MaxChanges = 100

// registry owns id → actor. A change is made durable first, then applied,
// then answered; while it is under way its id is busy and other changes of it
// wait.
type registry struct {
	sys     *System
	lastSeq uint64
	busy    map[string]bool
	queued  map[string][]change
	leaving map[*cell]func()
	// replacing are the servers of which a second instance is to take over; a
	// later change of one of them ends that.
	replacing map[string]*cell
	edges     changingEdges
	making    map[string]bool // groups that the fleet does not show yet
}

func newRegistry(sys *System) *registry {
	return &registry{
		sys: sys, busy: make(map[string]bool),
		queued: make(map[string][]change), leaving: make(map[*cell]func()), replacing: make(map[string]*cell),
		edges: newChangingEdges(), making: make(map[string]bool),
	}
}

// change is a wish to change one server or group.
type change interface {
	failable
	of() string
}

func (m createServer) of() string { return m.spec.ID }
func (m updateServer) of() string { return m.id }
func (m deleteServer) of() string { return m.id }
func (m putServer) of() string    { return m.spec.ID }

// serverDoc is the stored form of a server.
type serverDoc struct {
	Spec supervisor.ServerSpec `json:"spec"`
	Seq  uint64                `json:"seq"` // cell.made
}

// loadServers: system → registry, once, before anything else.
type loadServers struct {
	cells   []*cell
	orphans orphans
	reply   chan error
}

func (m loadServers) fail(err error) { answer(m.reply, err) }

func sortBySeq(docs []serverDoc) {
	slices.SortFunc(docs, func(a, b serverDoc) int { return int(a.Seq) - int(b.Seq) })
}

func (r *registry) receive(ctx actor.Context) {
	switch m := ctx.Message().(type) {
	case loadServers:
		r.load(m)
	case change:
		r.onChange(m)
	case changeCommitted:
		m.apply(m.err)
	case serverSpawned:
		m.then(m.err)
	case actorGone:
		r.left(m.cell)
	case loadGroups:
		r.loadGroups(m)
	case groupSpawned:
		m.then(m.err)
	}
}

func (r *registry) onChange(m change) {
	switch id := m.of(); {
	case r.sys.closing.Load():
		m.fail(supervisor.ErrClosing)
	case !r.busy[id]:
		r.begin(m)
	case len(r.queued[id]) >= MaxChanges:
		m.fail(fmt.Errorf("%w: %d changes of %q wait", supervisor.ErrOverloaded, MaxChanges, id))
	default:
		r.queued[id] = append(r.queued[id], m)
		r.withdrawReplacement(id)
	}
}

func (r *registry) begin(m change) {
	switch m := m.(type) {
	case createServer:
		r.create(m)
	case updateServer:
		r.update(m)
	case deleteServer:
		r.delete(m)
	case createGroup:
		r.createGroup(m)
	case changeGroup:
		r.changeGroup(m)
	case deleteGroup:
		r.deleteGroup(m)
	case putServer:
		r.put(m)
	case reviveServer:
		r.revive(m)
	}
}

// free ends the change under way and begins those that waited for it, up to
// the next that takes time.
func (r *registry) free(id string) {
	delete(r.busy, id)
	delete(r.replacing, id)
	delete(r.making, id)
	r.edges.forget(id)
	for len(r.queued[id]) > 0 && !r.busy[id] {
		m := r.queued[id][0]
		r.queued[id] = r.queued[id][1:]
		r.begin(m)
	}
	if len(r.queued[id]) == 0 {
		delete(r.queued, id)
	}
}

// left ends the deletion of a server whose actor has stopped.
func (r *registry) left(c *cell) {
	if done := r.leaving[c]; done != nil {
		delete(r.leaving, c)
		done()
	}
}

// panicked ends the change at hand: its id must not stay busy, its asker must
// not wait.
func (r *registry) panicked(msg any, err error) {
	switch m := msg.(type) {
	case change:
		if !r.busy[m.of()] { // or it waits for a change that is under way
			m.fail(err)
		}
		return
	case changeCommitted:
		m.apply(err)
	case serverSpawned:
		m.then(err)
	case groupSpawned:
		m.then(err)
	case actorGone:
		r.left(m.cell)
	}
	failMessage(msg, err)
}

// publish makes a new snapshot for readers.
func (r *registry) publish(order []*cell) {
	next := *r.sys.fleet.Load()
	next.byID, next.order = make(map[string]*cell, len(order)), order
	for _, c := range order {
		next.byID[c.id] = c
	}
	next.graph = r.graphOf(order)
	r.sys.fleet.Store(&next)
	r.sys.fleetChanged()
}

// others is the fleet without one cell, in a slice of its own.
func (r *registry) others(c *cell) []*cell {
	return slices.DeleteFunc(slices.Clone(r.sys.fleet.Load().order), func(other *cell) bool { return other == c })
}

func (r *registry) load(m loadServers) {
	r.forget(m.orphans)
	left := len(m.cells)
	if left == 0 {
		answer(m.reply, nil)
		return
	}
	batch := persistence.Batch{}
	for _, c := range m.cells {
		r.lastSeq = max(r.lastSeq, c.seq)
		if c.spec.Provenance == supervisor.FromConfig {
			batch.Events = append(batch.Events, r.sys.record(registered(c.spec)))
		}
	}
	r.commit(batch, func(err error) {
		if err != nil {
			answer(m.reply, err)
			return
		}
		for _, c := range m.cells {
			r.sys.tell(r.sys.servers, spawnServer{c, func(err error) {
				if left--; left == 0 {
					r.publish(m.cells) // once: a snapshot for each would be quadratic
					r.tellBroken(m.cells)
					r.goOn(m.cells)
					r.keepRunning(slices.DeleteFunc(slices.Clone(m.cells), stoppedForGood)...)
				}
				if left == 0 || err != nil {
					answer(m.reply, err)
				}
			}})
		}
	})
}

func notFound(id string) error {
	return fmt.Errorf("%w: %q", supervisor.ErrServerNotFound, id)
}
