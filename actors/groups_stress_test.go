package actors

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/aabb9013/hangar/backends"
	"github.com/aabb9013/hangar/backends/fake"
	"github.com/aabb9013/hangar/supervisor"
)

// TestGroupUnderChurn calls a group while its members crash, stop, leave and
// join and its strategy changes: every call ends as the contract says, and
// when it is over the group is whole again.
func TestGroupUnderChurn(t *testing.T) {
	bubble(t, func(t *testing.T) {
		const members, callers, calls, rounds = 4, 8, 150, 60
		s := newGroupSystem(t, func(string, uint64) fake.Script { return fake.Script{CallDelay: time.Millisecond} }, members,
			func(g *supervisor.GroupSpec) { g.BreakerReset = time.Second })
		ctx := context.Background()
		must := func(err error) {
			if err != nil {
				t.Error(err)
			}
		}
		var wg sync.WaitGroup
		for caller := range callers {
			wg.Go(func() {
				for n := range calls {
					tool, args := "sleep", `{"ms":5}`
					if n%2 == 0 {
						tool, args = "echo", `{"text":"x"}`
					}
					err := s.beginGroup(callOf{tool: tool, args: args, session: uint64(caller + 1)}).wait()
					var crash *backends.CrashError
					sent := errors.As(err, &crash) && crash.Sent
					if err != nil && !sent && !errors.Is(err, supervisor.ErrGroupUnavailable) {
						t.Errorf("call of %s: %v", tool, err)
					}
				}
			})
		}
		wg.Go(func() {
			strategies := []supervisor.Strategy{supervisor.RoundRobin, supervisor.LeastConnections, supervisor.RandomPick, supervisor.WeightedRoundRobin, supervisor.ByPriority}
			for n := range rounds {
				time.Sleep(20 * time.Millisecond)
				id := fmt.Sprint("s", n%members)
				switch n % 5 {
				case 0, 1:
					if in := s.backend.Last(id); in != nil {
						in.Crash(1)
					}
				case 2:
					_ = s.Stop(ctx, id, "churn")
					_, _ = s.Start(ctx, id)
				case 3:
					must(s.RemoveMember(ctx, "pool", id))
					must(s.AddMember(ctx, "pool", supervisor.GroupMember{ID: id, Weight: 1 + n%7}))
				case 4:
					affinity := supervisor.Affinity("")
					if n%2 == 0 {
						affinity = supervisor.AffinitySession
					}
					must(s.UpdateGroup(ctx, "pool", supervisor.GroupPatch{Strategy: &strategies[n/5%5], Affinity: &affinity}))
					must(s.Rebalance(ctx, "pool"))
				}
			}
		})
		wg.Wait()
		time.Sleep(2 * time.Minute) // the budgets of restarts come back
		v := s.group()
		if v.State != supervisor.GroupHealthy || v.Healthy != members || v.Circuit != supervisor.CircuitClosed {
			t.Errorf("after the churn: %+v", v)
		}
		if v.Calls != callers*calls || v.Retries > v.Calls/5+10 {
			t.Errorf("%d calls, %d retries, %d refused", v.Calls, v.Retries, v.Refused)
		}
		wantNil(t, s.echoGroup())
	})
}
