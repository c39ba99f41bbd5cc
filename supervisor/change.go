package supervisor

import "time"

// Change is what one step made of the part of a machine that survives the
// runtime. It goes with the last event of the step, so that the log alone tells
// what became of a machine since a Snapshot of it.
type Change struct {
	// After is the snapshot behind the step, without its Restarts: those are told
	// by what became of them, because a window may be long.
	After     Snapshot `json:"after"`
	Restarts  int      `json:"restarts,omitempty"`   // in the window, behind the step
	Counted   bool     `json:"counted,omitempty"`    // the last of them is the step's own
	TakenBack bool     `json:"taken_back,omitempty"` // the last one before the step was not to count
}

// note tells what the step made of what is stored, if it made anything of it.
func (s *step) note(before Machine) {
	if !s.counted && !s.takenBack && before.keepsAs(&s.m) {
		return
	}
	s.m.Revision++
	for i := len(s.out) - 1; i >= 0; i-- {
		if e, ok := s.out[i].(Emit); ok {
			after := s.m.Snapshot(s.env.Now)
			c := &Change{Restarts: len(after.Restarts), Counted: s.counted, TakenBack: s.takenBack}
			c.After, c.After.Restarts = after, nil
			e.Event.Change = c
			s.out[i] = e
			return
		}
	}
}

// keepsAs tells whether the snapshots of two machines of one policy are the same.
func (m *Machine) keepsAs(o *Machine) bool {
	return m.State == o.State && m.Phase == o.Phase && m.LastEpoch() == o.LastEpoch() &&
		m.wantedRunning() == o.wantedRunning() && m.Failures == o.Failures && m.Streak == o.Streak &&
		len(m.Restarts) == len(o.Restarts) && m.NextRetryAt.Equal(o.NextRetryAt)
}

// wantedRunning is Snapshot.Running.
func (m *Machine) wantedRunning() bool { return m.Live && !m.stopsForGood() || m.Phase == PhaseBackoff }

// Replay is the snapshot behind a change. One that the snapshot knows changes
// nothing, so that a log may be replayed from any position before it. The changes
// of one machine are given in their order.
func (s Snapshot) Replay(c Change) Snapshot {
	if c.After.Revision <= s.Revision {
		return s
	}
	next := c.After
	next.Restarts = c.window(s.Restarts, max(c.After.SavedAt.Sub(s.SavedAt), 0))
	return next
}

// window makes the restarts behind the change of those before it, as ages, which
// are older by what passed: what is not told any more is what slid out at the
// old end.
func (c Change) window(before []time.Duration, passed time.Duration) []time.Duration {
	if c.TakenBack && len(before) > 0 {
		before = before[:len(before)-1]
	}
	keep := c.Restarts
	if c.Counted {
		keep--
	}
	keep = min(max(keep, 0), len(before))
	var after []time.Duration
	for _, ago := range before[len(before)-keep:] {
		after = append(after, ago+passed)
	}
	if c.Counted {
		after = append(after, 0)
	}
	return after
}
