package supervisor

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// groupShell carries the orders of a GroupRestart out and writes down what
// happens: -x stop, +x start.
type groupShell struct {
	t         *testing.T
	g         *Graph
	r         *GroupRestart
	up        map[string]bool
	temporary map[string]bool
	held      map[string]bool
	starting  []string
	log       []string
}

func newGroupShell(t *testing.T, fleet string, up ...string) *groupShell {
	g := mustGraph(t, fleet)
	s := &groupShell{
		t: t, g: g, r: NewGroupRestart(g), up: map[string]bool{}, temporary: map[string]bool{}, held: map[string]bool{},
	}
	for _, id := range up {
		s.up[id] = true
	}
	return s
}

func (s *groupShell) carryOut(orders []RestartOrder) {
	for _, o := range orders {
		if o.Stop {
			if !s.up[o.Server] && !slices.Contains(s.starting, o.Server) {
				s.t.Errorf("stop of %s, which is not up", o.Server)
			}
			delete(s.up, o.Server)
			s.starting = slices.DeleteFunc(s.starting, func(id string) bool { return id == o.Server })
			s.log = append(s.log, "-"+o.Server)
			if !s.temporary[o.Server] {
				s.wants(o.Server)
			}
			s.carryOut(s.r.Stopped(o.Server, s.held[o.Server]))
			continue
		}
		if !s.held[o.Server] {
			s.t.Errorf("%s is let through and does not want to start", o.Server)
		}
		delete(s.held, o.Server)
		s.start(o.Server)
	}
}

func (s *groupShell) start(id string) {
	s.log = append(s.log, "+"+id)
	s.starting = append(s.starting, id)
}

// wants is a server's wish to start: it is held, or it starts.
func (s *groupShell) wants(id string) {
	held, orders := s.r.WantsStart(id)
	if held {
		s.held[id] = true
	} else {
		s.start(id)
	}
	s.carryOut(orders)
}

func (s *groupShell) crash(id string, strategy RestartStrategy) {
	delete(s.up, id)
	s.carryOut(s.r.Crash(id, s.g.Reach(id, strategy), func(id string) bool {
		return s.up[id] || slices.Contains(s.starting, id)
	}))
}

// started lets every start succeed, until none is left.
func (s *groupShell) started() {
	for len(s.starting) > 0 {
		id := s.starting[0]
		s.starting = s.starting[1:]
		s.up[id] = true
		s.carryOut(s.r.Ended(id, OutcomeUp))
	}
}

func (s *groupShell) want(log string) {
	s.t.Helper()
	if got := strings.Join(s.log, " "); got != log {
		s.t.Errorf("got %q, want %q", got, log)
	}
	s.log = nil
}

// R06: who is stopped and started, in which order.
func TestR06GroupRestartOrder(t *testing.T) {
	t.Parallel()
	const fleet = "web api,cache; api db; db; cache; job db; lone"
	for _, tt := range []struct {
		id       string
		strategy RestartStrategy
		want     string
	}{
		{"db", OneForOne, "+db"},
		{"db", RestForOne, "-job -web -api +db +api +web +job"},
		{"db", AllForOne, "-job -web -cache -api +db +api +cache +web +job"},
		{"api", RestForOne, "-web +api +web"},
		{"api", AllForOne, "-job -web -cache -db +db +api +cache +web +job"},
		{"web", RestForOne, "+web"},
		{"web", AllForOne, "-job -cache -api -db +db +api +cache +web +job"},
		{"lone", AllForOne, "+lone"},
	} {
		t.Run(fmt.Sprint(tt.id, " ", tt.strategy), func(t *testing.T) {
			t.Parallel()
			s := newGroupShell(t, fleet, "web", "api", "db", "cache", "job", "lone")
			s.crash(tt.id, tt.strategy)
			s.wants(tt.id)
			s.started()
			s.want(tt.want)
			if !s.r.Done() {
				t.Error("it is not done")
			}
		})
	}
}

func TestGroupRestartWaitsForTheBackoff(t *testing.T) {
	t.Parallel()
	s := newGroupShell(t, "db; api db; web api", "db", "api", "web")
	s.crash("db", RestForOne)
	s.want("-web -api") // at once: what they stand on is gone
	s.wants("db")       // the backoff is over
	s.want("+db")
	s.starting = nil
	s.carryOut(s.r.Ended("db", OutcomeRetrying)) // the start failed, another is planned
	s.want("")
	s.wants("db")
	s.started()
	s.want("+db +api +web")
}

func TestGroupRestartLeavesColdAndTemporaryServersDown(t *testing.T) {
	t.Parallel()
	s := newGroupShell(t, "db; api db; web api; job db", "db", "api", "job")
	s.temporary["api"] = true
	s.crash("db", RestForOne)
	s.wants("db")
	s.started()
	s.want("-job -api +db +job")
}

func TestCallOfAColdMemberWaitsForItsTurn(t *testing.T) {
	t.Parallel()
	s := newGroupShell(t, "db; api db; web api", "db", "web")
	s.crash("db", RestForOne)
	s.wants("api") // cold until now
	s.want("-web")
	s.wants("db")
	s.want("+db")
	s.started()
	s.want("+api +web")
}

func TestCrashOfAMemberBeginsAgain(t *testing.T) {
	t.Parallel()
	s := newGroupShell(t, "db; api db; web api", "db", "api", "web")
	s.crash("db", RestForOne)
	s.wants("db")
	s.want("-web -api +db")
	s.starting, s.up["db"] = nil, true
	s.carryOut(s.r.Ended("db", OutcomeUp))
	s.want("+api")
	s.starting, s.up["api"] = nil, true
	s.carryOut(s.r.Ended("api", OutcomeUp))
	s.want("+web")
	s.crash("db", RestForOne)
	s.want("-web -api")
	s.wants("db")
	s.started()
	s.want("+db +api +web")
}

func TestGivingUpTakesMembersOut(t *testing.T) {
	t.Parallel()
	s := newGroupShell(t, "db; cache; api db; web api,cache", "db", "cache", "api", "web")
	s.crash("db", RestForOne)
	s.crash("cache", RestForOne)
	s.want("-web -api")
	s.carryOut(s.r.Ended("db", OutcomeDown))
	s.carryOut(s.r.Leave("db", "api", "web"))
	s.want("")
	s.wants("cache")
	s.started()
	s.want("+cache")
	if !s.r.Done() || s.r.Has("web") || !s.r.Has("cache") || s.r.Recovers("cache") {
		t.Errorf("%+v", s.r)
	}
}

// TestRandomGroupRestarts plays crashes, wishes and outcomes over random
// graphs: nothing starts before what it needs is up or given up for the turn,
// nothing is stopped while a dependent of it among the members is up, and it
// always comes to an end.
func TestRandomGroupRestarts(t *testing.T) {
	t.Parallel()
	for seed := range uint64(300) {
		random := rand.New(rand.NewPCG(seed, 11))
		specs := randomFleet(random)
		g, err := NewGraph(specs)
		if g == nil || err != nil {
			continue
		}
		s := &groupShell{t: t, g: g, r: NewGroupRestart(g), up: map[string]bool{}, temporary: map[string]bool{}, held: map[string]bool{}}
		for _, spec := range specs {
			s.up[spec.ID] = random.IntN(4) > 0
		}
		for range 40 {
			s.play(random, specs[random.IntN(len(specs))].ID)
		}
		s.finish(specs)
		if t.Failed() {
			t.Fatalf("seed %d: %v", seed, s.log)
		}
	}
}

func (s *groupShell) play(random *rand.Rand, id string) {
	strategy := [...]RestartStrategy{RestForOne, AllForOne}[random.IntN(2)]
	switch i := slices.Index(s.starting, id); {
	case s.up[id] && random.IntN(3) == 0:
		s.crash(id, strategy)
	case i >= 0:
		s.starting = slices.Delete(s.starting, i, i+1)
		how := Outcome(1 + random.IntN(3))
		s.up[id] = how == OutcomeUp
		s.carryOut(s.r.Ended(id, how))
	case !s.up[id] && !s.held[id] && s.r.Has(id):
		s.wants(id)
	}
	for _, id := range s.starting {
		for _, above := range s.g.Above(id) {
			if s.r.Has(id) && s.r.members[id] == isStarting && s.r.members[above] == isStarting {
				s.t.Errorf("%s and %s, which needs it, start at one time", id, above)
			}
		}
	}
}

// finish lets everything that crashed want to come back, and succeed.
func (s *groupShell) finish(specs []ServerSpec) {
	for range 3 * len(specs) {
		for _, spec := range specs {
			if s.r.members[spec.ID] == isAwaited && !slices.Contains(s.starting, spec.ID) {
				s.wants(spec.ID)
			}
		}
		s.started()
	}
	if !s.r.Done() || len(s.held) > 0 {
		s.t.Errorf("it does not end: %+v, held %v", s.r, s.held)
	}
}
