package persistence_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/aabb9013/hangar/persistence"
	"github.com/aabb9013/hangar/persistence/storetest"
)

// boundsOf makes calls go while a child writes, in a directory that asks for it.
func boundsOf(dir string) (calls persistence.Retention) {
	if strings.HasSuffix(dir, "retained") {
		calls.MaxBytes = 20000
	}
	return calls
}

// A process that dies while it drops calls loses no event, and leaves a chain that
// holds over every gap.
func TestKilledWriterKeepsEventsWhileCallsGo(t *testing.T) {
	rounds := 12
	if testing.Short() {
		rounds = 3
	}
	dir := t.TempDir() + "/retained"
	last, gaps := 0, uint64(0)
	for range rounds {
		acks := killedWriter(t, dir, time.Duration(10+rand.IntN(150))*time.Millisecond)
		report := wantSound(t, dir)
		gaps = report.Dropped
		s := open(t, persistence.Options{Dir: dir, Calls: boundsOf(dir)})
		storetest.CheckRetained(t, s)
		control, err := s.StreamEvents("control", 1, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		for i, e := range control {
			if e.Version != uint64(i+1) {
				t.Fatalf("event %d has version %d", i, e.Version)
			}
		}
		// A round begins to count anew.
		committed := 0
		for _, a := range acks {
			if a.kind == "c" {
				committed = a.n
			}
		}
		if n := len(control) - last; n < committed || n > committed+1 || n > 0 && string(control[len(control)-1].Data) != fmt.Sprintf(`{"n":%d}`, n) {
			t.Fatalf("%d events of the round, %d were acknowledged", n, committed)
		}
		last = len(control)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if gaps == 0 {
		t.Error("nothing was dropped")
	}
	t.Logf("%d events in %d rounds, all there; %d calls dropped between them", last, rounds, gaps)
}
