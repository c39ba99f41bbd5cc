package hangar_test

import (
	"testing"

	"github.com/aabb9013/hangar"
	"github.com/aabb9013/hangar/persistence"
)

// Whoever finds RuntimeStopped knows that nothing of the run came after it.
func TestTheEndOfTheRuntimeIsItsLastEvent(t *testing.T) {
	dir := t.TempDir()
	rt := open(t, hangar.Options{DataDir: dir})
	create(t, rt, stub("s"))
	echo(t, rt, "s")
	shut(t, rt)
	store, err := persistence.Open(persistence.Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	events, err := store.Events(1, 0)
	if err != nil {
		t.Fatal(err)
	}
	var kinds []string
	at := map[string]int{}
	for i, e := range events {
		kinds = append(kinds, e.Kind)
		at[e.Kind] = i + 1
	}
	if last := len(kinds); at["RuntimeStopped"] != last || at["McpServerStopped"] == 0 || at["ToolInvocationCompleted"] == 0 {
		t.Errorf("the log is %v, want the server's stop and its call before the end of the runtime", kinds)
	}
}
