package actors

import (
	"errors"
	"fmt"
	"time"

	"github.com/aabb9013/hangar/backends"
	"github.com/aabb9013/hangar/supervisor"
)

// errAnotherChange ends a replacement for the sake of a newer change.
var errAnotherChange = errors.New("another change of the server came")

// replacement is a changed spec that a second instance is to bring into force.
type replacement struct {
	spec    supervisor.ServerSpec
	answer  func(err error)
	epoch   uint64   // of the candidate; 0 while the instance replaced last is still ending
	attempt *attempt // of the candidate
	ready   *instanceStarted
	relist  bool // the candidate said that its tools changed
}

func (r *replacement) isFor(epoch uint64) bool { return r != nil && r.epoch != 0 && r.epoch == epoch }

// handOver begins a replacement; false if there is no instance to hand over.
// While one drains from the replacement before, this one waits: the server never
// has more than two.
func (c *cell) handOver(m changeSpec) bool {
	switch {
	case c.retired != "":
		m.answer(c.replaceError("the server is being deleted"))
	case c.sys.closing.Load():
		m.answer(supervisor.ErrClosing)
	case !c.ready():
		return false
	default:
		c.replacement = &replacement{spec: m.spec, answer: m.answer}
		c.beginReplacement()
	}
	return true
}

func (c *cell) beginReplacement() {
	r := c.replacement
	if r == nil || r.epoch != 0 || c.leaver != nil {
		return
	}
	if c.machine.CanReplace() {
		c.step(supervisor.ReplaceWanted{Policy: supervisor.PolicyOf(r.spec)})
		return
	}
	c.replacement = nil // the server does not serve any more
	switch {
	case c.retired != "":
		r.answer(c.replaceError("the server is being deleted"))
	case c.sys.closing.Load():
		r.answer(supervisor.ErrClosing)
	default:
		c.onChangeSpec(changeSpec{r.spec, DrainInstance, r.answer})
	}
}

// beginCandidate asks for admission. The dependencies are up, for the server is.
func (c *cell) beginCandidate(epoch uint64) {
	r := c.replacement
	r.epoch = epoch
	r.attempt = &attempt{cell: c, epoch: epoch, over: make(chan struct{})}
	c.sys.tell(c.sys.starts, wantStart{c, epoch, false, c.counters.LastUsed.Load()})
}

// secondStarted takes a start that is not the one of the server's own epoch.
func (c *cell) secondStarted(m instanceStarted) bool {
	if l := c.leaver; l != nil && l.epoch == m.epoch {
		l.instance = m.instance // given up while the last answer of its handshake was on its way
		m.instance.Kill(backends.ErrClosed)
		return true
	}
	r := c.replacement
	if !r.isFor(m.epoch) {
		return false
	}
	r.ready = &m
	c.step(supervisor.Started{Epoch: m.epoch, Tools: len(m.catalogue.Tools), Duration: m.took})
	if c.relist {
		c.onToolListChanged(m.epoch)
	}
	return true
}

// secondEnded takes the end of an instance or attempt that is not the server's
// own.
func (c *cell) secondEnded(epoch uint64, err error, exit *backends.Exit) bool {
	if l := c.leaver; l != nil && l.epoch == epoch {
		c.leaver = nil
		l.end()
		c.step(supervisor.Exited{Epoch: epoch, Reason: "ended"})
		c.beginReplacement()
		return true
	}
	r := c.replacement
	if !r.isFor(epoch) {
		return false
	}
	if err == nil { // it overtook the message that hands the instance over
		err = fmt.Errorf("%w: %s", backends.ErrCrashed, exit)
	}
	c.ending = &ending{epoch: epoch, exit: exit}
	c.step(supervisor.StartFailed{Epoch: epoch, Class: classOf(err), Reason: c.startReason(err)})
	c.ending = nil
	c.dropReplacement(c.startReason(err))
	return true
}

// switchInstance sends calls to the candidate from here on. The pointers change
// first and the answer is deferred: what is between may panic, and nobody does
// it again.
func (c *cell) switchInstance(oldEpoch uint64) {
	r, old, tools := c.replacement, c.instance, c.catalogue
	if c.corked {
		c.corked = false
		old.Flush()
	}
	c.leaver = &leaver{epoch: oldEpoch, instance: old}
	c.instance, c.replacement = r.ready.instance, nil
	defer r.answer(nil)
	c.takeSpec(r.spec)
	c.drain, c.relist = supervisor.DrainRate{}, r.relist
	c.setCatalogue(r.ready.catalogue)
	c.lastSuccess = time.Now()
	c.publish()
	c.emit(supervisor.Event{Kind: supervisor.ServerReplaced, Epoch: r.epoch, Data: replaced(oldEpoch, tools, c.catalogue)})
}

// promoteCandidate makes the candidate's attempt the server's own: the instance
// that it was to replace is gone.
func (c *cell) promoteCandidate() {
	r := c.replacement
	c.attempt, c.replacement, c.relist = r.attempt, nil, r.relist
	defer r.answer(nil)
	c.takeSpec(r.spec)
	if c.attempt.cancel == nil && c.queue.size > 0 {
		c.sys.tell(c.sys.starts, hurryStart{c, r.epoch})
	}
	c.publish()
}

// takeSpec brings a spec into force together with an instance that has it.
func (c *cell) takeSpec(spec supervisor.ServerSpec) {
	old := c.spec
	c.changesMade().specChanged(old, spec)
	c.changes.begin()
	c.spec, c.fingerprint = spec, fingerprintOf(spec)
	c.declareTools(old)
}

func (c *cell) onWithdrawReplacement() {
	switch r := c.replacement; {
	case r == nil:
	case r.epoch == 0:
		c.dropReplacement(errAnotherChange.Error())
	default:
		c.step(supervisor.ReplaceWithdrawn{Reason: errAnotherChange.Error()})
	}
}

// dropReplacement ends a replacement that failed, with all that is left of it.
func (c *cell) dropReplacement(reason string) {
	r := c.replacement
	if r == nil {
		return
	}
	err := c.replaceError(c.secrets().Excerpt(reason, maxReason, false))
	c.replacement = nil
	defer r.answer(err)
	c.keepSecrets()
	if r.attempt != nil {
		r.attempt.abandon(err)
	}
}

func (c *cell) replaceError(reason string) error {
	return fmt.Errorf("%w: server %q goes on with its old instance and configuration: %s", supervisor.ErrReplaceFailed, c.id, reason)
}

// keepSecrets notes the secrets of the instance that goes on anew, so that
// however many candidates fail, theirs never push these out.
func (c *cell) keepSecrets() { c.launching(&c.spec, c.machine.LastEpoch()+1) }
