package supervisor

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
)

var groupNow = time.Date(2026, 3, 23, 10, 0, 0, 0, time.UTC)

// groupOf is a group whose members m0, m1, … are ready; edits change its spec.
func groupOf(weights []int, edits ...func(*GroupSpec)) Group {
	spec := GroupSpec{ID: "g", AutoStart: true}
	known := map[string]Condition{}
	for i, w := range weights {
		id := fmt.Sprint("m", i)
		spec.Members = append(spec.Members, GroupMember{ID: id, Weight: w})
		known[id] = ConditionReady
	}
	for _, edit := range edits {
		edit(&spec)
	}
	spec = spec.WithDefaults()
	g, _ := NewGroup(spec).Step(GroupSpecChanged{spec, known}, groupNow)
	return g
}

func by(s Strategy) func(*GroupSpec) { return func(spec *GroupSpec) { spec.Strategy = s } }

func selects(b *Balancer, n int, p Pick) (order string, counts map[int]int) {
	counts = map[int]int{}
	var names strings.Builder
	for range n {
		p.Random = rand.Uint64
		i, _ := b.Select(p)
		counts[i]++
		fmt.Fprint(&names, i)
	}
	return names.String(), counts
}

func noLoad(int) int { return 0 }

func TestRoundRobinTakesTurns(t *testing.T) {
	t.Parallel()
	if order, _ := selects(groupOf([]int{1, 9, 1}).Balance(nil), 7, Pick{}); order != "0120120" {
		t.Errorf("got %s", order)
	}
}

func TestRoundRobinCountsAreExact(t *testing.T) {
	t.Parallel()
	for members := 1; members <= MaxMembers; members++ {
		b := groupOf(make([]int, members)).Balance(nil)
		for round := range 3 {
			order, counts := selects(b, members, Pick{})
			for i := range members {
				if counts[i] != 1 {
					t.Fatalf("%d members, round %d: %s", members, round, order)
				}
			}
		}
	}
}

// TestSelectNeverLeavesTheRotation: whatever a caller asks for, and whatever is
// to be left out, only a member in rotation is picked, and one is picked as
// long as one is left.
func TestSelectNeverLeavesTheRotation(t *testing.T) {
	t.Parallel()
	for seed := range uint64(300) {
		random := rand.New(rand.NewPCG(seed, 3))
		weights := make([]int, 1+random.IntN(MaxMembers))
		for i := range weights {
			weights[i] = 1 + random.IntN(MaxWeight)
		}
		anyone := func() string { return fmt.Sprint("m", random.IntN(len(weights))) }
		g := groupOf(weights, by([]Strategy{RoundRobin, WeightedRoundRobin, LeastConnections, RandomPick, ByPriority}[seed%5]), func(s *GroupSpec) {
			for i := range s.Members {
				s.Members[i].Priority = 1 + random.IntN(4)
			}
			if random.IntN(2) == 0 {
				s.Canary = &Canary{anyone(), random.IntN(101)}
			}
			if random.IntN(2) == 0 {
				s.Affinity = AffinitySession
			}
			s.Pins = map[string]string{"alice": anyone()}
		})
		for i := range weights {
			if random.IntN(3) == 0 {
				to := []Condition{ConditionStopped, ConditionFailed, ConditionIdle}[random.IntN(3)]
				g, _ = g.Step(MemberChanged{fmt.Sprint("m", i), to}, groupNow)
			}
		}
		b := g.Balance(nil)
		for range 20 {
			p := Pick{Now: groupNow, Random: random.Uint64, InFlight: func(int) int { return random.IntN(9) }}
			if random.IntN(2) == 0 {
				p.Session, p.Principal = random.Uint64(), "alice"
			}
			for range random.IntN(len(weights) + 1) {
				p.Except = append(p.Except, anyone())
			}
			left := slices.ContainsFunc(g.Members, func(m Member) bool { return m.InRotation && !slices.Contains(p.Except, m.ID) })
			switch i, probe := b.Select(p); {
			case i < 0 && left:
				t.Fatalf("seed %d: none was picked", seed)
			case i >= 0 && (!g.Members[i].InRotation || probe || slices.Contains(p.Except, g.Members[i].ID)):
				t.Fatalf("seed %d: picked %+v without %v", seed, g.Members[i], p.Except)
			}
		}
	}
}

// TestSelectLooksAtEachMemberOnce, where that can be counted.
func TestSelectLooksAtEachMemberOnce(t *testing.T) {
	t.Parallel()
	b := groupOf(make([]int, MaxMembers), by(LeastConnections)).Balance(nil)
	looks, draws := 0, 0
	p := Pick{InFlight: func(int) int { looks++; return 0 }, Random: func() uint64 { draws++; return 7 }}
	b.Select(p)
	groupOf(make([]int, MaxMembers), by(RandomPick)).Balance(nil).Select(p)
	if looks != MaxMembers || draws != 1 {
		t.Errorf("%d loads of %d members, %d random numbers", looks, MaxMembers, draws)
	}
}

// TestCallsThatLeaveSomebodyOutAreSharedToo: their turns must not beat with
// those of the calls in between, which everybody may get.
func TestCallsThatLeaveSomebodyOutAreSharedToo(t *testing.T) {
	t.Parallel()
	for _, strategy := range []Strategy{RoundRobin, ByPriority} {
		b := groupOf([]int{1, 1, 1}, by(strategy)).Balance(nil)
		counts := map[int]int{}
		for range 60 {
			b.Select(Pick{})
			i, _ := b.Select(Pick{Except: []string{"m0"}})
			counts[i]++
		}
		if counts[0] != 0 || counts[1] < 20 || counts[2] < 20 {
			t.Errorf("%s: %v of 60 calls that only two members may get", strategy, counts)
		}
	}
}

func TestSmoothWeightedRoundRobinSpreadsAHeavyMember(t *testing.T) {
	t.Parallel()
	if order, _ := selects(groupOf([]int{5, 1, 1}, by(WeightedRoundRobin)).Balance(nil), 7, Pick{}); order != "0010200" {
		t.Errorf("got %s, want the contract's a a b a c a a", order)
	}
}

func TestWeightedRoundRobinCountsAreExact(t *testing.T) {
	t.Parallel()
	for seed := range uint64(300) {
		random := rand.New(rand.NewPCG(seed, 1))
		weights, total := []int{}, 0
		for range 1 + random.IntN(12) {
			w := 1 + random.IntN(MaxWeight)
			weights, total = append(weights, w), total+w
		}
		b := groupOf(weights, by(WeightedRoundRobin)).Balance(nil)
		for round := range 2 {
			_, counts := selects(b, total, Pick{})
			for i, w := range weights {
				if counts[i] != w {
					t.Fatalf("weights %v, round %d: member %d was picked %d times", weights, round, i, counts[i])
				}
			}
		}
	}
}

func TestRandomPickFollowsTheWeights(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 2))
	weights := []int{1, 2, 3, 94}
	b := groupOf(weights, by(RandomPick)).Balance(nil)
	counts := make([]float64, len(weights))
	const n = 200_000
	for range n {
		i, _ := b.Select(Pick{Random: random.Uint64})
		counts[i]++
	}
	chi := 0.0
	for i, w := range weights {
		want := float64(n*w) / 100
		chi += (counts[i] - want) * (counts[i] - want) / want
	}
	if chi > 16.27 { // 3 degrees of freedom, 0.1 %
		t.Errorf("picked %v, chi square %.1f", counts, chi)
	}
}

func TestLeastConnectionsTakesTheLeastLoadedThenTheLeastRecentlyPicked(t *testing.T) {
	t.Parallel()
	load := []int{2, 0, 1}
	b := groupOf([]int{1, 1, 1}, by(LeastConnections)).Balance(nil)
	p := Pick{InFlight: func(i int) int { return load[i] }}
	var got []int
	for range 6 {
		i, _ := b.Select(p)
		load[i]++
		got = append(got, i)
	}
	if !slices.Equal(got, []int{1, 2, 1, 0, 2, 1}) {
		t.Errorf("got %v", got)
	}
}

func TestPriorityTakesTurnsInsideTheFirstTier(t *testing.T) {
	t.Parallel()
	g := groupOf([]int{1, 1, 1, 1}, by(ByPriority), func(s *GroupSpec) {
		s.Members[0].Priority, s.Members[1].Priority, s.Members[2].Priority, s.Members[3].Priority = 2, 1, 1, 3
	})
	if order, _ := selects(g.Balance(nil), 4, Pick{}); order != "1212" {
		t.Errorf("got %s", order)
	}
	g, _ = g.Step(MemberChanged{"m1", ConditionFailed}, groupNow)
	g, _ = g.Step(MemberChanged{"m2", ConditionFailed}, groupNow)
	if order, _ := selects(g.Balance(nil), 3, Pick{}); order != "000" {
		t.Errorf("without the first tier: got %s", order)
	}
}

func TestStrategyChangeActsAtOnce(t *testing.T) {
	t.Parallel()
	g := groupOf([]int{1, 3})
	b := g.Balance(nil)
	selects(b, 3, Pick{})
	spec := g.Spec
	spec.Strategy = WeightedRoundRobin
	g, _ = g.Step(GroupSpecChanged{Spec: spec}, groupNow)
	if _, counts := selects(g.Balance(b), 8, Pick{}); counts[0] != 2 || counts[1] != 6 {
		t.Errorf("got %v", counts)
	}
}

func TestRebalanceBeginsTheTurnsAnew(t *testing.T) {
	t.Parallel()
	for _, strategy := range []Strategy{RoundRobin, LeastConnections} {
		g := groupOf([]int{1, 1, 1}, by(strategy))
		b := g.Balance(nil)
		selects(b, 2, Pick{InFlight: noLoad})
		g, _ = g.Step(Rebalanced{}, groupNow)
		b = g.Balance(b)
		if order, _ := selects(b, 2, Pick{InFlight: noLoad}); order != "01" {
			t.Errorf("%s: %s", strategy, order)
		}
		if order, _ := selects(g.Balance(b), 1, Pick{InFlight: noLoad}); order != "2" {
			t.Errorf("%s: %s in the turn after a later change", strategy, order)
		}
	}
}

func TestSessionsKeepTheirMember(t *testing.T) {
	t.Parallel()
	sticky := func(s *GroupSpec) { s.Affinity = AffinitySession }
	g := groupOf([]int{1, 1, 2}, sticky)
	b := g.Balance(nil)
	counts := make([]int, 3)
	first := map[uint64]int{}
	for session := uint64(1); session <= 4000; session++ {
		i, _ := b.Select(Pick{Session: session})
		if again, _ := b.Select(Pick{Session: session}); again != i {
			t.Fatalf("session %d went to %d and %d", session, i, again)
		}
		counts[i]++
		first[session] = i
	}
	if counts[0] < 850 || counts[0] > 1150 || counts[2] < 1850 || counts[2] > 2150 {
		t.Errorf("4000 sessions over weights 1 1 2: %v", counts)
	}
	g, _ = g.Step(MemberChanged{"m0", ConditionFailed}, groupNow)
	b = g.Balance(b)
	for session, was := range first {
		if now, _ := b.Select(Pick{Session: session}); now == 0 || was != 0 && now != was {
			t.Fatalf("session %d moved from %d to %d, and only member 0 left", session, was, now)
		}
	}
	if order, _ := selects(b, 4, Pick{}); order != "1212" {
		t.Errorf("calls without a session: %s, want round robin", order)
	}
}

func TestCanaryGetsExactlyItsShare(t *testing.T) {
	t.Parallel()
	for _, percent := range []int{0, 1, 7, 50, 100} {
		g := groupOf([]int{1, 1, 1}, func(s *GroupSpec) { s.Canary = &Canary{"m2", percent} })
		if _, counts := selects(g.Balance(nil), 1000, Pick{}); counts[2] != 10*percent {
			t.Errorf("%d %%: the canary got %d of 1000", percent, counts[2])
		}
	}
	g := groupOf([]int{1, 1, 1}, func(s *GroupSpec) { s.Canary = &Canary{"m2", 50} })
	if _, counts := selects(g.Balance(nil), 1000, Pick{Except: []string{"m0"}}); counts[2] != 500 {
		t.Errorf("of a tool that m0 lacks the canary got %d of 1000 calls", counts[2])
	}
	if _, counts := selects(g.Balance(nil), 1000, Pick{Except: []string{"m0"}, Again: true}); counts[2] != 0 {
		t.Errorf("of calls that failed elsewhere the canary got %d", counts[2])
	}
	b, canary := g.Balance(nil), 0
	for range 500 {
		if i, _ := b.Select(Pick{}); i == 2 {
			canary++
		}
		b.Select(Pick{Except: []string{"m2"}}) // of a tool that the canary lacks
	}
	if canary != 250 {
		t.Errorf("the canary got %d of the 500 calls that it can take", canary)
	}
	g = groupOf([]int{1, 1}, func(s *GroupSpec) { s.Canary = &Canary{"m1", 0} })
	g, _ = g.Step(MemberChanged{"m0", ConditionFailed}, groupNow)
	if i, _ := g.Balance(nil).Select(Pick{}); i != 1 {
		t.Errorf("alone in rotation the canary must serve, got %d", i)
	}
}

func TestPrincipalsGoWhereTheyArePinned(t *testing.T) {
	t.Parallel()
	g := groupOf([]int{1, 1, 1}, func(s *GroupSpec) { s.Pins = map[string]string{"alice": "m2"} })
	if order, _ := selects(g.Balance(nil), 3, Pick{Principal: "alice"}); order != "222" {
		t.Errorf("got %s", order)
	}
	g, _ = g.Step(MemberChanged{"m2", ConditionFailed}, groupNow)
	if order, _ := selects(g.Balance(nil), 3, Pick{Principal: "alice"}); order != "010" {
		t.Errorf("with the member out: got %s", order)
	}
}

func TestSlowStartGrowsToTheWeight(t *testing.T) {
	t.Parallel()
	g := groupOf([]int{1, 1}, by(WeightedRoundRobin))
	g, _ = g.Step(MemberChanged{"m1", ConditionFailed}, groupNow)
	g, _ = g.Step(MemberChanged{"m1", ConditionReady}, groupNow)
	share := func(after time.Duration) int {
		_, counts := selects(g.Balance(nil), 110, Pick{Now: groupNow.Add(after)})
		return counts[1]
	}
	if got := share(0); got != 10 {
		t.Errorf("at once: %d of 110, want a tenth of the other's", got)
	}
	if early, late := share(3*time.Second), share(7*time.Second); early <= 10 || late <= early || late >= 55 {
		t.Errorf("growing: %d, then %d of 110", early, late)
	}
	if got := share(DefaultSlowStart); got != 55 {
		t.Errorf("at the end: %d of 110", got)
	}
}

func TestRetryBudgetHoldsTheShare(t *testing.T) {
	t.Parallel()
	b := NewRetryBudget()
	retries := 0
	const calls = 10_000
	for range calls {
		b.Called()
		for b.Take() {
			retries++
		}
	}
	if retries > calls/5+retryReserve || retries < calls/5 {
		t.Errorf("%d retries for %d calls", retries, calls)
	}
	for range calls {
		b.Called()
	}
	burst := 0
	for b.Take() {
		burst++
	}
	if burst != retryMost {
		t.Errorf("a calm time saved %d retries, want %d", burst, retryMost)
	}
}

func TestSelectAllocatesNothing(t *testing.T) {
	usual := Pick{Now: groupNow, Random: rand.Uint64, InFlight: noLoad}
	pinned, without, session := usual, usual, usual
	pinned.Principal, without.Except, session.Session = "alice", []string{"m0"}, 42
	for _, strategy := range []Strategy{RoundRobin, WeightedRoundRobin, LeastConnections, RandomPick, ByPriority} {
		plain := groupOf([]int{1, 2, 3}, by(strategy))
		all := groupOf([]int{1, 2, 3}, by(strategy), func(s *GroupSpec) {
			s.Canary, s.Affinity, s.Pins = &Canary{"m2", 10}, AffinitySession, map[string]string{"alice": "m1"}
		})
		all, _ = all.Step(MemberChanged{"m0", ConditionFailed}, groupNow)
		all, _ = all.Step(MemberChanged{"m0", ConditionReady}, groupNow) // slow start
		for name, p := range map[string]Pick{"usual": usual, "pinned": pinned, "without": without, "session": session} {
			for _, b := range []*Balancer{plain.Balance(nil), all.Balance(nil)} {
				if n := testing.AllocsPerRun(200, func() { b.Select(p) }); n != 0 {
					t.Errorf("%s, %s: %v allocations", strategy, name, n)
				}
			}
		}
	}
}

func BenchmarkSelect(b *testing.B) {
	for _, strategy := range []Strategy{RoundRobin, WeightedRoundRobin, LeastConnections, RandomPick, ByPriority} {
		b.Run(string(strategy), func(b *testing.B) {
			balancer := groupOf([]int{1, 2, 3}, by(strategy)).Balance(nil)
			b.ReportAllocs()
			for b.Loop() {
				balancer.Select(Pick{Now: groupNow, Random: rand.Uint64, InFlight: noLoad})
			}
		})
	}
}
