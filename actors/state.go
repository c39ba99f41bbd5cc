package actors

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"

	"github.com/aabb9013/hangar/persistence"
	"github.com/aabb9013/hangar/supervisor"
)

// docState is the kind of the documents of serverState.
const docState = "state"

// maxStoredError bounds what a serverState keeps of an error's text, in bytes.
const maxStoredError = 1024

// serverState is what of a server survives the runtime besides its spec and its
// tool list, as it is stored.
type serverState struct {
	Seq     uint64              `json:"seq"`  // cell.made of the registration it belongs to; earlier versions: cell.seq
	Spec    string              `json:"spec"` // fingerprint of what ran
	Machine supervisor.Snapshot `json:"machine"`
	Down    bool                `json:"down,omitempty"` // see cell.down

	Calls         int64     `json:"calls"`
	Failed        int64     `json:"failed"`
	LastUsed      int64     `json:"last_used_unix_ns,omitempty"`
	TotalFailures uint64    `json:"total_failures,omitempty"`
	LastError     string    `json:"last_error,omitempty"`
	LastSuccess   time.Time `json:"last_success,omitzero"`
	LastFailure   time.Time `json:"last_failure,omitzero"`
}

func decodeState(d persistence.Doc) (serverState, error) {
	var s serverState
	if err := json.Unmarshal(d.Body, &s); err != nil {
		return s, fmt.Errorf("its stored state cannot be read: %w", err)
	}
	// An earlier version stored no revision, maybe after a later one had run: what
	// the log told until then is not to be replayed. No machine counts as many
	// steps as that, and what follows goes on from there.
	if m := &s.Machine; m.Revision == 0 && m.Epoch > 0 {
		m.Revision = uint64(max(m.SavedAt.UnixMilli(), 0))
	}
	return s, nil
}

// kept is a server's state when it last changed, for the keeper to store. It is
// immutable.
type kept struct {
	machine       supervisor.Machine
	spec          string
	down          bool
	totalFailures uint64
	lastError     string
	lastSuccess   time.Time
	lastFailure   time.Time
}

// sameAs tells whether nothing changed that is worth a write.
func (k *kept) sameAs(c *cell) bool {
	return k.machine.Revision == c.machine.Revision && k.spec == c.fingerprint && k.down == c.down && k.totalFailures == c.totalFailures
}

// keep hands the present state to the keeper if it changed. While the runtime
// closes, what stops is not what is wanted: the state of before is kept.
func (c *cell) keep() {
	if c.machine.Live && c.machine.Phase != supervisor.PhaseStopping {
		c.down = false
	}
	old := c.kept.Load()
	if old != nil && (c.sys.closing.Load() || old.sameAs(c)) {
		return
	}
	k := &kept{
		machine: c.machine, spec: c.fingerprint, down: c.down, totalFailures: c.totalFailures,
		lastError: c.lastError, lastSuccess: c.lastSuccess, lastFailure: c.lastFail,
	}
	c.kept.Store(k)
	if old == nil {
		return // nothing that a new server would not begin with
	}
	c.unsaved.Store(true)
	atRest := !c.machine.Live && c.machine.State != old.machine.State
	c.sys.keeper.tell(atRest || k.down != old.down)
}

// state is the stored form of what was kept, with the counters of now.
func (c *cell) state(now time.Time) serverState {
	k := c.kept.Load()
	return serverState{
		Seq: c.made, Spec: k.spec, Machine: k.machine.Snapshot(now), Down: k.down,
		Calls: c.counters.Calls.Load(), Failed: c.counters.Failed.Load(), LastUsed: c.counters.LastUsed.Load(),
		TotalFailures: k.totalFailures, LastError: k.lastError[:min(len(k.lastError), maxStoredError)],
		LastSuccess: k.lastSuccess, LastFailure: k.lastFailure,
	}
}

// stateDoc is the present state as a document, for a commit with an event that
// must not be stored without it.
func (c *cell) stateDoc() (persistence.Doc, error) {
	c.keep()
	return c.keptDoc()
}

// keptDoc is the state that was last kept as a document; safe from any goroutine.
func (c *cell) keptDoc() (persistence.Doc, error) {
	body, err := json.Marshal(c.state(time.Now()))
	return persistence.Doc{Kind: docState, ID: c.id, Body: body}, err
}

// answerStored answers an operator's wish that came true once that is stored, as
// what the server is wanted to be. A log that takes no writes does not hold the
// answer back: the keeper goes on trying.
func (c *cell) answerStored(reply chan error, err error) {
	if err != nil || c.sys.closing.Load() || c.leaving.Load() {
		answer(reply, err)
		return
	}
	doc, err := c.stateDoc()
	if err != nil {
		answer(reply, nil)
		return
	}
	c.sys.tell(c.sys.eventlog, commit{batch: persistence.Batch{Docs: []persistence.Doc{doc}}, done: func(err error) {
		if err != nil {
			c.unsaved.Store(true)
			c.sys.keeper.tell(false)
		}
		answer(reply, nil)
	}})
}

// adopt takes over what an earlier runtime stored, before the actor starts. A
// server whose spec was changed meanwhile keeps its counters and none of its
// failures: the change may have been the cure.
func (c *cell) adopt(s serverState, now time.Time) {
	c.counters.Calls.Store(s.Calls)
	c.counters.Failed.Store(s.Failed)
	c.counters.LastUsed.Store(s.LastUsed)
	c.savedCalls = s.Calls
	c.down = s.Down
	c.totalFailures, c.lastError = s.TotalFailures, s.LastError
	c.lastSuccess, c.lastFail = s.LastSuccess, s.LastFailure
	if s.Spec == c.fingerprint {
		c.machine, c.restored = supervisor.Restore(c.machine.Policy, s.Machine, now)
	} else {
		// Neither epochs nor revisions are used twice.
		c.machine.Epoch, c.machine.Revision = s.Machine.Epoch, s.Machine.Revision
	}
	c.kept.Store(nil)
	c.publish()
}

// onGoOn begins what the restored machine has to do.
func (c *cell) onGoOn() {
	c.todo, c.restored = append(c.todo, c.restored...), nil
	c.work()
}

// fingerprintOf tells specs apart without saying anything of them.
func fingerprintOf(spec supervisor.ServerSpec) string {
	body, err := json.Marshal(spec)
	if err != nil {
		return ""
	}
	sum := sha256.Sum256(body)
	return hex.EncodeToString(sum[:8])
}

// restoreStates gives the cells what is stored of them, and what the log tells
// since.
func (s *System) restoreStates(cells []*cell, orphans orphans) error {
	docs, err := s.opts.Store.Docs(docState)
	if err != nil {
		return fmt.Errorf("cannot read the servers' state from the store: %w", err)
	}
	byID := make(map[string]*cell, len(cells))
	for _, c := range cells {
		byID[c.id] = c
	}
	states := make(map[*cell]serverState, len(docs))
	for _, d := range docs {
		c := byID[d.ID]
		if c == nil {
			orphans.add(d.ID)
			continue
		}
		state, err := decodeState(d)
		if err != nil {
			s.logger.Warn("a server begins without its stored state", "server", d.ID, "err", err)
			continue
		}
		// A server made by API may have been deleted and made again, which gives it
		// a greater number. Earlier versions stored seq, which is never less than made.
		if c.spec.Provenance != supervisor.FromAPI || state.Seq >= c.made {
			states[c] = state
		}
	}
	tail, err := s.readTail()
	if err != nil {
		return err
	}
	now := time.Now()
	for _, c := range cells {
		state, found := states[c]
		if !found {
			state.Seq, state.Spec = c.made, c.fingerprint
		}
		changed := tail.replay(c.id, &state.Machine)
		if found || changed {
			c.adopt(state, now)
		}
		c.unsaved.Store(changed)
	}
	return nil
}
