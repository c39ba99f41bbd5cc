package actors

import (
	"fmt"
	"slices"

	"github.com/aabb9013/hangar/supervisor"
)

func (d *dependencies) onFact(m memberFact) {
	c := m.cell
	if w := d.waits[c]; w != nil && w.epoch <= m.epoch {
		d.drop(c) // that attempt is over
	}
	r := d.restartOf(c.id)
	recovers := r != nil && r.Recovers(c.id)
	switch m.kind {
	case memberCrashed:
		d.restart(c)
		return
	case memberGaveUp:
		d.escalate(c, m.reason, reasonGaveUp)
		return
	case memberFailed:
		if recovers { // as good as given up: it does not come back by itself
			d.escalate(c, m.reason, reasonGaveUp)
			return
		}
	case memberStopped:
		if recovers { // an operator does not want what the others wait for
			d.escalate(c, m.reason, reasonStopped)
			return
		}
	case memberServes, memberReset: // after a reset those that rest start it again
		d.startResting(c)
	}
	if r != nil {
		d.carryOut(r, r.Ended(c.id, outcomes[m.kind]))
	}
}

var outcomes = map[factKind]supervisor.Outcome{
	memberServes: supervisor.OutcomeUp, memberRetries: supervisor.OutcomeRetrying,
	memberFailed: supervisor.OutcomeDown, memberStopped: supervisor.OutcomeDown,
	// Those that wait for it go on, and start it as their dependency.
	memberReset: supervisor.OutcomeDown,
}

func (d *dependencies) restartOf(id string) *supervisor.GroupRestart {
	for _, r := range d.restarts {
		if r.Has(id) {
			return r
		}
	}
	return nil
}

// restart begins a group restart, or takes the crash into those under way that
// it concerns.
func (d *dependencies) restart(c *cell) {
	reach := d.graph().Reach(c.id, c.view.Load().Spec.Strategy)
	var all *supervisor.GroupRestart
	d.restarts = slices.DeleteFunc(d.restarts, func(r *supervisor.GroupRestart) bool {
		if !r.Has(c.id) && !slices.ContainsFunc(reach, r.Has) {
			return false
		}
		if all == nil {
			all = r
			return false
		}
		all.Join(r)
		return true
	})
	if all == nil {
		if len(reach) == 0 {
			return
		}
		all = supervisor.NewGroupRestart(d.graph())
		d.restarts = append(d.restarts, all)
	}
	d.carryOut(all, all.Crash(c.id, reach, d.isUp))
}

// isUp: it has an instance or an attempt, and nobody stops it yet. One in
// backoff has none and comes back by itself.
func (d *dependencies) isUp(id string) bool {
	c := d.cell(id)
	if c == nil || d.waits[c] != nil && d.waits[c].held {
		return false
	}
	v := c.view.Load()
	return v.Phase == supervisor.PhaseNone && (v.State == supervisor.Ready || v.State == supervisor.Initializing)
}

func (d *dependencies) carryOut(r *supervisor.GroupRestart, orders []supervisor.RestartOrder) {
	for len(orders) > 0 {
		order := orders[0]
		orders = append(orders[1:], d.carryOutOne(r, order)...)
	}
	if r.Done() {
		d.restarts = slices.DeleteFunc(d.restarts, func(other *supervisor.GroupRestart) bool { return other == r })
	}
}

func (d *dependencies) carryOutOne(r *supervisor.GroupRestart, order supervisor.RestartOrder) []supervisor.RestartOrder {
	c := d.cell(order.Server)
	switch {
	case c == nil || c.isGone():
		return r.Leave(order.Server)
	case order.Stop:
		then := supervisor.CauseCall
		if c.view.Load().Spec.Restart == supervisor.Temporary {
			then = 0 // as OTP: stopped with the others, and not started again
		}
		d.sys.tell(c.pid, stopFor{reason: reasonRestart, then: then, answer: func(error) {
			d.sys.tell(d.sys.dependencies, stoppedFor{cell: c})
		}})
		return nil
	}
	w := d.waits[c]
	if w == nil || !w.held {
		return r.Ended(c.id, supervisor.OutcomeDown) // its wish is gone
	}
	d.gate(w)
	return nil
}

func (d *dependencies) onStopped(m stoppedFor) {
	if m.escalation != nil {
		if m.escalation.stopping == m.cell {
			m.escalation.stopped = append(m.escalation.stopped, m.cell.id)
			d.escalateOn(m.escalation)
		}
		return
	}
	if r := d.restartOf(m.cell.id); r != nil {
		w := d.waits[m.cell]
		d.carryOut(r, r.Stopped(m.cell.id, w != nil && w.held))
	}
}

// escalation stops, one after the other, what cannot stand without a server
// that does not come back.
type escalation struct {
	cell     *cell
	reason   string // why it does not come back
	how      string // the reason of the stops
	stop     []*cell
	stopping *cell
	stopped  []string
}

func (d *dependencies) escalate(c *cell, reason, how string) {
	strategy := c.view.Load().Spec.Strategy
	reach := d.graph().Reach(c.id, strategy)
	e := &escalation{cell: c, reason: reason, how: how}
	r := d.restartOf(c.id)
	for _, id := range slices.Backward(reach) {
		if other := d.cell(id); other != nil && d.comesOrIs(other, r) {
			e.stop = append(e.stop, other)
		}
	}
	d.escalations[e] = true
	d.escalateOn(e)
	if r != nil {
		d.carryOut(r, r.Leave(append(slices.Clone(reach), c.id)...))
	}
}

// comesOrIs: it is up, or would be by itself: held, in backoff, or on its way
// down in a restart with a start to follow.
func (d *dependencies) comesOrIs(c *cell, r *supervisor.GroupRestart) bool {
	phase := c.view.Load().Phase
	held := d.waits[c] != nil && d.waits[c].held
	return d.isUp(c.id) || held || phase == supervisor.PhaseBackoff ||
		phase == supervisor.PhaseStopping && r != nil && r.Has(c.id)
}

// escalateOn stops the next server, or tells what was done.
func (d *dependencies) escalateOn(e *escalation) {
	e.stopping = nil
	for len(e.stop) > 0 {
		c := e.stop[0]
		e.stop = e.stop[1:]
		if c.isGone() {
			continue
		}
		d.drop(c)
		e.stopping = c
		if v := c.view.Load(); v.Spec.Restart == supervisor.Permanent {
			d.resting[c] = true
		}
		d.sys.tell(c.pid, stopFor{
			reason: e.how, cause: e.causeFor(c), answer: func(error) { d.sys.tell(d.sys.dependencies, stoppedFor{c, e}) },
		})
		return
	}
	delete(d.escalations, e)
	strategy := e.cell.view.Load().Spec.Strategy
	if e.how != reasonGaveUp || strategy == supervisor.OneForOne {
		return
	}
	d.sys.emit(supervisor.Event{Kind: supervisor.SupervisionEscalated, Server: e.cell.id, Data: map[string]any{
		"reason": e.reason, "strategy": strategy, "stopped": slices.Concat([]string{}, e.stopped),
	}})
}

// causeFor is what whoever waits for a stopped server is told.
func (e *escalation) causeFor(c *cell) error {
	what := "gave up: " + e.reason
	if e.how == reasonStopped {
		what = "was stopped"
	}
	return &supervisor.CannotStartError{Server: c.id, Reason: fmt.Sprintf("server %q, which it is supervised with, %s", e.cell.id, what)}
}
