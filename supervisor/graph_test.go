package supervisor

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// fleetOf reads "db; api db; web api,cache": a server and what it depends on.
func fleetOf(text string) []ServerSpec {
	var specs []ServerSpec
	for _, entry := range strings.Split(text, ";") {
		id, needs, _ := strings.Cut(strings.TrimSpace(entry), " ")
		s := ServerSpec{ID: id}
		if needs != "" {
			s.DependsOn = strings.Split(needs, ",")
		}
		specs = append(specs, s)
	}
	return specs
}

func mustGraph(t *testing.T, text string) *Graph {
	t.Helper()
	g, err := NewGraph(fleetOf(text))
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// TestReach is the table of who is concerned by a restart, per strategy, over
// a chain, a diamond, a fork, a lone server and two groups.
func TestReach(t *testing.T) {
	t.Parallel()
	const fleet = "web api,cache; api db; db; cache; lone; job db; mail; post mail"
	for _, tt := range []struct{ id, rest, all string }{
		{"db", "api web job", "api cache web job"},
		{"api", "web", "db cache web job"},
		{"web", "", "db api cache job"},
		{"cache", "web", "db api web job"},
		{"job", "", "db api cache web"},
		{"lone", "", ""},
		{"mail", "post", "post"},
		{"post", "", "mail"},
		{"nobody", "", ""},
	} {
		g := mustGraph(t, fleet)
		for strategy, want := range map[RestartStrategy]string{OneForOne: "", RestForOne: tt.rest, AllForOne: tt.all} {
			got := g.Reach(tt.id, strategy)
			if diff := cmp.Diff(strings.Fields(want), got, cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("%s of %s (-want +got):\n%s", strategy, tt.id, diff)
			}
		}
	}
}

func TestGraphNeighbours(t *testing.T) {
	t.Parallel()
	g := mustGraph(t, "web api,cache; api db; db; cache; lone")
	for id, want := range map[string]string{
		"web": "needs [api cache] above []", "api": "needs [db] above [web]",
		"db": "needs [] above [api web]", "lone": "needs [] above []",
	} {
		if got := fmt.Sprint("needs ", g.needs[id], " above ", g.Above(id)); got != want {
			t.Errorf("%s: %s, want %s", id, got, want)
		}
		if g.Linked(id) != (id != "lone") {
			t.Errorf("Linked(%s) = %v", id, g.Linked(id))
		}
	}
	if got := g.Dependents("db"); !slices.Equal(got, []string{"api"}) {
		t.Errorf("dependents of db: %v", got)
	}
}

func TestFleetWithoutDependenciesHasNoGraph(t *testing.T) {
	t.Parallel()
	g, err := NewGraph(fleetOf("a; b"))
	if g != nil || err != nil {
		t.Fatalf("%v %v", g, err)
	}
	if g.Linked("a") || g.Dependents("a") != nil ||
		g.Above("a") != nil || g.Group("a") != nil || g.Reach("a", AllForOne) != nil {
		t.Error("a nil graph links something")
	}
}

func TestGraphFaults(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"a b; b a":           "depends_on goes in a circle: a -> b -> a",
		"a a":                "depends_on goes in a circle: a -> a",
		"x a; a b; b c; c a": "depends_on goes in a circle: a -> b -> c -> a",
		"a nobody":           `"a" depends on "nobody", which is no server`,
		"a x,y":              "\"a\" depends on \"x\", which is no server\ninvalid spec: \"a\" depends on \"y\", which is no server",
	} {
		g, err := NewGraph(fleetOf(text))
		if !errors.Is(err, ErrInvalidSpec) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", text, err, want)
		}
		if g == nil || len(g.order) != len(fleetOf(text)) {
			t.Errorf("%s: the graph that comes with the error is %+v", text, g)
		}
	}
}

// TestRandomGraphs checks what must hold of every graph, on many of them, with
// cycles and unknown names among them.
func TestRandomGraphs(t *testing.T) {
	t.Parallel()
	for seed := range uint64(300) {
		random := rand.New(rand.NewPCG(seed, 7))
		specs := randomFleet(random)
		g, err := NewGraph(specs)
		if g == nil {
			continue
		}
		if err == nil != acyclic(specs) {
			t.Fatalf("seed %d: err %v, acyclic %v", seed, err, acyclic(specs))
		}
		checkGraph(t, seed, g, specs)
	}
}

func randomFleet(random *rand.Rand) []ServerSpec {
	n := 1 + random.IntN(12)
	specs := make([]ServerSpec, n)
	for i := range specs {
		specs[i].ID = fmt.Sprint("s", i)
		for j := range n {
			if random.IntN(n) == 0 && (j < i || random.IntN(4) == 0) {
				specs[i].DependsOn = append(specs[i].DependsOn, fmt.Sprint("s", j))
			}
		}
	}
	return specs
}

// acyclic takes away whoever depends on nothing that is left: another way
// than the graph's own.
func acyclic(specs []ServerSpec) bool {
	left := map[string][]string{}
	for _, s := range specs {
		left[s.ID] = s.DependsOn
	}
	for range specs {
		for id, needs := range left {
			if !slices.ContainsFunc(needs, func(need string) bool { _, ok := left[need]; return ok }) {
				delete(left, id)
			}
		}
	}
	return len(left) == 0
}

func checkGraph(t *testing.T, seed uint64, g *Graph, specs []ServerSpec) {
	t.Helper()
	for _, s := range specs {
		for _, need := range g.needs[s.ID] {
			if g.rank[need] >= g.rank[s.ID] {
				t.Errorf("seed %d: %s starts before %s, which it needs", seed, s.ID, need)
			}
			if !slices.Contains(g.Dependents(need), s.ID) || !slices.Contains(g.Above(need), s.ID) {
				t.Errorf("seed %d: %s is no dependent of %s", seed, s.ID, need)
			}
		}
		for _, strategy := range []RestartStrategy{OneForOne, RestForOne, AllForOne} {
			reach := g.Reach(s.ID, strategy)
			if slices.Contains(reach, s.ID) || !slices.Equal(reach, g.InStartOrder(reach)) {
				t.Errorf("seed %d: %s of %s reaches %v", seed, strategy, s.ID, reach)
			}
		}
		for _, other := range g.Group(s.ID) {
			if !slices.Contains(g.Group(other), s.ID) {
				t.Errorf("seed %d: %s and %s disagree about their group", seed, s.ID, other)
			}
		}
	}
}

func TestLongChain(t *testing.T) {
	t.Parallel()
	const n = 10000
	specs := make([]ServerSpec, n)
	for i := range specs { // each needs the next: the worst order for a walk
		specs[i].ID = fmt.Sprint("s", i)
		if i+1 < n {
			specs[i].DependsOn = []string{fmt.Sprint("s", i+1)}
		}
	}
	g, err := NewGraph(specs)
	if err != nil || len(g.Above(fmt.Sprint("s", n-1))) != n-1 {
		t.Fatalf("%v", err)
	}
	specs[n-1].DependsOn = []string{"s0"}
	if _, err := NewGraph(specs); err == nil || !strings.Contains(err.Error(), "circle: s0 -> s1") {
		t.Fatalf("%.200v", err)
	}
}
