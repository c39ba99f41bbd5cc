package actors

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aabb9013/hangar/backends"
	"github.com/aabb9013/hangar/backends/fake"
	"github.com/aabb9013/hangar/supervisor"
)

func TestFirstCallsShareOneStart(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newTestSystem(t, always(fake.Script{StartDelay: time.Second}), spec("a"))
		var calls []*pending
		for range 100 {
			calls = append(calls, s.begin(callOf{server: "a", tool: "echo", args: `{"text":"x"}`}))
		}
		for _, p := range calls {
			if err := p.wait(); err != nil {
				t.Error(err)
			}
		}
		if n := s.backend.Starts(); n != 1 {
			t.Errorf("%d starts", n)
		}
	})
}

func TestStartFailureAnswersEveryoneWhoWaits(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newTestSystem(t, always(fake.Script{StartDelay: time.Second, StartErr: errors.New("no luck")}), spec("a"))
		var wg sync.WaitGroup
		for range 20 {
			wg.Go(func() { wantErr(t, s.echo("a"), supervisor.ErrStartFailed) })
			wg.Go(func() {
				_, err := s.Start(t.Context(), "a")
				wantErr(t, err, supervisor.ErrStartFailed)
			})
		}
		wg.Wait()
		if n := s.backend.Starts(); n != 1 {
			t.Errorf("%d starts", n)
		}
		s.wantState("a", supervisor.Dead, supervisor.PhaseNone)
	})
}

func TestPermanentFailureNeverLoops(t *testing.T) {
	bubble(t, func(t *testing.T) {
		missing := fmt.Errorf("%w: no such program", backends.ErrPermanent)
		s := newTestSystem(t, always(fake.Script{StartErr: missing}), spec("a"))
		wantErr(t, s.echo("a"), supervisor.ErrStartFailed)
		time.Sleep(time.Hour)
		if n := s.backend.Starts(); n != 1 {
			t.Errorf("%d starts", n)
		}
		if n := s.count("a", supervisor.ServerStartFailed); n != 1 {
			t.Errorf("%d start failures logged", n)
		}
	})
}

func TestDegradedServerRefusesUntilItsTimeOrAnOperator(t *testing.T) {
	bubble(t, func(t *testing.T) {
		broken := true
		s := newTestSystem(t, func(string, uint64) fake.Script {
			if broken {
				return fake.Script{ExitOnStart: true, ExitCode: 2}
			}
			return fake.Script{}
		}, spec("a"))
		for range supervisor.DefaultMaxFailures {
			wantErr(t, s.echo("a"), supervisor.ErrStartFailed, supervisor.ErrCannotStart)
		}
		s.wantState("a", supervisor.Degraded, supervisor.PhaseNone)
		starts := s.backend.Starts()
		err := s.echo("a")
		var refused *supervisor.CannotStartError
		if !errors.As(err, &refused) || refused.RetryAfter <= 0 {
			t.Fatalf("got %v, want a refusal with the time of the next try", err)
		}
		if s.backend.Starts() != starts {
			t.Error("a refused call started the server")
		}
		broken = false
		v, err := s.Start(t.Context(), "a")
		if err != nil || v.State != supervisor.Ready || v.Failures != 0 {
			t.Fatalf("operator's start: %+v, %v", v, err)
		}
		s.mustEcho("a")
	})
}

func TestStartIsBoundedByItsTimeout(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newTestSystem(t, always(fake.Script{InitHang: true}), spec("a", func(s *supervisor.ServerSpec) { s.StartTimeout = 3 * time.Second }))
		p := s.begin(callOf{server: "a", tool: "echo"})
		wantErr(t, p.wait(), supervisor.ErrStartFailed)
		if p.took != 3*time.Second {
			t.Errorf("took %v", p.took)
		}
		synctest.Wait()
		if s.backend.Live() != 0 {
			t.Error("the failed start left its instance")
		}
	})
}

func TestUnbuiltModeFailsTheStart(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newTestSystem(t, nil, spec("a", func(s *supervisor.ServerSpec) { s.Mode = supervisor.ModeRemote }))
		wantErr(t, s.echo("a"), supervisor.ErrStartFailed)
	})
}

func TestStartsAreAdmittedFewAtATime(t *testing.T) {
	for _, fails := range []bool{false, true} {
		bubble(t, func(t *testing.T) {
			sc := fake.Script{StartDelay: time.Second}
			if fails {
				sc.StartErr = errors.New("no luck")
			}
			s := newTestSystemWith(t, always(sc), func(o *Options) { o.Specs, o.MaxParallelStarts = specs(40), 4 })
			var calls []*pending
			for i := range 40 {
				calls = append(calls, s.begin(callOf{server: fmt.Sprint("s", i), tool: "echo", args: `{"text":"x"}`}))
			}
			for _, p := range calls {
				if err := p.wait(); (err != nil) != fails {
					t.Error(err)
				}
			}
			if n := s.backend.MaxStarting(); n != 4 {
				t.Errorf("%d starts at once, want 4", n)
			}
			s.wantIdleStarts()
		})
	}
}

// wantIdleStarts fails unless every slot is free.
func (s *testSystem) wantIdleStarts() {
	s.t.Helper()
	synctest.Wait()
	if n := s.Starting(); n != 0 {
		s.t.Errorf("%d slots are taken", n)
	}
}

func TestServersWithWaitingCallsStartFirst(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var mu sync.Mutex
		var order []string
		s := newTestSystemWith(t, func(server string, _ uint64) fake.Script {
			mu.Lock()
			defer mu.Unlock()
			order = append(order, server)
			return fake.Script{InitDelay: time.Second, StartDelay: time.Second}
		}, func(o *Options) { o.Specs, o.MaxParallelStarts = specs(4), 1 })
		for i := range 3 { // operators: s0 runs, s1 and s2 wait
			go s.Start(context.Background(), fmt.Sprint("s", i))
			synctest.Wait()
		}
		s.mustEcho("s3")
		time.Sleep(time.Minute)
		mu.Lock()
		defer mu.Unlock()
		if want := []string{"s0", "s3", "s1", "s2"}; !slices.Equal(order, want) {
			t.Errorf("order %v, want %v", order, want)
		}
	})
}

// A call that waits for a server waits for what that one needs, too. The turn after
// that goes to who asked before.
func TestDependenciesOfWaitingCallsStartFirst(t *testing.T) {
	for _, tt := range []struct {
		name    string
		earlier []string // operators' starts, before the call of api
	}{
		{"the call comes first", []string{"s0", "s1", "s2"}},
		{"the call meets a start that waits", []string{"s0", "s1", "s2", "api"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				var mu sync.Mutex
				var order []string
				s := newTestSystemWith(t, func(server string, _ uint64) fake.Script {
					mu.Lock()
					defer mu.Unlock()
					order = append(order, server)
					return fake.Script{StartDelay: time.Second}
				}, func(o *Options) {
					o.Specs, o.MaxParallelStarts = append(specs(3), spec("db"), spec("api", needs("db"))), 1
				})
				for _, id := range tt.earlier {
					go s.Start(context.Background(), id)
					synctest.Wait()
				}
				s.mustEcho("api")
				time.Sleep(time.Minute)
				mu.Lock()
				defer mu.Unlock()
				// Whether db's turn is given on before api hears that db is there is chance.
				if got := strings.Join(order, " "); got != "s0 db api s1 s2" && got != "s0 db s1 api s2" {
					t.Errorf("order %s, want db before s1 and api before s2", got)
				}
			})
		})
	}
}

func TestStopFreesTheTurnOfAWaitingServer(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newTestSystemWith(t, always(fake.Script{InitDelay: 10 * time.Second}), func(o *Options) { o.Specs, o.MaxParallelStarts = specs(3), 1 })
		running := s.begin(callOf{server: "s0", tool: "echo"})
		synctest.Wait()
		waits := s.begin(callOf{server: "s1", tool: "echo"})
		synctest.Wait()
		began := time.Now()
		if err := s.Stop(t.Context(), "s1", "test"); err != nil || time.Since(began) != 0 {
			t.Errorf("stop: %v after %v", err, time.Since(began))
		}
		wantErr(t, waits.wait(), supervisor.ErrStopped)
		if err := s.Stop(t.Context(), "s0", "test"); err != nil { // an attempt that runs
			t.Error(err)
		}
		wantErr(t, running.wait(), supervisor.ErrStopped)
		s.mustEcho("s2")
		if n := s.backend.Starts(); n != 2 {
			t.Errorf("%d starts, want 2", n)
		}
		s.wantIdleStarts()
	})
}

func TestPanicInTheStartPathFailsTheStartOnly(t *testing.T) {
	bubble(t, func(t *testing.T) {
		left := 3
		rig := &rigged{onStart: func() {
			if left--; left >= 0 {
				panic("test")
			}
		}}
		s := newRiggedSystem(t, nil, rig, func(o *Options) { o.Specs, o.MaxParallelStarts = specs(4), 1 })
		for i := range 3 {
			wantErr(t, s.echo(fmt.Sprint("s", i)), supervisor.ErrStartFailed)
		}
		s.mustEcho("s3")
		s.wantIdleStarts()
	})
}

func TestPanicWithAGrantKeepsTheSlot(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newTestSystemWith(t, always(fake.Script{InitDelay: time.Second}), func(o *Options) { o.Specs, o.MaxParallelStarts = specs(2), 1 })
		c := s.fleet.Load().byID["s0"]
		// What the actor does when it panics over its grant.
		first := s.begin(callOf{server: "s1", tool: "echo", args: `{"text":"x"}`})
		synctest.Wait()
		waits := s.begin(callOf{server: "s0", tool: "echo", args: `{"text":"x"}`})
		synctest.Wait()
		c.panicked(startGranted{c.machine.Epoch}, supervisor.ErrInternal)
		c.onActorStarted()
		if err := first.wait(); err != nil {
			t.Error(err)
		}
		wantErr(t, waits.wait(), supervisor.ErrStartFailed)
		s.mustEcho("s0")
		s.wantIdleStarts()
	})
}

func TestTimeoutsGiveTheirSlotsBack(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var all []supervisor.ServerSpec
		for i := range 10 {
			all = append(all, spec(fmt.Sprint("s", i), func(s *supervisor.ServerSpec) { s.StartTimeout = time.Second }))
		}
		s := newTestSystemWith(t, func(server string, _ uint64) fake.Script {
			return fake.Script{InitHang: server != "s9"}
		}, func(o *Options) { o.Specs, o.MaxParallelStarts = all, 2 })
		var calls []*pending
		for i := range 9 {
			calls = append(calls, s.begin(callOf{server: fmt.Sprint("s", i), tool: "echo"}))
		}
		for _, p := range calls {
			wantErr(t, p.wait(), supervisor.ErrStartFailed)
		}
		s.wantIdleStarts()
		s.mustEcho("s9")
	})
}

func TestWholeFleetKilledAtOnceComesBackFewAtATime(t *testing.T) {
	bubble(t, func(t *testing.T) {
		const n = 300
		s := newTestSystemWith(t, always(fake.Script{StartDelay: 100 * time.Millisecond}), func(o *Options) { o.Specs, o.MaxParallelStarts = specs(n), 4 })
		for i := range n {
			go s.Start(context.Background(), fmt.Sprint("s", i))
		}
		time.Sleep(20 * time.Second)
		if live := s.backend.Live(); live != n {
			t.Fatalf("%d live", live)
		}
		began := time.Now()
		for _, in := range s.backend.Instances() {
			in.Crash(1)
		}
		// Calls do not wait for the whole fleet.
		p := s.begin(callOf{server: "s299", tool: "echo", args: `{"text":"x"}`})
		if err := p.wait(); err != nil && !errors.Is(err, backends.ErrCrashed) || p.took > 500*time.Millisecond {
			t.Errorf("a call of the last server: %v after %v", err, p.took)
		}
		for s.backend.Live() < n && time.Since(began) < time.Minute {
			time.Sleep(100 * time.Millisecond)
		}
		synctest.Wait()
		if took := time.Since(began); took > 15*time.Second || s.backend.MaxStarting() > 4 {
			t.Errorf("the fleet was back after %v, %d starts at once", took, s.backend.MaxStarting())
		}
		for _, v := range s.Views() {
			if v.State != supervisor.Ready || v.Epoch != 2 {
				t.Errorf("%s: %v, epoch %d", v.Spec.ID, v.State, v.Epoch)
			}
		}
	})
}
