package actors

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aabb9013/hangar/backends"
	"github.com/aabb9013/hangar/backends/fake"
	"github.com/aabb9013/hangar/persistence"
	"github.com/aabb9013/hangar/supervisor"
)

// groupSpec is a group over these servers.
func groupSpec(members []string, edits ...func(*supervisor.GroupSpec)) supervisor.GroupSpec {
	g := supervisor.GroupSpec{ID: "pool", AutoStart: true}
	for _, id := range members {
		g.Members = append(g.Members, supervisor.GroupMember{ID: id})
	}
	for _, edit := range edits {
		edit(&g)
	}
	return g.WithDefaults()
}

// newGroupSystem runs n servers s0, s1, … in one group, pool, all ready.
func newGroupSystem(t *testing.T, s script, n int, edits ...func(*supervisor.GroupSpec)) *testSystem {
	t.Helper()
	ts := newTestSystem(t, s, specs(n)...)
	var members []string
	for i := range n {
		members = append(members, fmt.Sprint("s", i))
	}
	if err := ts.CreateGroup(context.Background(), groupSpec(members, edits...)); err != nil {
		t.Fatal(err)
	}
	synctest.Wait()
	return ts
}

// beginGroup calls a tool of the group in the background.
func (s *testSystem) beginGroup(o callOf) *pending {
	s.t.Helper()
	ref, ok := s.GroupRef([]byte("pool"))
	if !ok {
		s.t.Fatal("no group pool")
	}
	return begin(ref, o)
}

func (s *testSystem) echoGroup() error {
	s.t.Helper()
	return s.beginGroup(callOf{tool: "echo", args: `{"text":"hi"}`}).wait()
}

func (s *testSystem) group() *supervisor.GroupView {
	s.t.Helper()
	synctest.Wait()
	v, ok := s.GroupView("pool")
	if !ok {
		s.t.Fatal("no group pool")
	}
	return v
}

func (s *testSystem) wantGroup(state supervisor.GroupState, inRotation ...string) {
	s.t.Helper()
	v := s.group()
	var in []string
	for _, m := range v.Members {
		if m.InRotation {
			in = append(in, m.ID)
		}
	}
	if v.State != state || !slices.Equal(in, inRotation) {
		s.t.Fatalf("group is %s with %v in rotation, want %s with %v", v.State, in, state, inRotation)
	}
}

func TestGroupStartsItsMembersAndSharesCallsByWeight(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newGroupSystem(t, nil, 3, func(g *supervisor.GroupSpec) {
			g.Strategy = supervisor.WeightedRoundRobin
			g.Members[0].Weight, g.Members[1].Weight, g.Members[2].Weight = 1, 2, 3
		})
		s.wantGroup(supervisor.GroupHealthy, "s0", "s1", "s2")
		var calls []*pending
		for range 60 {
			calls = append(calls, s.beginGroup(callOf{tool: "echo", args: `{"text":"hi"}`}))
		}
		for _, c := range calls {
			wantNil(t, c.wait())
		}
		for i, want := range []int64{10, 20, 30} {
			if got := s.view(fmt.Sprint("s", i)).Counters.Calls.Load(); got != want {
				t.Errorf("s%d got %d of 60 calls, want %d", i, got, want)
			}
		}
	})
}

func wantNil(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestIdleMemberStaysInRotationAndIsWoken(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newGroupSystem(t, nil, 2)
		wantNil(t, s.echoGroup())
		time.Sleep(supervisor.DefaultIdleTTL + time.Minute)
		s.wantState("s0", supervisor.Cold, supervisor.PhaseNone)
		s.wantGroup(supervisor.GroupHealthy, "s0", "s1")
		wantNil(t, s.echoGroup())
		wantNil(t, s.echoGroup())
		s.wantState("s1", supervisor.Ready, supervisor.PhaseNone)
	})
}

func TestStoppedMemberLeavesAtOnceAndComesBackWhenStarted(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newGroupSystem(t, nil, 2)
		wantNil(t, s.Stop(context.Background(), "s0", "test"))
		s.wantGroup(supervisor.GroupHealthy, "s1")
		time.Sleep(10 * time.Minute)
		s.wantState("s0", supervisor.Cold, supervisor.PhaseNone)
		wantNil(t, s.echoGroup())
		_, err := s.Start(context.Background(), "s0")
		wantNil(t, err)
		s.wantGroup(supervisor.GroupHealthy, "s0", "s1")
	})
}

// TestStopTakesAnIdleMemberOutToo: it is a wish, whatever its reason is called,
// and also when nothing runs.
func TestStopTakesAnIdleMemberOutToo(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newGroupSystem(t, nil, 2)
		ctx := context.Background()
		time.Sleep(supervisor.DefaultIdleTTL + time.Minute)
		s.wantState("s0", supervisor.Cold, supervisor.PhaseNone)
		wantNil(t, s.Stop(ctx, "s0", "test"))
		s.wantGroup(supervisor.GroupHealthy, "s1")
		wantNil(t, s.echoGroup())
		wantNil(t, s.Stop(ctx, "s1", "idle")) // it runs
		s.wantGroup(supervisor.GroupInactive)
		wantErr(t, s.echoGroup(), supervisor.ErrGroupUnavailable)
		for _, id := range []string{"s0", "s1"} {
			s.wantState(id, supervisor.Cold, supervisor.PhaseNone)
			_, err := s.Start(ctx, id)
			wantNil(t, err)
		}
		s.wantGroup(supervisor.GroupHealthy, "s0", "s1")
		time.Sleep(supervisor.DefaultIdleTTL + time.Minute) // an idle stop is none of these again
		s.wantGroup(supervisor.GroupHealthy, "s0", "s1")
	})
}

// TestCallFailsOverWhenItsEffectIsNone: what was not written, and what may be
// repeated, is tried at the next member; nothing else is.
func TestCallFailsOverOnlyWhenThatIsSafe(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newGroupSystem(t, nil, 2)
		once := s.beginGroup(callOf{tool: "progress", args: `{"n":1,"delay_ms":1000}`})
		synctest.Wait()
		again := s.beginGroup(callOf{tool: "sleep", args: `{"ms":1000}`})
		synctest.Wait()
		s.backend.Last("s0").Crash(1)
		s.backend.Last("s1").Crash(1)
		synctest.Wait()
		var crash *backends.CrashError
		if err := once.wait(); !errors.As(err, &crash) || !crash.Sent || crash.Server != "s0" {
			t.Errorf("a call that may have had an effect: %v", err)
		}
		if err := again.wait(); !errors.Is(err, supervisor.ErrGroupUnavailable) && err != nil {
			t.Errorf("%v", err)
		}
		if v := s.group(); v.Retries > 1 {
			t.Errorf("%d retries", v.Retries)
		}

		time.Sleep(time.Second)
		s.wantGroup(supervisor.GroupHealthy, "s0", "s1")
		var calls []*pending
		for range 6 {
			calls = append(calls, s.beginGroup(callOf{tool: "sleep", args: `{"ms":1000}`}))
		}
		synctest.Wait()
		s.backend.Last("s1").Crash(1)
		for _, c := range calls {
			wantNil(t, c.wait())
		}
		if v := s.group(); v.Retries < 3 {
			t.Errorf("%d retries, want one for each of the calls that were cut off", v.Retries)
		}
	})
}

func TestToolErrorsAreNoReasonToRetry(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newGroupSystem(t, nil, 2)
		for _, tool := range []string{"fail", "rpcerror"} {
			wantNil(t, s.beginGroup(callOf{tool: tool}).wait())
		}
		if v := s.group(); v.Retries != 0 || v.Members[0].Failures+v.Members[1].Failures != 0 {
			t.Errorf("%+v", v)
		}
	})
}

func TestAllDeadIsUnavailableAtOnceAndRecoversByItself(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var broken atomic.Bool
		broken.Store(true)
		s := newGroupSystem(t, func(string, uint64) fake.Script {
			if broken.Load() {
				return fake.Script{StartErr: errors.New("no luck")}
			}
			return fake.Script{}
		}, 3, func(g *supervisor.GroupSpec) { g.BreakerThreshold = 3 })
		s.wantGroup(supervisor.GroupDegraded)
		if v := s.group(); v.Circuit != supervisor.CircuitOpen {
			t.Errorf("circuit %s", v.Circuit)
		}
		began := time.Now()
		err := s.echoGroup()
		var unavailable *supervisor.GroupUnavailableError
		if !errors.As(err, &unavailable) || unavailable.Members != 3 || time.Since(began) > 10*time.Millisecond {
			t.Errorf("%v after %s", err, time.Since(began))
		}
		time.Sleep(supervisor.DefaultBreakerReset + time.Second) // half open, and open again
		if v := s.group(); v.Circuit != supervisor.CircuitOpen {
			t.Errorf("after a probe that failed: circuit %s", v.Circuit)
		}
		broken.Store(false)
		time.Sleep(supervisor.DefaultBreakerReset)
		s.wantGroup(supervisor.GroupHealthy, "s0", "s1", "s2")
		if v := s.group(); v.Circuit != supervisor.CircuitClosed {
			t.Errorf("circuit %s", v.Circuit)
		}
		wantNil(t, s.echoGroup())
		for kind, want := range map[supervisor.EventKind]int{
			supervisor.GroupCircuitOpened: 2, supervisor.GroupCircuitClosed: 1, supervisor.CircuitBreakerStateChanged: 5,
		} {
			if got := s.count("pool", kind); got != want {
				t.Errorf("%d events %s, want %d: %v", got, kind, want, kinds(s.events("pool")))
			}
		}
	})
}

func TestGroupOfFiveServesWithThreeDead(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newGroupSystem(t, func(server string, epoch uint64) fake.Script {
			if dead := server == "s0" || server == "s2" || server == "s4"; dead && epoch > 1 {
				return fake.Script{StartErr: errors.New("no luck")}
			}
			return fake.Script{}
		}, 5)
		for _, id := range []string{"s0", "s2", "s4"} {
			s.backend.Last(id).Crash(1)
		}
		s.wantGroup(supervisor.GroupHealthy, "s1", "s3")
		for range 20 {
			wantNil(t, s.echoGroup())
		}
	})
}

func TestUnansweredCallsEjectAMember(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newGroupSystem(t, nil, 2)
		s.backend.Last("s0").Freeze()
		for range 4 {
			s.beginGroup(callOf{tool: "echo", args: `{"text":"hi"}`, timeout: 500 * time.Millisecond}).wait()
		}
		s.wantGroup(supervisor.GroupHealthy, "s0", "s1")
		for range 4 { // a second, of which the way here took some
			s.beginGroup(callOf{tool: "echo", args: `{"text":"hi"}`, timeout: 999 * time.Millisecond}).wait()
		}
		s.wantGroup(supervisor.GroupHealthy, "s1")
		s.backend.Last("s0").Thaw()
		time.Sleep(supervisor.DefaultBreakerReset)
		s.wantGroup(supervisor.GroupHealthy, "s0", "s1")
	})
}

func TestSlowMemberIsEjectedWhenThatIsAskedFor(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newGroupSystem(t, func(server string, _ uint64) fake.Script {
			if server == "s2" {
				return fake.Script{CallDelay: 200 * time.Millisecond}
			}
			return fake.Script{CallDelay: 10 * time.Millisecond}
		}, 3, func(g *supervisor.GroupSpec) { g.Outlier.Factor = 5 })
		for range 75 {
			wantNil(t, s.echoGroup())
		}
		time.Sleep(supervisor.DefaultOutlierInterval)
		s.wantGroup(supervisor.GroupHealthy, "s0", "s1")
		time.Sleep(supervisor.DefaultOutlierEjection)
		s.wantGroup(supervisor.GroupHealthy, "s0", "s1", "s2")
	})
}

// TestBusyMemberComesBackWithoutProbes: a server that answers calls is not asked
// for a sign of life, and that is as good as a health check.
func TestBusyMemberComesBackWithoutProbes(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newGroupSystem(t, nil, 2, func(g *supervisor.GroupSpec) { g.HealthyThreshold = 3 })
		s.backend.Last("s0").Crash(1)
		s.wantGroup(supervisor.GroupHealthy, "s1")
		for range 60 {
			time.Sleep(5 * time.Second)
			s.mustEcho("s0")
		}
		s.wantGroup(supervisor.GroupHealthy, "s0", "s1")
	})
}

// TestSlowStartIsNoSlowAnswer: a member that a call had to wake is not ejected
// for the time of its start.
func TestSlowStartIsNoSlowAnswer(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newGroupSystem(t, func(server string, _ uint64) fake.Script {
			script := fake.Script{CallDelay: 10 * time.Millisecond}
			if server == "s2" {
				script.StartDelay = 5 * time.Second
			}
			return script
		}, 3, func(g *supervisor.GroupSpec) { g.Outlier.Factor = 5 })
		time.Sleep(supervisor.DefaultIdleTTL + time.Minute)
		s.wantState("s2", supervisor.Cold, supervisor.PhaseNone)
		for range 75 {
			wantNil(t, s.echoGroup())
		}
		time.Sleep(supervisor.DefaultOutlierInterval)
		s.wantGroup(supervisor.GroupHealthy, "s0", "s1", "s2")
	})
}

// TestDeletedGroupLeavesWhatOthersNeed: an own server that another group has,
// or that another server depends on, is shared.
func TestDeletedGroupLeavesWhatOthersNeed(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newTestSystemWith(t, nil, func(o *Options) {
			o.Specs = specs(4)
			o.Specs[3].DependsOn = []string{"s1"}
			own := func(g *supervisor.GroupSpec) {
				g.Provenance = supervisor.FromConfig
				for i := range g.Members {
					g.Members[i].Owned = true
				}
			}
			o.Groups = []supervisor.GroupSpec{groupSpec([]string{"s0", "s1", "s2"}, own)}
		})
		ctx := context.Background()
		other := groupSpec([]string{"s0"})
		other.ID = "other"
		wantNil(t, s.CreateGroup(ctx, other))
		wantNil(t, s.DeleteGroup(ctx, "pool"))
		s.wantState("s0", supervisor.Ready, supervisor.PhaseNone)
		s.wantState("s1", supervisor.Ready, supervisor.PhaseNone)
		if _, ok := s.View("s2"); ok {
			t.Error("the group's own server is left")
		}
		if v, ok := s.GroupView("other"); !ok || len(v.Members) != 1 {
			t.Errorf("the other group lost its member: %+v", v)
		}
	})
}

// TestDeletedGroupTakesOwnServersThatDependOnEachOther, however many times over.
func TestDeletedGroupTakesOwnServersThatDependOnEachOther(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newTestSystemWith(t, nil, func(o *Options) {
			o.Specs = specs(4)
			for i := range 3 {
				o.Specs[i+1].DependsOn = []string{fmt.Sprint("s", i)}
			}
			o.Groups = []supervisor.GroupSpec{groupSpec([]string{"s0", "s1", "s2", "s3"}, func(g *supervisor.GroupSpec) {
				g.Provenance = supervisor.FromConfig
				for i := range g.Members {
					g.Members[i].Owned = true
				}
			})}
		})
		wantNil(t, s.DeleteGroup(context.Background(), "pool"))
		for _, v := range s.Views() {
			t.Errorf("the group's own server %s is left", v.Spec.ID)
		}
	})
}

// TestFileWinsOverTheOtherKindAtAStart: servers and groups share their ids also
// when a file and the store know one each.
func TestFileWinsOverTheOtherKindAtAStart(t *testing.T) {
	bubble(t, func(t *testing.T) {
		store := persistence.NewMemory()
		ctx := context.Background()
		s := newTestSystemWith(t, nil, func(o *Options) { o.Store = store })
		for _, spec := range specs(2) {
			spec.Provenance = supervisor.FromAPI
			wantNil(t, s.Create(ctx, spec))
		}
		wantNil(t, s.CreateGroup(ctx, groupSpec([]string{"s1"})))
		wantNil(t, s.Close(ctx))
		file := func(o *Options) {
			o.Store = store
			o.Specs = specs(1)
			o.Specs[0].ID = "pool"
			o.Groups = []supervisor.GroupSpec{groupSpec(nil, func(g *supervisor.GroupSpec) { g.ID, g.Provenance = "s0", supervisor.FromConfig })}
		}
		s = newTestSystemWith(t, nil, file)
		_, group := s.GroupView("s0")
		_, shadowed := s.View("s0")
		_, server := s.View("pool")
		_, shadowedGroup := s.GroupView("pool")
		if !group || shadowed || !server || shadowedGroup {
			t.Errorf("s0: group %v, server %v; pool: server %v, group %v", group, shadowed, server, shadowedGroup)
		}
		wantNil(t, s.RemoveGroup(ctx, "s0"))
		wantNil(t, s.Close(ctx))
		s = newTestSystemWith(t, nil, func(o *Options) { o.Store = store })
		if v, ok := s.GroupView("pool"); !ok || len(v.Members) != 1 || len(s.Views()) != 2 {
			t.Errorf("what the file hid is not back: %+v, %d servers", v, len(s.Views()))
		}
	})
}

// TestReloadKeepsTheStoredGroup: the file takes a group of the API over and
// gives it back.
func TestReloadKeepsTheStoredGroup(t *testing.T) {
	bubble(t, func(t *testing.T) {
		store := persistence.NewMemory()
		ctx := context.Background()
		open := func() *testSystem {
			return newTestSystemWith(t, nil, func(o *Options) { o.Store, o.Specs = store, specs(2) })
		}
		s := open()
		wantNil(t, s.CreateGroup(ctx, groupSpec([]string{"s1"})))
		wantNil(t, s.PutGroup(ctx, groupSpec([]string{"s0"}, func(g *supervisor.GroupSpec) { g.Provenance = supervisor.FromConfig })))
		wantNil(t, s.RemoveGroup(ctx, "pool"))
		if _, ok := s.GroupView("pool"); ok {
			t.Error("the group of the file is still there")
		}
		wantNil(t, s.Close(ctx))
		s = open()
		if v, ok := s.GroupView("pool"); !ok || v.Members[0].ID != "s1" {
			t.Errorf("what the API has stored is gone: %+v", v)
		}
	})
}

func TestGroupsSurviveARestart(t *testing.T) {
	bubble(t, func(t *testing.T) {
		store := persistence.NewMemory()
		open := func() *testSystem {
			return newTestSystemWith(t, nil, func(o *Options) { o.Store, o.Specs = store, specs(3) })
		}
		s := open()
		ctx := context.Background()
		wantNil(t, s.CreateGroup(ctx, groupSpec(nil)))
		wantNil(t, s.AddMember(ctx, "pool", supervisor.GroupMember{ID: "s1", Weight: 7}))
		wantNil(t, s.AddMember(ctx, "pool", supervisor.GroupMember{ID: "s2"}))
		least := supervisor.LeastConnections
		wantNil(t, s.UpdateGroup(ctx, "pool", supervisor.GroupPatch{Strategy: &least}))
		wantNil(t, s.RemoveMember(ctx, "pool", "s2"))
		want := s.group().Spec
		wantNil(t, s.Close(ctx))
		s = open()
		s.wantGroup(supervisor.GroupHealthy, "s1")
		if got := s.group().Spec; got.Strategy != least || got.Members[0] != want.Members[0] || len(got.Members) != 1 {
			t.Errorf("got %+v, want %+v", got, want)
		}
		wantNil(t, s.DeleteGroup(ctx, "pool"))
		wantNil(t, s.Close(ctx))
		if s = open(); len(s.GroupViews()) != 0 {
			t.Error("a deleted group is back")
		}
	})
}

func TestGroupRefusals(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newGroupSystem(t, nil, 2)
		ctx := context.Background()
		wantErr(t, s.CreateGroup(ctx, groupSpec(nil)), supervisor.ErrGroupExists)
		wantErr(t, s.CreateGroup(ctx, groupSpec(nil, func(g *supervisor.GroupSpec) { g.ID = "s0" })), supervisor.ErrServerExists)
		wantErr(t, s.CreateGroup(ctx, groupSpec([]string{"none"}, func(g *supervisor.GroupSpec) { g.ID = "other" })), supervisor.ErrServerNotFound)
		wantErr(t, s.Create(ctx, spec("pool")), supervisor.ErrGroupExists)
		wantErr(t, s.AddMember(ctx, "pool", supervisor.GroupMember{ID: "none"}), supervisor.ErrServerNotFound)
		wantErr(t, s.AddMember(ctx, "pool", supervisor.GroupMember{ID: "s0"}), supervisor.ErrInvalidSpec)
		wantErr(t, s.AddMember(ctx, "none", supervisor.GroupMember{ID: "s0"}), supervisor.ErrGroupNotFound)
		wantErr(t, s.RemoveMember(ctx, "pool", "none"), supervisor.ErrServerNotFound)
		bad := supervisor.Strategy("best")
		wantErr(t, s.UpdateGroup(ctx, "pool", supervisor.GroupPatch{Strategy: &bad}), supervisor.ErrInvalidSpec)
		wantErr(t, s.Rebalance(ctx, "none"), supervisor.ErrGroupNotFound)
		wantErr(t, s.DeleteGroup(ctx, "none"), supervisor.ErrGroupNotFound)
	})
}

// TestGroupsAreBounded, also those that are made at the same time.
func TestGroupsAreBounded(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newTestSystem(t, nil)
		var refused atomic.Int64
		var wg sync.WaitGroup
		for i := range MaxGroups + 20 {
			wg.Go(func() {
				err := s.CreateGroup(context.Background(), groupSpec(nil, func(g *supervisor.GroupSpec) { g.ID = fmt.Sprint("g", i) }))
				switch {
				case errors.Is(err, supervisor.ErrOverloaded):
					refused.Add(1)
				case err != nil:
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if n := len(s.GroupViews()); n != MaxGroups || refused.Load() != 20 {
			t.Errorf("%d groups, %d were refused", n, refused.Load())
		}
		wantNil(t, s.DeleteGroup(context.Background(), s.GroupViews()[0].Spec.ID))
		wantNil(t, s.CreateGroup(context.Background(), groupSpec(nil)))
	})
}

func TestServerOfTwoGroupsTellsBoth(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newGroupSystem(t, nil, 2)
		wantNil(t, s.CreateGroup(context.Background(), groupSpec([]string{"s0"}, func(g *supervisor.GroupSpec) { g.ID = "other" })))
		wantNil(t, s.Stop(context.Background(), "s0", "test"))
		s.wantGroup(supervisor.GroupHealthy, "s1")
		if v, _ := s.GroupView("other"); v.State != supervisor.GroupInactive {
			t.Errorf("other is %s", v.State)
		}
	})
}

func TestDeletedServerLeavesItsGroups(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newGroupSystem(t, nil, 2)
		wantNil(t, s.Delete(context.Background(), "s0"))
		s.wantGroup(supervisor.GroupHealthy, "s1")
		if v := s.group(); len(v.Members) != 1 {
			t.Errorf("members %+v", v.Members)
		}
		wantNil(t, s.echoGroup())
	})
}

// TestDeletedServerLeavesABusyGroup: also one of which as many changes wait as
// may, and these have nothing to do with the member that goes.
func TestDeletedServerLeavesABusyGroup(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s, store := newFlakySystem(t, nil, specs(4)...)
		ctx := context.Background()
		wantNil(t, s.CreateGroup(ctx, groupSpec([]string{"s0", "s1", "s2", "s3"})))
		store.latency.Store(int64(10 * time.Millisecond))
		var deleted atomic.Bool
		var wg sync.WaitGroup
		text := "busy"
		for range MaxChanges + 20 {
			wg.Go(func() {
				for !deleted.Load() {
					if err := s.UpdateGroup(ctx, "pool", supervisor.GroupPatch{Description: &text}); err != nil {
						if !errors.Is(err, supervisor.ErrOverloaded) {
							t.Error(err)
						}
						time.Sleep(time.Millisecond)
					}
				}
			})
		}
		synctest.Wait()
		var deletions sync.WaitGroup
		for _, id := range []string{"s0", "s2", "s3"} {
			deletions.Go(func() {
				if err := s.Delete(ctx, id); err != nil {
					t.Error(err)
				}
			})
		}
		deletions.Wait()
		deleted.Store(true)
		wg.Wait()
		wantNil(t, s.UpdateGroup(ctx, "pool", supervisor.GroupPatch{Description: &text}))
		s.wantGroup(supervisor.GroupHealthy, "s1")
	})
}

// TestDeletedGroupTakesOnlyItsOwnServers deletes a group with one member of
// its own and one that is shared.
func TestDeletedGroupTakesOnlyItsOwnServers(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newTestSystemWith(t, nil, func(o *Options) {
			o.Specs = specs(2)
			o.Groups = []supervisor.GroupSpec{groupSpec([]string{"s0", "s1"}, func(g *supervisor.GroupSpec) {
				g.Provenance, g.Members[1].Owned = supervisor.FromConfig, true
			})}
		})
		s.wantGroup(supervisor.GroupHealthy, "s0", "s1")
		ref, _ := s.GroupRef([]byte("pool"))
		wantNil(t, s.DeleteGroup(context.Background(), "pool"))
		s.wantState("s0", supervisor.Ready, supervisor.PhaseNone)
		if _, ok := s.View("s1"); ok {
			t.Error("the group's own server is left")
		}
		synctest.Wait()
		wantErr(t, begin(ref, callOf{tool: "echo"}).wait(), supervisor.ErrGroupNotFound)
		if got := kinds(s.events("pool")); got[0] != supervisor.GroupCreated || !slices.Contains(got, supervisor.GroupDeleted) {
			t.Errorf("events %v", got)
		}
	})
}

func TestCancelReachesTheMember(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newGroupSystem(t, nil, 2)
		p := s.beginGroup(callOf{tool: "sleep", args: `{"ms":60000}`})
		synctest.Wait()
		ref, _ := s.GroupRef([]byte("pool"))
		ref.Cancel(p.call.ID, context.Canceled)
		wantErr(t, p.wait(), context.Canceled)
		p = s.beginGroup(callOf{tool: "sleep", args: `{"ms":60000}`})
		synctest.Wait()
		wantNil(t, s.RemoveMember(context.Background(), "pool", "s1")) // it was s1's turn
		if s.view("s1").Counters.Calls.Load() != 1 || p.isDone() {
			t.Fatal("the member that was removed has no call")
		}
		ref.Cancel(p.call.ID, context.Canceled)
		wantErr(t, p.wait(), context.Canceled)
	})
}

// TestRemovedMemberIsReachedByCancellations: a call may have picked it while its
// removal was under way.
func TestRemovedMemberIsReachedByCancellations(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newGroupSystem(t, nil, 3)
		ctx := context.Background()
		for _, id := range []string{"s0", "s1"} {
			wantNil(t, s.RemoveMember(ctx, "pool", id))
			if former := s.fleet.Load().groups["pool"].now.Load().former; len(former) != 1 || former[0].cell.id != id {
				t.Errorf("%s was removed, reached are %d former members", id, len(former))
			}
		}
	})
}

func TestCallGoesToAMemberThatHasTheTool(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newGroupSystem(t, func(server string, _ uint64) fake.Script {
			if server == "s1" {
				return fake.Script{Tools: []string{"special"}}
			}
			return fake.Script{}
		}, 3)
		ref, _ := s.GroupRef([]byte("pool"))
		if v := ref.View(); len(v.Catalogue.Tools) != len(s.view("s1").Catalogue.Tools) || v.ToolsStale {
			t.Errorf("the group lists %d tools, stale %t", len(v.Catalogue.Tools), v.ToolsStale)
		}
		for range 6 {
			wantNil(t, s.beginGroup(callOf{tool: "special"}).wait())
		}
		if n := s.view("s1").Counters.Calls.Load(); n != 6 {
			t.Errorf("the one member with the tool got %d of 6 calls", n)
		}
	})
}

func TestGroupEventsHaveTheirFields(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newGroupSystem(t, nil, 2, func(g *supervisor.GroupSpec) { g.BreakerThreshold, g.MinHealthy = 1, 2 })
		ctx := context.Background()
		s.backend.Last("s0").Crash(1)
		synctest.Wait()
		wantNil(t, s.Rebalance(ctx, "pool"))
		text := "new"
		wantNil(t, s.UpdateGroup(ctx, "pool", supervisor.GroupPatch{Description: &text}))
		wantNil(t, s.RemoveMember(ctx, "pool", "s0"))
		wantNil(t, s.DeleteGroup(ctx, "pool"))
		fields := map[supervisor.EventKind][]string{
			supervisor.GroupCreated: {"strategy", "min_healthy"}, supervisor.GroupUpdated: nil, supervisor.GroupDeleted: nil,
			supervisor.GroupMemberAdded: {"member_id", "weight", "priority"}, supervisor.GroupMemberRemoved: {"member_id"},
			supervisor.GroupMemberHealthChanged: {"member_id", "in_rotation", "reason"},
			supervisor.GroupStateChanged:        {"old_state", "new_state", "healthy_count", "total_count"},
			supervisor.GroupCircuitOpened:       {"failure_count"}, supervisor.GroupCircuitClosed: nil,
			supervisor.CircuitBreakerStateChanged: {"mcp_server_id", "old_state", "new_state"},
		}
		seen := map[supervisor.EventKind]bool{}
		for _, e := range s.events("pool") {
			want, known := fields[e.kind]
			if !known || e.data["group_id"] != "pool" {
				t.Errorf("%s %v", e.kind, e.data)
			}
			for _, field := range want {
				if e.data[field] == nil {
					t.Errorf("%s has no %s: %v", e.kind, field, e.data)
				}
			}
			seen[e.kind] = true
		}
		for kind := range fields {
			if !seen[kind] {
				t.Errorf("no event %s", kind)
			}
		}
	})
}

// TestServerDeletedWhileItsGroupIsMade: both changes are under way at once.
func TestServerDeletedWhileItsGroupIsMade(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newTestSystem(t, nil, specs(2)...)
		ctx := context.Background()
		done := make(chan error, 2)
		go func() { done <- s.CreateGroup(ctx, groupSpec([]string{"s0", "s1"})) }()
		go func() { done <- s.Delete(ctx, "s0") }()
		for range 2 {
			if err := <-done; err != nil && !errors.Is(err, supervisor.ErrServerNotFound) {
				t.Error(err)
			}
		}
		synctest.Wait()
		v, ok := s.GroupView("pool")
		if !ok {
			return // the deletion came first
		}
		if len(v.Members) != 1 || v.Members[0].ID != "s1" {
			t.Errorf("members %+v", v.Members)
		}
		wantErr(t, s.AddMember(ctx, "pool", supervisor.GroupMember{ID: "s1"}), supervisor.ErrInvalidSpec)
	})
}

// TestPredefinedToolsFollowTheSpec: a group whose members have not told their
// tools lists what the present spec names.
func TestPredefinedToolsFollowTheSpec(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newTestSystem(t, nil, specs(1)...)
		ctx := context.Background()
		listing := func(tool string) supervisor.GroupSpec {
			return groupSpec([]string{"s0"}, func(g *supervisor.GroupSpec) {
				g.AutoStart, g.Tools = false, []json.RawMessage{json.RawMessage(fmt.Sprintf(`{"name":%q,"inputSchema":{"type":"object"}}`, tool))}
			})
		}
		wantNil(t, s.CreateGroup(ctx, listing("old")))
		ref, _ := s.GroupRef([]byte("pool"))
		if ref.View().Catalogue.Tool([]byte("old")) == nil {
			t.Fatal("old is not listed")
		}
		wantNil(t, s.PutGroup(ctx, listing("new")))
		if ref.View().Catalogue.Tool([]byte("new")) == nil {
			t.Errorf("listed are %v", ref.View().Catalogue.Tools)
		}
	})
}

// TestGroupGoesOnAfterAPanic: what the message at hand would have set going is
// not lost.
func TestGroupGoesOnAfterAPanic(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var broken atomic.Bool
		broken.Store(true)
		s := newGroupSystem(t, func(string, uint64) fake.Script {
			if broken.Load() {
				return fake.Script{StartErr: errors.New("no luck")}
			}
			return fake.Script{}
		}, 1)
		s.wantGroup(supervisor.GroupInactive)
		broken.Store(false)
		g := s.fleet.Load().groups["pool"]
		g.timer.Stop() // as if the panic had been over its message
		s.tell(g.pid, applyGroup{cells: []*cell{nil}, reply: make(chan error, 1)})
		time.Sleep(2 * supervisor.DefaultBreakerReset)
		s.wantGroup(supervisor.GroupHealthy, "s0")
	})
}

// TestUnmadeRetryCostsNoBudget: calls that nobody else can take are told so,
// however many they are.
func TestUnmadeRetryCostsNoBudget(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newGroupSystem(t, nil, 1)
		var calls []*pending
		for range 40 {
			calls = append(calls, s.beginGroup(callOf{tool: "sleep", args: `{"ms":1000}`}))
		}
		synctest.Wait()
		s.backend.Last("s0").Crash(1)
		for _, c := range calls {
			wantErr(t, c.wait(), supervisor.ErrGroupUnavailable)
		}
		if v := s.group(); v.Retries != 0 {
			t.Errorf("%d retries", v.Retries)
		}
	})
}

// TestFullNodeIsNoReasonToRetry: no other member could take the call either.
func TestFullNodeIsNoReasonToRetry(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newGroupSystem(t, nil, 3)
		s.LimitCalls(1)
		busy := s.beginGroup(callOf{tool: "sleep", args: `{"ms":1000}`})
		synctest.Wait()
		err := s.echoGroup()
		wantErr(t, err, supervisor.ErrOverloaded)
		if v := s.group(); errors.Is(err, supervisor.ErrGroupUnavailable) || v.Retries != 0 || v.Refused != 0 {
			t.Errorf("%v, after %d retries, %d refused", err, v.Retries, v.Refused)
		}
		wantNil(t, busy.wait())
	})
}

// TestCallsOfAPrincipalGoWhereItIsPinned, and elsewhere while that is down.
func TestCallsOfAPrincipalGoWhereItIsPinned(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newGroupSystem(t, nil, 3, func(g *supervisor.GroupSpec) { g.Pins = map[string]string{"alice": "s2"} })
		ref, _ := s.GroupRef([]byte("pool"))
		call := func() {
			c := backends.NewCall()
			c.SetToolCall("echo", []byte(`{"text":"hi"}`))
			c.Principal = "alice"
			wantNil(t, ref.Do(c, time.Minute))
		}
		for range 6 {
			call()
		}
		if n := s.view("s2").Counters.Calls.Load(); n != 6 {
			t.Errorf("%d of 6 calls went to the pinned member", n)
		}
		wantNil(t, s.Stop(context.Background(), "s2", "test"))
		call()
	})
}
