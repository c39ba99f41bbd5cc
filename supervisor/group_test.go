package supervisor

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// told renders effects: an event by kind and the word that matters in it.
func told(effects []Effect) []string {
	var all []string
	for _, e := range effects {
		switch e := e.(type) {
		case Emit:
			text := string(e.Event.Kind)
			for _, key := range []string{"member_id", "in_rotation", "reason", "old_state", "new_state", "failure_count"} {
				if v, ok := e.Event.Data[key]; ok {
					text += fmt.Sprint(" ", v)
				}
			}
			if e.Event.Group != "g" {
				text += " without its group"
			}
			all = append(all, text)
		case WakeMember:
			all = append(all, "wake "+e.ID)
		case MeasureLatencies:
			all = append(all, "measure")
		}
	}
	return all
}

func wantTold(t *testing.T, effects []Effect, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, told(effects)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func takes(t *testing.T, g *Group, in GroupInput, at time.Time, want ...string) {
	t.Helper()
	next, effects := g.Step(in, at)
	*g = next
	wantTold(t, effects, want...)
}

func coldGroup(n int, edits ...func(*GroupSpec)) (Group, []Effect) {
	spec := GroupSpec{ID: "g", AutoStart: true}
	for i := range n {
		spec.Members = append(spec.Members, GroupMember{ID: fmt.Sprint("m", i)})
	}
	for _, edit := range edits {
		edit(&spec)
	}
	spec = spec.WithDefaults()
	return NewGroup(spec).Step(GroupSpecChanged{Spec: spec}, groupNow)
}

func TestEmptyGroupIsInactive(t *testing.T) {
	t.Parallel()
	g, effects := coldGroup(0)
	if g.State() != GroupInactive || g.Available() || len(effects) != 0 {
		t.Errorf("%s %v", g.State(), told(effects))
	}
}

func TestMembersStartAsTheyJoin(t *testing.T) {
	t.Parallel()
	g, effects := coldGroup(2, func(s *GroupSpec) { s.MinHealthy = 2 })
	wantTold(t, effects, "wake m0", "wake m1")
	if i, _ := g.Balance(nil).Select(Pick{}); i != 0 {
		t.Errorf("a call may wait for a first start, got %d", i)
	}
	takes(t, &g, MemberChanged{"m0", ConditionReady}, groupNow,
		"GroupMemberHealthChanged m0 true healthy_threshold_reached", "GroupStateChanged inactive partial")
	takes(t, &g, MemberChanged{"m1", ConditionReady}, groupNow,
		"GroupMemberHealthChanged m1 true healthy_threshold_reached", "GroupStateChanged partial healthy")
}

func TestWithoutAutoStartAMemberJoinsWhenItIsStarted(t *testing.T) {
	t.Parallel()
	g, effects := coldGroup(1, func(s *GroupSpec) { s.AutoStart = false })
	wantTold(t, effects)
	if i, _ := g.Balance(nil).Select(Pick{}); i != -1 {
		t.Errorf("picked %d", i)
	}
	takes(t, &g, MemberChanged{"m0", ConditionReady}, groupNow,
		"GroupMemberHealthChanged m0 true healthy_threshold_reached", "GroupStateChanged inactive healthy")
}

// TestFirstStartNeedsNoThreshold: it is for the way back after a failure.
func TestFirstStartNeedsNoThreshold(t *testing.T) {
	t.Parallel()
	g, _ := coldGroup(1, func(s *GroupSpec) { s.HealthyThreshold = 3 })
	takes(t, &g, MemberChanged{"m0", ConditionReady}, groupNow,
		"GroupMemberHealthChanged m0 true healthy_threshold_reached", "GroupStateChanged inactive healthy")
	g, _ = g.Step(MemberChanged{"m0", ConditionStopped}, groupNow)
	takes(t, &g, MemberChanged{"m0", ConditionReady}, groupNow,
		"GroupMemberHealthChanged m0 true healthy_threshold_reached", "GroupStateChanged inactive healthy")
	g, _ = g.Step(MemberChanged{"m0", ConditionFailed}, groupNow)
	takes(t, &g, MemberChanged{"m0", ConditionReady}, groupNow)
	takes(t, &g, MemberReported{"m0", true}, groupNow)
	takes(t, &g, MemberReported{"m0", true}, groupNow,
		"GroupMemberHealthChanged m0 true healthy_threshold_reached", "GroupStateChanged inactive healthy")
}

// TestMemberWithANewChanceIsTriedAtOnce: it had failed, and a reset or a new
// spec forgave it.
func TestMemberWithANewChanceIsTriedAtOnce(t *testing.T) {
	t.Parallel()
	g := groupOf([]int{1, 1})
	g, _ = g.Step(MemberChanged{"m0", ConditionFailed}, groupNow)
	takes(t, &g, MemberChanged{"m0", ConditionIdle}, groupNow, "wake m0")
}

func TestIdleStopIsNoFailure(t *testing.T) {
	t.Parallel()
	g := groupOf([]int{1})
	takes(t, &g, MemberChanged{"m0", ConditionIdle}, groupNow)
	if i, _ := g.Balance(nil).Select(Pick{}); i != 0 || g.Members[0].Failures != 0 {
		t.Errorf("picked %d, %+v", i, g.Members[0])
	}
	takes(t, &g, MemberChanged{"m0", ConditionStarting}, groupNow)
	takes(t, &g, MemberChanged{"m0", ConditionReady}, groupNow)
}

func TestStopCrashAndRecovery(t *testing.T) {
	t.Parallel()
	g := groupOf([]int{1, 1})
	takes(t, &g, MemberChanged{"m0", ConditionStopped}, groupNow, "GroupMemberHealthChanged m0 false member_stopped")
	if g.Breaker.Failures != 0 || !g.Due().IsZero() {
		t.Errorf("a wanted stop is no failure and nothing to revive: %+v, due %v", g.Breaker, g.Due())
	}
	takes(t, &g, MemberChanged{"m1", ConditionFailed}, groupNow,
		"GroupMemberHealthChanged m1 false member_failed", "GroupStateChanged healthy inactive")
	if at := g.Due(); at != groupNow.Add(DefaultBreakerReset) {
		t.Fatalf("due %v", at)
	}
	takes(t, &g, GroupTimeElapsed{}, g.Due(), "wake m1")
	takes(t, &g, MemberChanged{"m1", ConditionReady}, groupNow,
		"GroupMemberHealthChanged m1 true healthy_threshold_reached", "GroupStateChanged inactive healthy")
	if g.Breaker.Failures != 0 || g.Members[1].Back.IsZero() {
		t.Errorf("%+v %+v", g.Breaker, g.Members[1])
	}
}

func TestBreakerOpensProbesAndCloses(t *testing.T) {
	t.Parallel()
	g := groupOf([]int{1, 1}, func(s *GroupSpec) { s.BreakerThreshold = 3 })
	g, _ = g.Step(MemberChanged{"m0", ConditionFailed}, groupNow)
	takes(t, &g, MemberReported{"m1", false}, groupNow)
	takes(t, &g, MemberReported{"m1", true}, groupNow)
	if g.Breaker.Failures != 0 {
		t.Errorf("a success ends the row, got %d", g.Breaker.Failures)
	}
	takes(t, &g, MemberReported{"m1", false}, groupNow)
	takes(t, &g, MemberReported{"m1", false}, groupNow) // the panic rule: m0 is out already
	takes(t, &g, MemberReported{"m1", false}, groupNow,
		"GroupCircuitOpened 3", "CircuitBreakerStateChanged closed open", "GroupStateChanged healthy degraded")
	if i, probe := g.Balance(nil).Select(Pick{}); i != 1 || probe || g.Available() {
		t.Errorf("the breaker must not veto while a member is in rotation: %d %t", i, probe)
	}
	takes(t, &g, MemberChanged{"m1", ConditionFailed}, groupNow, "GroupMemberHealthChanged m1 false member_failed")
	if i, _ := g.Balance(nil).Select(Pick{}); i != -1 {
		t.Errorf("picked %d", i)
	}
	at := groupNow.Add(DefaultBreakerReset)
	takes(t, &g, GroupTimeElapsed{}, at, "wake m0", "wake m1",
		"CircuitBreakerStateChanged open half_open", "GroupStateChanged degraded inactive")
	takes(t, &g, MemberChanged{"m0", ConditionFailed}, at,
		"GroupCircuitOpened 4", "CircuitBreakerStateChanged half_open open", "GroupStateChanged inactive degraded")
	at = at.Add(DefaultBreakerReset)
	g, _ = g.Step(GroupTimeElapsed{}, at)
	takes(t, &g, MemberChanged{"m0", ConditionReady}, at,
		"GroupMemberHealthChanged m0 true healthy_threshold_reached",
		"GroupCircuitClosed", "CircuitBreakerStateChanged half_open closed", "GroupStateChanged inactive healthy")
}

// TestRecoveryClosesTheBreakerWithoutACall: members may be back before the
// breaker's time has come, and then nothing else would close it until the next
// call or health check.
func TestRecoveryClosesTheBreakerWithoutACall(t *testing.T) {
	t.Parallel()
	g := groupOf([]int{1}, func(s *GroupSpec) { s.BreakerThreshold = 1 })
	g, _ = g.Step(MemberChanged{"m0", ConditionFailed}, groupNow)
	g, _ = g.Step(MemberChanged{"m0", ConditionReady}, groupNow)
	if g.Wants(0) {
		t.Error("a further success is wanted")
	}
	again := g
	takes(t, &g, GroupTimeElapsed{}, g.Due(),
		"GroupCircuitClosed", "CircuitBreakerStateChanged open closed", "GroupStateChanged degraded healthy")
	again, _ = again.Step(MemberReported{"m0", false}, groupNow)
	if !again.Wants(0) {
		t.Error("a success is not wanted while the breaker is open")
	}
	takes(t, &again, GroupTimeElapsed{}, again.Due(),
		"CircuitBreakerStateChanged open half_open", "GroupStateChanged degraded healthy")
}

// TestMemberIsRevivedOnceAPeriod: also when the breaker becomes half open just
// after a try.
func TestMemberIsRevivedOnceAPeriod(t *testing.T) {
	t.Parallel()
	g := groupOf([]int{1, 1}, func(s *GroupSpec) { s.BreakerThreshold = 2 })
	g, _ = g.Step(MemberChanged{"m0", ConditionFailed}, groupNow)
	g, _ = g.Step(MemberChanged{"m1", ConditionFailed}, groupNow.Add(time.Second)) // open
	at := groupNow.Add(DefaultBreakerReset)
	takes(t, &g, GroupTimeElapsed{}, at, "wake m0")
	g, _ = g.Step(MemberChanged{"m0", ConditionFailed}, at)
	takes(t, &g, GroupTimeElapsed{}, at.Add(time.Second), "wake m1",
		"CircuitBreakerStateChanged open half_open", "GroupStateChanged degraded inactive")
	g, _ = g.Step(MemberChanged{"m1", ConditionFailed}, at.Add(time.Second))
	takes(t, &g, GroupTimeElapsed{}, at.Add(2*time.Second))
	takes(t, &g, GroupTimeElapsed{}, at.Add(DefaultBreakerReset), "wake m0")
}

// What recovers before the breaker's time is over needs no call to close it.
func TestBreakerClosesForMembersThatCameBackWhileItWasOpen(t *testing.T) {
	t.Parallel()
	g := groupOf([]int{1, 1}, func(s *GroupSpec) { s.BreakerThreshold = 2 })
	g, _ = g.Step(MemberChanged{"m0", ConditionFailed}, groupNow)
	g, _ = g.Step(MemberChanged{"m1", ConditionFailed}, groupNow)
	g, _ = g.Step(MemberChanged{"m0", ConditionReady}, groupNow)
	if g.Breaker.State() != CircuitOpen || g.InRotation() != 1 {
		t.Fatalf("%v with %d in rotation", g.Breaker, g.InRotation())
	}
	g, _ = g.Step(GroupTimeElapsed{}, groupNow.Add(DefaultBreakerReset))
	if g.Breaker.State() != CircuitClosed {
		t.Errorf("the breaker is %s though a member serves", g.Breaker.State())
	}
}

// A member that runs and was taken out gets the one probe of a half-open breaker.
func TestHalfOpenLetsOneCallThrough(t *testing.T) {
	t.Parallel()
	g := groupOf([]int{1, 1}, func(s *GroupSpec) { s.BreakerThreshold, s.BreakerReset = 2, time.Second })
	g, _ = g.Step(MemberReported{"m0", false}, groupNow)
	g, _ = g.Step(MemberReported{"m0", false}, groupNow) // out, and the breaker open
	g, _ = g.Step(MemberChanged{"m1", ConditionStopped}, groupNow)
	g.Members[0].ejectedUntil = groupNow.Add(time.Hour)
	g, _ = g.Step(GroupTimeElapsed{}, groupNow.Add(time.Second))
	b := g.Balance(nil)
	if i, probe := b.Select(Pick{}); i != 0 || !probe {
		t.Fatalf("got %d %t", i, probe)
	}
	if i, _ := b.Select(Pick{}); i != -1 {
		t.Errorf("a second probe went to %d", i)
	}
	g, _ = g.Step(MemberChanged{"m1", ConditionCold}, groupNow)
	b = g.Balance(b)
	if i, _ := b.Select(Pick{}); i != -1 {
		t.Errorf("a second probe went to %d when another member changed", i)
	}
	g, _ = g.Step(ProbeReturned{}, groupNow)
	b = g.Balance(b)
	if i, probe := b.Select(Pick{}); i != 0 || !probe {
		t.Errorf("after a probe without an outcome: %d %t", i, probe)
	}
	g, _ = g.Step(MemberReported{"m0", true}, groupNow)
	if g.Breaker.State() != CircuitClosed || !g.Members[0].InRotation {
		t.Errorf("%v %+v", g.Breaker, g.Members[0])
	}
}

func TestEjectionStopsAtHalfOfTheGroup(t *testing.T) {
	t.Parallel()
	for total, most := range map[int]int{1: 0, 2: 1, 3: 1, 5: 2, 6: 3} {
		g := groupOf(make([]int, total), func(s *GroupSpec) { s.BreakerThreshold = 1000 })
		for i := range total {
			for range 3 {
				g, _ = g.Step(MemberReported{fmt.Sprint("m", i), false}, groupNow)
			}
		}
		if out := total - g.InRotation(); out != most {
			t.Errorf("%d of %d members were ejected, want %d", out, total, most)
		}
	}
}

func TestEjectedMemberComesBack(t *testing.T) {
	t.Parallel()
	g := groupOf([]int{1, 1})
	g, _ = g.Step(MemberReported{"m0", false}, groupNow)
	takes(t, &g, MemberReported{"m0", false}, groupNow, "GroupMemberHealthChanged m0 false unhealthy_threshold_reached")
	byTime := g
	takes(t, &byTime, GroupTimeElapsed{}, g.Due(), "GroupMemberHealthChanged m0 true ejection_over")
	takes(t, &byTime, MemberReported{"m0", false}, groupNow, "GroupMemberHealthChanged m0 false unhealthy_threshold_reached")
	takes(t, &g, MemberReported{"m0", true}, groupNow, "GroupMemberHealthChanged m0 true healthy_threshold_reached")
}

func TestSlowMemberIsEjectedForAWhile(t *testing.T) {
	t.Parallel()
	g := groupOf([]int{1, 1, 1}, func(s *GroupSpec) { s.Outlier.Factor = 3 })
	takes(t, &g, GroupTimeElapsed{}, g.Due(), "measure")
	slow := []Latency{{"m0", 50, time.Millisecond}, {"m1", 50, 2 * time.Millisecond}, {"m2", 50, 7 * time.Millisecond}}
	few := g
	takes(t, &few, LatenciesMeasured{[]Latency{slow[0], slow[1], {"m2", 3, time.Hour}}}, groupNow)
	takes(t, &g, LatenciesMeasured{slow}, groupNow, "GroupMemberHealthChanged m2 false latency_outlier")
	takes(t, &g, MemberReported{"m2", true}, groupNow) // quick or not, its time is not over
	g, _ = g.Step(GroupTimeElapsed{}, groupNow.Add(DefaultOutlierEjection))
	if !g.Members[2].InRotation {
		t.Errorf("%+v", g.Members[2])
	}
}

func TestRebalanceLooksAnew(t *testing.T) {
	t.Parallel()
	g := groupOf([]int{1, 1, 1}, func(s *GroupSpec) { s.BreakerThreshold = 2 })
	g, _ = g.Step(MemberReported{"m0", false}, groupNow)
	g, _ = g.Step(MemberReported{"m0", false}, groupNow)
	g, _ = g.Step(MemberChanged{"m1", ConditionIdle}, groupNow)
	g, _ = g.Step(MemberChanged{"m2", ConditionFailed}, groupNow)
	takes(t, &g, Rebalanced{}, groupNow, "GroupMemberHealthChanged m0 true rebalanced", "wake m2",
		"GroupCircuitClosed", "CircuitBreakerStateChanged open closed", "GroupStateChanged degraded healthy")
	if g.InRotation() != 2 {
		t.Errorf("an idle member is not unhealthy: %+v", g.Members)
	}
}

func TestGroupSpecFaults(t *testing.T) {
	t.Parallel()
	for want, edit := range map[string]func(*GroupSpec){
		"group_id":          func(s *GroupSpec) { s.ID = "a b" },
		"strategy":          func(s *GroupSpec) { s.Strategy = "best" },
		"affinity":          func(s *GroupSpec) { s.Affinity = "ip" },
		"member already":    func(s *GroupSpec) { s.Members = append(s.Members, s.Members[0]) },
		"weight":            func(s *GroupSpec) { s.Members[0].Weight = 101 },
		"priority":          func(s *GroupSpec) { s.Members[0].Priority = -1 },
		"canary":            func(s *GroupSpec) { s.Canary = &Canary{"x", 5} },
		"pinned":            func(s *GroupSpec) { s.Pins = map[string]string{"p": "x"} },
		"reset_timeout_s":   func(s *GroupSpec) { s.BreakerReset = time.Millisecond },
		"failure_threshold": func(s *GroupSpec) { s.BreakerThreshold = -1 },
		"factor":            func(s *GroupSpec) { s.Outlier.Factor = 0.5 },
	} {
		spec := GroupSpec{ID: "g", Members: []GroupMember{{ID: "m"}}}.WithDefaults()
		if err := spec.Validate(); err != nil {
			t.Fatal(err)
		}
		edit(&spec)
		if err := spec.Validate(); !errors.Is(err, ErrInvalidSpec) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v", want, err)
		}
	}
}

// FuzzGroup drives a group with any inputs and holds its invariants.
func FuzzGroup(f *testing.F) {
	f.Add([]byte{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 40, 80, 120, 160, 200, 240})
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) < 2 || len(data) > 600 {
			return
		}
		total := 1 + int(data[0]%7)
		strategy := []Strategy{RoundRobin, WeightedRoundRobin, LeastConnections, RandomPick, ByPriority}[data[1]%5]
		g, _ := coldGroup(total, by(strategy), func(s *GroupSpec) {
			s.BreakerThreshold, s.Outlier.Factor = 4, 2
			if data[1]&0x80 != 0 {
				s.Canary = &Canary{"m0", int(data[1] % 101)}
			}
		})
		now := groupNow
		b := g.Balance(nil)
		for _, x := range data[2:] {
			id := fmt.Sprint("m", int(x)%total)
			before := g.InRotation()
			var in GroupInput
			switch op := x / 16; {
			case op < 6:
				in = MemberChanged{id, Condition(op)}
			case op < 11:
				in = MemberReported{id, op%2 == 0}
			case op < 12:
				in = Rebalanced{}
			case op < 13:
				in = LatenciesMeasured{[]Latency{{"m0", 30, time.Second}, {"m1", 30, time.Millisecond}, {"m2", 30, time.Millisecond}}}
			default:
				now = now.Add(20 * time.Second)
				in = GroupTimeElapsed{}
			}
			g, _ = g.Step(in, now)
			checkGroup(t, g, now, in)
			if _, report := in.(MemberReported); report && g.InRotation() < before && 2*(total-g.InRotation()) > total {
				t.Fatalf("%+v ejected past half: %d of %d in rotation", in, g.InRotation(), total)
			}
			b = g.Balance(b)
			for range 5 {
				i, probe := b.Select(Pick{Now: now, Random: func() uint64 { return mix(uint64(x)) }, InFlight: noLoad, Session: uint64(x)})
				checkPick(t, g, i, probe)
			}
		}
	})
}

func checkGroup(t *testing.T, g Group, now time.Time, in GroupInput) {
	t.Helper()
	for _, m := range g.Members {
		if m.InRotation && m.Condition != ConditionReady && m.Condition != ConditionIdle && m.Condition != ConditionStarting && m.Condition != ConditionCold {
			t.Fatalf("after %+v a member in rotation that cannot serve: %+v", in, m)
		}
		if !m.InRotation && m.Condition == ConditionFailed && m.reviveAt.IsZero() {
			t.Fatalf("after %+v nothing revives %+v", in, m)
		}
	}
	if at := g.Due(); !at.IsZero() && !at.After(now) {
		if _, elapsed := in.(GroupTimeElapsed); elapsed {
			t.Fatalf("due %v at %v after the time was given", at, now)
		}
	}
	if g.Breaker.State() == CircuitOpen && g.Due().IsZero() {
		t.Fatal("an open breaker that never ends")
	}
}

func checkPick(t *testing.T, g Group, i int, probe bool) {
	t.Helper()
	switch n := g.InRotation(); {
	case i < 0 && n > 0:
		t.Fatalf("no pick with %d in rotation", n)
	case i < 0:
	case n > 0 && !g.Members[i].InRotation:
		t.Fatalf("picked %+v with %d in rotation", g.Members[i], n)
	case n == 0 && !probe && g.Members[i].Condition != ConditionStarting:
		t.Fatalf("picked %+v", g.Members[i])
	case probe && (g.Breaker.State() != CircuitHalfOpen || g.Members[i].Condition != ConditionReady):
		t.Fatalf("a probe of %+v, breaker %s", g.Members[i], g.Breaker.State())
	}
}

// TestGroupStateIsTheContracts is the table of reference section 4.3.
func TestGroupStateIsTheContracts(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		in, minHealthy int
		circuit        CircuitState
		state          GroupState
		available      bool
	}{
		{0, 1, CircuitClosed, GroupInactive, false},
		{1, 1, CircuitClosed, GroupHealthy, true},
		{1, 2, CircuitClosed, GroupPartial, true},
		{2, 2, CircuitClosed, GroupHealthy, true},
		{0, 1, CircuitOpen, GroupDegraded, false},
		{1, 2, CircuitOpen, GroupDegraded, false},
		{2, 1, CircuitOpen, GroupDegraded, false},
		{0, 1, CircuitHalfOpen, GroupInactive, false},
		{1, 2, CircuitHalfOpen, GroupPartial, true},
		{1, 1, CircuitHalfOpen, GroupHealthy, true},
	} {
		g := Group{Spec: GroupSpec{MinHealthy: c.minHealthy}, Members: make([]Member, 2), Breaker: Breaker{state: c.circuit}}
		for i := range c.in {
			g.Members[i].InRotation = true
		}
		if g.State() != c.state || g.Available() != c.available {
			t.Errorf("%+v: got %s, available %t", c, g.State(), g.Available())
		}
	}
}

// TestGroupDefaultsAreTheContracts: those of reference section 4.2.
func TestGroupDefaultsAreTheContracts(t *testing.T) {
	t.Parallel()
	got := GroupSpec{Members: []GroupMember{{ID: "m"}}}.WithDefaults()
	if got.Strategy != "round_robin" || got.MinHealthy != 1 || got.UnhealthyThreshold != 2 || got.HealthyThreshold != 1 ||
		got.BreakerThreshold != 10 || got.BreakerReset != time.Minute || got.Members[0].Weight != 1 || got.Members[0].Priority != 1 {
		t.Errorf("got %+v", got)
	}
}
