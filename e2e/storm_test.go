package e2e_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestStartStorm calls 300 cold servers at the same moment: all answer, and
// never more than the configured number start at once.
func TestStartStorm(t *testing.T) {
	const (
		count     = 300
		parallel  = 8
		initDelay = 100 * time.Millisecond
		patience  = 60 * time.Second
	)
	fleet := servers{}
	for i := range count {
		fleet[fmt.Sprintf("stub-%03d", i)] = stub("-init-delay", initDelay.String())
	}
	h := startConfig(t, map[string]any{
		"mcp_servers": fleet,
		"execution":   map[string]any{"max_parallel_starts": parallel},
	})

	begin := time.Now()
	var wg sync.WaitGroup
	for id := range fleet {
		wg.Go(func() {
			text := "hello " + id
			result, err := h.call(id, "echo", map[string]any{"text": text})
			if err != nil || result.text() != text {
				t.Errorf("%s: %v, answer %q", id, err, result.text())
			}
		})
	}
	wg.Wait()
	took := time.Since(begin)
	t.Logf("%d servers answered their first call within %s", count, took.Round(time.Millisecond))
	if took > patience {
		t.Errorf("the storm took %s, want at most %s", took, patience)
	}
	for id, s := range h.list() {
		if s.State != "ready" {
			t.Errorf("%s is %s after its call, want ready", id, s.State)
		}
	}

	starts := startTimes(t, h)
	if len(starts) != count {
		t.Fatalf("%d stub processes run, want %d", len(starts), count)
	}
	if most := mostOverlapping(starts, initDelay); most > parallel {
		t.Errorf("%d servers were starting at once, want at most %d", most, parallel)
	}
}

// startTimes tells when each stub's process began, as the kernel has it.
func startTimes(t *testing.T, h *hangar) []time.Duration {
	t.Helper()
	var starts []time.Duration
	for _, p := range tagged(t, h.tag) {
		if strings.Contains(p.command, "-init-delay") {
			starts = append(starts, p.started)
		}
	}
	return starts
}

// mostOverlapping counts the most processes that were certainly starting at
// one moment. A stub answers initialize when initDelay has passed, so it is
// starting for at least that long; the kernel's times are rounded down to 10
// ms, so that two starts may be nearer by that than they look.
func mostOverlapping(starts []time.Duration, initDelay time.Duration) int {
	starts = slices.Clone(starts)
	slices.Sort(starts)
	most := 0
	for i, start := range starts {
		n := 0
		for _, other := range starts[i:] {
			if other < start+initDelay-10*time.Millisecond {
				n++
			}
		}
		most = max(most, n)
	}
	return most
}
