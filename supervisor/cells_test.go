package supervisor

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the table of cells anew; review the difference line by line")

const cellsFile = "testdata/cells.txt"

// TestEveryCell compares what every situation makes of every input with the
// table in testdata/cells.txt. The table has one block per situation and one
// row per input, nothing left out; rows with the same outcome stay separate.
func TestEveryCell(t *testing.T) {
	t.Parallel()
	if *update {
		if err := os.WriteFile(cellsFile, []byte(currentTable(t)), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want := readTable(t)
	for _, at := range situations {
		rows, ok := want[at.name]
		if !ok {
			t.Errorf("situation %q has no block in %s", at.name, cellsFile)
			continue
		}
		delete(want, at.name)
		t.Run(at.name, func(t *testing.T) {
			t.Parallel()
			checkRows(t, at, rows)
		})
	}
	for name := range want {
		t.Errorf("%s has a block for situation %q, which is not tested", cellsFile, name)
	}
}

func checkRows(t *testing.T, at situation, rows map[string]string) {
	for _, in := range append([]stimulus{{name: "="}}, stimuli...) {
		want, ok := rows[in.name]
		if !ok {
			t.Errorf("cell is missing: %s × %s", at.name, in.name)
			continue
		}
		delete(rows, in.name)
		if diff := cmp.Diff(want, cell(t, at, in)); diff != "" {
			t.Errorf("%s × %s (-want +got):\n%s", at.name, in.name, diff)
		}
	}
	for name := range rows {
		t.Errorf("%s has a row for input %q, which is not tested", at.name, name)
	}
}

// cell is the outcome of an input in a situation: "-" if nothing changes. The
// stimulus "=" gives the situation itself.
func cell(t testing.TB, at situation, in stimulus) string {
	w := newWorld(t, testPolicy())
	at.reach(w)
	if in.make == nil {
		return render(w.m, w.now)
	}
	input := in.make(w)
	before := w.m
	w.step(input)
	if cmp.Equal(before, w.m) && len(w.effects) == 0 {
		return "-"
	}
	return render(w.m, w.now) + " | " + renderEffects(w.effects)
}

func currentTable(t testing.TB) string {
	var b strings.Builder
	b.WriteString(`# What every situation makes of every input: the new situation | the effects in order.
# "=" is the situation before the input; "-" means no change and no effect.
`)
	for _, at := range situations {
		fmt.Fprintf(&b, "\n[%s]\n", at.name)
		for _, in := range append([]stimulus{{name: "="}}, stimuli...) {
			fmt.Fprintf(&b, "%-29s: %s\n", in.name, cell(t, at, in))
		}
	}
	return b.String()
}

func readTable(t testing.TB) map[string]map[string]string {
	data, err := os.ReadFile(cellsFile)
	if err != nil {
		t.Fatal(err)
	}
	table := map[string]map[string]string{}
	var rows map[string]string
	for line := range strings.Lines(string(data)) {
		line = strings.TrimSuffix(line, "\n")
		switch {
		case line == "" || line[0] == '#':
		case line[0] == '[':
			rows = map[string]string{}
			table[strings.Trim(line, "[]")] = rows
		default:
			name, outcome, ok := strings.Cut(line, ": ")
			if name = strings.TrimSpace(name); !ok || rows == nil || rows[name] != "" {
				t.Fatalf("%s: cannot read line %q", cellsFile, line)
			}
			rows[name] = outcome
		}
	}
	return table
}
