package e2e_test

import (
	"math/rand/v2"
	"testing"
	"time"
)

// TestBudgetGoesOnAfterAKill kills the program at random moments behind a crash
// that its log tells of: the restart that followed, or was planned, counts in the
// next program, and no epoch comes twice.
func TestBudgetGoesOnAfterAKill(t *testing.T) {
	t.Parallel()
	const rounds = 5
	spec := stub()
	spec["max_restarts"], spec["period_s"] = 50, 3600
	h := start(t, servers{"a": spec})
	type dossiers struct {
		Crashes []struct{ Epoch uint64 }
	}
	seen := map[uint64]bool{}
	for round := 1; round <= rounds; round++ {
		h.mustCall("a", "echo", map[string]any{"text": "up"})
		before := h.detail("a")
		if _, err := h.call("a", "crash", map[string]any{"code": 3}); err == nil {
			t.Fatal("the server answers the call that ends it")
		}
		var told dossiers
		if !eventually(patience, func() bool { h.get("/api/mcp_servers/a/crashes", &told); return len(told.Crashes) == round }) {
			t.Fatalf("round %d: the log tells of %d crashes", round, len(told.Crashes))
		}
		epoch := told.Crashes[0].Epoch
		if epoch != before.Epoch || seen[epoch] {
			t.Errorf("round %d: the crash is of epoch %d, what ran had %d; earlier ones %v", round, epoch, before.Epoch, seen)
		}
		seen[epoch] = true
		time.Sleep(time.Duration(rand.IntN(400)) * time.Millisecond)
		noneLeft(t, h.kill(), 5*time.Second)
		h = h.again()
		d := h.await("a", "the end of the backoff", func(d detail) bool { return d.Phase == "" && d.State != "initializing" })
		if d.Restarts != round || d.Epoch <= epoch {
			t.Errorf("round %d: %d restarts of the budget are used at epoch %d, want one for each crash and an epoch after %d: %+v",
				round, d.Restarts, d.Epoch, epoch, d)
		}
	}
	h.stop()
	if checked := run(t, time.Minute, "verify", "--data-dir", h.dataDir); checked.code != 0 {
		t.Errorf("the directory in the end: %s%s", checked.stdout, checked.stderr)
	}
}
