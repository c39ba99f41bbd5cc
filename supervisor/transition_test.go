package supervisor

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var allStates = []State{Cold, Initializing, Ready, Degraded, Dead}

// chartEdge matches one line of the chart in doc.go; a line without a state in
// front goes on with the state of the line above.
var chartEdge = regexp.MustCompile(`^//\t([a-z]*) *-+> ([a-z]+)  +\S`)

func TestChartIsTheTransitionTable(t *testing.T) {
	t.Parallel()
	source, err := os.ReadFile("doc.go")
	if err != nil {
		t.Fatal(err)
	}
	var chart []string
	from := ""
	for line := range strings.Lines(string(source)) {
		edge := chartEdge.FindStringSubmatch(line)
		if edge == nil {
			continue
		}
		if edge[1] != "" {
			from = edge[1]
		}
		chart = append(chart, from+"->"+edge[2])
	}
	slices.Sort(chart)
	if diff := cmp.Diff(legalEdges(), chart); diff != "" {
		t.Errorf("chart in doc.go differs from the table (-table +chart):\n%s", diff)
	}
}

func legalEdges() []string {
	var edges []string
	for _, from := range allStates {
		for _, to := range allStates {
			if Legal(from, to) {
				edges = append(edges, from.String()+"->"+to.String())
			}
		}
	}
	slices.Sort(edges)
	return edges
}

// TestCellsTakeEveryEdge keeps the table from growing edges that nothing
// takes, and the situations from missing one.
func TestCellsTakeEveryEdge(t *testing.T) {
	t.Parallel()
	taken := map[string]bool{"dead->degraded": true} // the contract's, never taken
	for _, at := range situations {
		for _, in := range stimuli {
			w := newWorld(t, testPolicy())
			at.reach(w)
			w.step(in.make(w))
			for _, e := range w.events {
				if e.Kind == ServerStateChanged {
					taken[e.Data["old_state"].(string)+"->"+e.Data["new_state"].(string)] = true
				}
			}
		}
	}
	for _, edge := range legalEdges() {
		if !taken[edge] {
			t.Errorf("no cell takes the edge %s", edge)
		}
		delete(taken, edge)
	}
	for edge := range taken {
		t.Errorf("the edge %s was taken and is not legal", edge)
	}
}

func TestLegalRefusesUnknownStates(t *testing.T) {
	t.Parallel()
	for _, edge := range [][2]State{{0, Cold}, {Cold, 0}, {99, Cold}, {Cold, 99}, {Ready, Ready}} {
		if Legal(edge[0], edge[1]) {
			t.Errorf("Legal(%v, %v) = true, want false", edge[0], edge[1])
		}
	}
}

func TestIllegalTransitionStaysPut(t *testing.T) {
	t.Parallel()
	s := step{m: NewMachine(testPolicy())}
	s.become(Ready)
	if s.m.State != Cold || len(s.out) != 0 {
		t.Errorf("cold to ready gave state %v and effects %s, want cold and none", s.m.State, renderEffects(s.out))
	}
}
