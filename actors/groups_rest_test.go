package actors

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aabb9013/hangar/backends"
	"github.com/aabb9013/hangar/backends/fake"
	"github.com/aabb9013/hangar/supervisor"
)

// TestMemberStoppedForMemoryIsWoken: like an idle stop it is nobody's wish that
// the member be down.
func TestMemberStoppedForMemoryIsWoken(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newGroupSystem(t, nil, 2)
		c := s.fleet.Load().byID["s0"]
		s.tell(c.pid, reclaimServer{epoch: s.view("s0").Epoch, lastUsed: time.Now().Add(time.Hour)})
		s.wantState("s0", supervisor.Cold, supervisor.PhaseNone)
		s.wantGroup(supervisor.GroupHealthy, "s0", "s1")
		wantNil(t, s.echoGroup())
		wantNil(t, s.echoGroup())
		s.wantState("s0", supervisor.Ready, supervisor.PhaseNone)
	})
}

// TestReloadedMemberStaysInRotation: its next call starts it with the new spec.
func TestReloadedMemberStaysInRotation(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newGroupSystem(t, nil, 1)
		wantNil(t, s.Put(context.Background(), spec("s0", concurrency(7)), DrainInstance))
		s.wantState("s0", supervisor.Cold, supervisor.PhaseNone)
		s.wantGroup(supervisor.GroupHealthy, "s0")
		wantNil(t, s.echoGroup())
		if v := s.group(); v.Circuit != supervisor.CircuitClosed || v.Members[0].Failures != 0 {
			t.Errorf("%+v", v)
		}
	})
}

// TestMendedMemberIsTriedAtOnce: a new spec and a reset are new chances for a
// member that had failed for good.
func TestMendedMemberIsTriedAtOnce(t *testing.T) {
	ctx := context.Background()
	for name, mend := range map[string]func(s *testSystem) error{
		"reload": func(s *testSystem) error { return s.Put(ctx, spec("s0", concurrency(7)), DrainInstance) },
		"reset":  func(s *testSystem) error { _, err := s.Reset(ctx, "s0"); return err },
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				var broken atomic.Bool
				broken.Store(true)
				s := newGroupSystem(t, func(server string, _ uint64) fake.Script {
					if server == "s0" && broken.Load() {
						return fake.Script{StartErr: errors.Join(backends.ErrPermanent, errors.New("no such program"))}
					}
					return fake.Script{}
				}, 2)
				s.wantGroup(supervisor.GroupHealthy, "s1")
				broken.Store(false)
				wantNil(t, mend(s))
				s.wantGroup(supervisor.GroupHealthy, "s0", "s1")
			})
		})
	}
}

// TestStopOfAFailedMemberIsAWish: nobody starts it again.
func TestStopOfAFailedMemberIsAWish(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var starts atomic.Int64
		s := newGroupSystem(t, func(server string, _ uint64) fake.Script {
			if server == "s0" {
				starts.Add(1)
				return fake.Script{StartErr: errors.New("no luck")}
			}
			return fake.Script{}
		}, 2)
		wantNil(t, s.Stop(context.Background(), "s0", "test"))
		synctest.Wait()
		before := starts.Load()
		time.Sleep(10 * time.Minute)
		if n := starts.Load() - before; n != 0 {
			t.Errorf("started %d times after the stop", n)
		}
	})
}

// TestMemberOfAServerThatGaveUpComesBack: s1 is stopped because s0, which it
// depends on, was given up. When that serves again, so does the member.
func TestMemberOfAServerThatGaveUpComesBack(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newTestSystem(t, nil,
			spec("s0", strategy(supervisor.RestForOne), func(s *supervisor.ServerSpec) { s.MaxRestarts = 1 }), spec("s1", needs("s0")))
		ctx := context.Background()
		wantNil(t, s.CreateGroup(ctx, groupSpec([]string{"s1"})))
		s.wantGroup(supervisor.GroupHealthy, "s1")
		for range 2 {
			s.backend.Last("s0").Crash(1)
			synctest.Wait()
		}
		s.wantState("s0", supervisor.Dead, supervisor.PhaseGaveUp)
		s.wantGroup(supervisor.GroupInactive)
		time.Sleep(5 * time.Minute) // the budget of s0 is back
		s.wantGroup(supervisor.GroupHealthy, "s1")
		wantNil(t, s.echoGroup())
	})
}
