package supervisor

import (
	"maps"
	"slices"
)

// GroupRestart is one restart of several servers for the crash of one, as the
// crashed one's strategy asks: first those that are up are stopped, one after
// the other in reverse start order, then all are started one after the other in
// start order. A crash of a member while it runs makes it begin again. It
// decides only, and is for one goroutine.
type GroupRestart struct {
	graph   *Graph
	order   []string // every member, in start order
	members map[string]memberState
	crashed map[string]bool // those that come back by a restart of their own
	rising  bool            // everything is down, the starts have begun
}

type memberState uint8

const (
	isOut      memberState = iota // nothing is awaited of it
	isUp                          // must be stopped
	isStopping                    // its end is awaited
	isAwaited                     // it crashed; that it wants to start is awaited
	isHeld                        // it wants to start and waits for its turn
	isStarting                    // its turn; how it ends is awaited
)

// RestartOrder is what the shell must do next: stop the server, with a start
// to follow unless it is temporary, or let its start through.
type RestartOrder struct {
	Server string
	Stop   bool // else: its start may begin
}

// Outcome is how a member's start ended.
type Outcome uint8

// Up: it serves. Retrying: the start failed and another is planned. Down: it
// failed for good, was given up or was stopped.
const (
	OutcomeUp Outcome = iota + 1
	OutcomeRetrying
	OutcomeDown
)

// NewGroupRestart returns a restart without members; Crash brings them.
func NewGroupRestart(g *Graph) *GroupRestart {
	return &GroupRestart{graph: g, members: make(map[string]memberState), crashed: make(map[string]bool)}
}

// Crash adds the crashed server and those its strategy reaches; up tells which
// of them have an instance, or an attempt to make one.
func (r *GroupRestart) Crash(id string, reach []string, up func(id string) bool) []RestartOrder {
	r.rising = false
	r.members[id], r.crashed[id] = isAwaited, true
	for _, other := range reach {
		switch r.members[other] {
		case isAwaited, isStopping, isHeld: // on its way already
		default:
			r.members[other] = isOut
			if up(other) {
				r.members[other] = isUp
			}
		}
	}
	r.order = r.graph.InStartOrder(slices.Sorted(maps.Keys(r.members)))
	return r.next()
}

// Has tells whether the server is a member.
func (r *GroupRestart) Has(id string) bool { _, ok := r.members[id]; return ok }

// Recovers tells whether the server is a member that crashed and is not up yet.
func (r *GroupRestart) Recovers(id string) bool { return r.crashed[id] }

// Done tells whether nothing is awaited any more.
func (r *GroupRestart) Done() bool {
	for _, state := range r.members {
		if state != isOut {
			return false
		}
	}
	return true
}

// WantsStart tells that a member's start is wanted. If held, it waits until an
// order lets it through.
func (r *GroupRestart) WantsStart(id string) (held bool, orders []RestartOrder) {
	switch state := r.members[id]; {
	case state == isStarting:
		return false, nil
	case state == isOut && r.rising && r.turnIsOver(id):
		return false, nil
	case state == isStopping:
		return true, nil // Stopped says so again
	}
	r.members[id] = isHeld
	return true, r.next()
}

// Stopped tells that a member's instance is gone; again, that its start is
// wanted already.
func (r *GroupRestart) Stopped(id string, again bool) []RestartOrder {
	if r.members[id] != isStopping {
		return nil
	}
	r.members[id] = isOut
	if again {
		r.members[id] = isHeld
	}
	return r.next()
}

// Ended tells how a member's start ended, or that the member was stopped by
// somebody else.
func (r *GroupRestart) Ended(id string, how Outcome) []RestartOrder {
	switch state := r.members[id]; {
	case state != isAwaited && state != isHeld && state != isStarting, state != isStarting && how == OutcomeUp:
		return nil // of an instance before, or its stop is answered besides
	case how == OutcomeRetrying && r.crashed[id]:
		r.members[id] = isAwaited
		return nil
	}
	r.members[id] = isOut
	delete(r.crashed, id)
	return r.next()
}

// Leave takes servers out, whatever is awaited of them.
func (r *GroupRestart) Leave(ids ...string) []RestartOrder {
	for _, id := range ids {
		delete(r.members, id)
		delete(r.crashed, id)
		r.order = slices.DeleteFunc(r.order, func(member string) bool { return member == id })
	}
	return r.next()
}

func (r *GroupRestart) turnIsOver(id string) bool {
	for _, member := range r.order {
		if member == id {
			return true
		}
		if r.members[member] != isOut {
			return false
		}
	}
	return true
}

// next is the one order that is due, if any: while one server is awaited,
// nothing happens to the others.
func (r *GroupRestart) next() []RestartOrder {
	for _, id := range slices.Backward(r.order) {
		switch {
		case r.rising || r.members[id] == isStopping:
			return r.rise()
		case r.members[id] == isUp:
			r.members[id] = isStopping
			return []RestartOrder{{Server: id, Stop: true}}
		}
	}
	r.rising = true
	return r.rise()
}

// rise lets the first start through that is next in order.
func (r *GroupRestart) rise() []RestartOrder {
	if !r.rising {
		return nil
	}
	for _, id := range r.order {
		switch r.members[id] {
		case isStarting, isAwaited:
			return nil
		case isHeld:
			r.members[id] = isStarting
			return []RestartOrder{{Server: id}}
		}
	}
	return nil
}

// Join takes over the members of another restart, which is not used any more.
func (r *GroupRestart) Join(other *GroupRestart) {
	maps.Copy(r.members, other.members)
	maps.Copy(r.crashed, other.crashed)
}
