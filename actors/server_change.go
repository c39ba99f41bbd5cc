package actors

import (
	"github.com/aabb9013/hangar/supervisor"
)

// Replace says what a changed spec means for the instance that runs.
type Replace uint8

// KeepInstance applies the spec to the running instance, as far as that can
// see it. DrainInstance stops it after its calls have finished, within the
// usual grace; KillInstance without waiting for them. The next call starts the
// server with the new spec.
const (
	KeepInstance Replace = iota
	DrainInstance
	KillInstance
	// HandOver keeps the instance serving, with the old spec, until a second
	// one with the new spec is ready; then calls go to that one, in one step,
	// and the old one ends after its calls. If the second one cannot start,
	// nothing changes and the change has failed. A server that does not serve,
	// or whose dependencies change, is replaced as by DrainInstance.
	HandOver
)

func (c *cell) onChangeSpec(m changeSpec) {
	c.onWithdrawReplacement() // left behind by a panic, or there is none
	if m.replace == HandOver {
		if c.handOver(m) {
			return
		}
		m.replace = DrainInstance
	}
	old := c.spec
	c.changesMade().specChanged(c.spec, m.spec)
	c.spec, c.fingerprint = m.spec, fingerprintOf(m.spec)
	c.declareTools(old)
	c.step(supervisor.PolicyChanged{Policy: supervisor.PolicyOf(m.spec)})
	c.publish()
	if m.replace == KeepInstance {
		m.answer(nil)
		return
	}
	c.replaceInstance(m)
}

// replaceInstance ends what runs, or is to run, with the old spec. Calls that
// wait are not failed: they wait for the new instance, as calls do that come
// meanwhile.
func (c *cell) replaceInstance(m changeSpec) {
	waiting := c.queue.size+len(c.starters) > 0
	if !c.machine.Live {
		// A new spec is a new chance: neither backoff nor giving up go on.
		if waiting {
			c.step(supervisor.StartWanted{Cause: supervisor.CauseOperator})
		} else {
			c.step(supervisor.StopWanted{Reason: supervisor.ReasonReload})
		}
		m.answer(nil)
		return
	}
	c.stoppers = append(c.stoppers, stopper{m.answer, c.machine.Epoch})
	c.stop(supervisor.ReasonReload, m.replace == KillInstance)
	if waiting {
		c.step(supervisor.StartWanted{Cause: supervisor.CauseCall})
	}
}

// stop wants no instance; a hasty one does not wait for the calls in flight.
func (c *cell) stop(reason string, hasty bool) {
	c.hasty = hasty
	defer func() { c.hasty = false }() // also if the step panics
	c.step(supervisor.StopWanted{Reason: reason})
}

// declareTools lists what the new spec declares, as long as the server has
// not said its own tools.
func (c *cell) declareTools(old supervisor.ServerSpec) {
	if c.catalogue != nil && !c.predefined || len(old.Tools)+len(c.spec.Tools) == 0 {
		return
	}
	c.catalogue, c.predefined = nil, false
	if len(c.spec.Tools) > 0 {
		c.catalogue, c.predefined = predefinedCatalogue(c.spec), true
	}
}
