package supervisor

import (
	"encoding/json"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// loggedChanges are the changes that the events of a step tell, as they come
// back from the log.
func loggedChanges(t *testing.T, effects []Effect) (changes []Change) {
	t.Helper()
	for _, e := range effects {
		emit, ok := e.(Emit)
		if !ok || emit.Event.Change == nil {
			continue
		}
		body, err := json.Marshal(emit.Event.Change)
		if err != nil {
			t.Fatal(err)
		}
		var c Change
		if err := json.Unmarshal(body, &c); err != nil {
			t.Fatal(err)
		}
		changes = append(changes, c)
	}
	return changes
}

// history is a random life of a machine: snapshots at all of its moments, and
// the changes that its log tells.
type history struct {
	snapshots []Snapshot // before each step, and at the end
	logged    [][]Change // of each step
}

func live(t *testing.T, data []byte) history {
	c := newChecker(t, policyFrom(data))
	var h history
	for i := 4; i+1 < len(data); i += 2 {
		h.snapshots = append(h.snapshots, stored(t, c.m.Snapshot(c.now)))
		before := c.m
		in := c.input(data[i], data[i+1])
		m, effects := before.Step(in, Env{Now: c.now, Jitter: float64(data[i+1]) / 256})
		h.logged = append(h.logged, loggedChanges(t, effects))
		was, is := before.Snapshot(c.now), m.Snapshot(c.now)
		if is.Revision == was.Revision && !cmp.Equal(was, is) && m.Policy == before.Policy {
			t.Errorf("%#v changed the snapshot and not the revision:\n%s", in, cmp.Diff(was, is))
		}
		c.follow(m, effects)
	}
	h.snapshots = append(h.snapshots, stored(t, c.m.Snapshot(c.now)))
	return h
}

// follow is what the shell does of the effects, as far as inputs depend on it.
func (c *checker) follow(m Machine, effects []Effect) {
	c.m = m
	for _, e := range effects {
		switch e := e.(type) {
		case ArmTimer:
			c.timers[e.Kind] = e.Seq
		case CancelTimer:
			c.timers[e.Kind] = 0
		}
	}
}

// checkReplay: from the snapshot of any moment the rest of the log leads to the
// machine behind every event that tells a change, whether the replay begins right
// behind the snapshot or with events that it knows.
func (h history) checkReplay(t *testing.T, from, early int) {
	t.Helper()
	s := h.snapshots[from]
	for i := max(from-early, 0); i < len(h.logged); i++ {
		for _, c := range h.logged[i] {
			s = s.Replay(c)
		}
		if i < from || len(h.logged[i]) == 0 {
			continue
		}
		if diff := cmp.Diff(h.snapshots[i+1], s); diff != "" {
			t.Fatalf("snapshot before step %d, replayed from %d to %d (-as it was +replayed):\n%s",
				from, max(from-early, 0), i, diff)
		}
	}
}

func TestSnapshotAndTheTailAreTheMachine(t *testing.T) {
	t.Parallel()
	told := 0
	for seed := range uint64(200) {
		random := rand.New(rand.NewPCG(seed, 3))
		data := make([]byte, 304)
		for i := range data {
			data[i] = byte(random.Uint32())
		}
		h := live(t, data)
		for _, changes := range h.logged {
			told += len(changes)
		}
		for range 10 {
			h.checkReplay(t, random.IntN(len(h.logged)), random.IntN(5))
		}
		h.checkReplay(t, 0, 0)
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
	if told < 1000 {
		t.Errorf("only %d changes were told", told)
	}
}

// FuzzReplay is TestSnapshotAndTheTailAreTheMachine for any life.
func FuzzReplay(f *testing.F) {
	f.Add([]byte{1, 3, 2, 0, 0, 0, 3, 0, 7, 0, 3, 0, 7, 0, 11, 0, 3, 0, 7, 0, 11, 0, 7, 0, 11, 0}, 3, 1)
	f.Add([]byte{2, 2, 3, 0, 1, 0, 2, 0, 0, 0, 7, 0, 3, 0, 10, 0, 10, 0, 10, 0, 2, 0, 8, 0}, 0, 0)
	f.Fuzz(func(t *testing.T, data []byte, from, early int) {
		if len(data) < 8 || len(data) > 512 {
			return
		}
		h := live(t, data)
		h.checkReplay(t, int(uint(from)%uint(len(h.logged))), int(uint(early)%8))
	})
}

func TestReplay(t *testing.T) {
	t.Parallel()
	const s = time.Second
	at := func(n int) time.Time { return epoch0.Add(time.Duration(n) * s) }
	base := Snapshot{SavedAt: at(10), State: "ready", Epoch: 3, Running: true, Revision: 7, Restarts: []time.Duration{9 * s, 4 * s}}
	change := func(edit func(c *Change)) Change {
		c := Change{After: Snapshot{SavedAt: at(12), State: "dead", Phase: "backoff", Epoch: 4, Failures: 2, Revision: 8}, Restarts: 2}
		edit(&c)
		return c
	}
	for name, tt := range map[string]struct {
		c    Change
		want []time.Duration // nil: nothing changes
	}{
		"a crash":                {change(func(*Change) {}), []time.Duration{11 * s, 6 * s}},
		"a restart":              {change(func(c *Change) { c.Restarts, c.Counted = 3, true }), []time.Duration{11 * s, 6 * s, 0}},
		"one slid out":           {change(func(c *Change) { c.Restarts, c.Counted = 2, true }), []time.Duration{6 * s, 0}},
		"taken back":             {change(func(c *Change) { c.Restarts, c.TakenBack = 1, true }), []time.Duration{11 * s}},
		"reset":                  {change(func(c *Change) { c.Restarts = 0 }), []time.Duration{}},
		"known":                  {change(func(c *Change) { c.After.Revision = 7 }), nil},
		"of long ago":            {change(func(c *Change) { c.After.Revision = 2 }), nil},
		"without a revision":     {change(func(c *Change) { c.After.Revision = 0 }), nil},
		"the clock was set back": {change(func(c *Change) { c.After.SavedAt = at(2) }), []time.Duration{9 * s, 4 * s}},
		"more than are known":    {change(func(c *Change) { c.Restarts = 9 }), []time.Duration{11 * s, 6 * s}},
		"nonsense":               {change(func(c *Change) { c.Restarts, c.Counted, c.TakenBack = -5, true, true }), []time.Duration{0}},
	} {
		want := base
		if tt.want != nil {
			want = tt.c.After
			want.Restarts = append([]time.Duration(nil), tt.want...)
		}
		if diff := cmp.Diff(want, base.Replay(tt.c)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}
