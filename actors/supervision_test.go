package actors

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aabb9013/hangar/backends"
	"github.com/aabb9013/hangar/backends/fake"
	"github.com/aabb9013/hangar/persistence"
	"github.com/aabb9013/hangar/supervisor"
)

// R06: the restart of a group when the start of the crashed one fails, when
// that of another member fails, and when a member does not stop.
func TestR06FailuresDuringAGroupRestart(t *testing.T) {
	failing := func(who string, epochs ...uint64) script {
		return func(server string, epoch uint64) fake.Script {
			for _, e := range epochs {
				if server == who && epoch == e {
					return fake.Script{StartErr: errors.New("not yet")}
				}
			}
			return fake.Script{IgnoreStop: who == "stubborn" && server == "web" && epoch == 1}
		}
	}
	for _, tt := range []struct {
		name string
		sc   script
		want string
	}{
		{"the start of the crashed one fails twice", failing("db", 2, 3), "-db -job -web -api !db !db +db +api +web +job"},
		// It is not retried by itself; web, which needs it, asks for it again.
		{"the start of a member fails", failing("api", 2), "-db -job -web -api +db !api +api +web +job"},
		{"a member does not stop", failing("stubborn"), "-db -job -web -api +db +api +web +job"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				s, l := newLives(t, tt.sc, shop(strategy(supervisor.RestForOne))...)
				s.startAll()
				l.take()
				s.backend.Last("db").Crash(1)
				time.Sleep(30 * time.Second)
				got := l.take()
				if got != tt.want {
					t.Errorf("lives %q, want %q", got, tt.want)
				}
				s.wantState("web", supervisor.Ready, supervisor.PhaseNone)
			})
		})
	}
}

func TestPermanentServersRunFromTheStart(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s, l := newLives(t, nil, spec("db"), spec("api", needs("db"), restart(supervisor.Permanent)), spec("lazy"))
		l.want(t, "+db +api")
		time.Sleep(24 * time.Hour)
		s.wantState("api", supervisor.Ready, supervisor.PhaseNone)
		s.wantState("db", supervisor.Ready, supervisor.PhaseNone) // idle, but needed
		if err := s.Create(t.Context(), spec("later", restart(supervisor.Permanent))); err != nil {
			t.Fatal(err)
		}
		s.wantState("later", supervisor.Ready, supervisor.PhaseNone)
		if err := s.Stop(t.Context(), "later", "test"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
		s.wantState("later", supervisor.Cold, supervisor.PhaseNone) // an operator's word
	})
}

func TestPermanentDependentsComeBackWithTheDependency(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s, l := newLives(t, nil,
			spec("db", strategy(supervisor.RestForOne)), spec("api", needs("db"), restart(supervisor.Permanent)),
			spec("web", needs("api"), restart(supervisor.Permanent)), spec("job", needs("db")))
		s.startAll()
		for range supervisor.DefaultMaxRestarts + 1 {
			s.backend.Last("db").Crash(1)
			time.Sleep(2 * time.Second)
		}
		s.wantState("db", supervisor.Dead, supervisor.PhaseGaveUp)
		s.wantState("web", supervisor.Cold, supervisor.PhaseNone)
		err := s.echo("job")
		wantErr(t, err, supervisor.ErrStartFailed)
		if !strings.Contains(err.Error(), `"db"`) {
			t.Errorf("%v", err)
		}
		if _, err := s.Start(t.Context(), "api"); err == nil { // of a server that did nothing wrong
			t.Error("api started without db")
		}
		l.take()
		// Those that need it may have started it before the answer is read.
		v, err := s.Reset(t.Context(), "db")
		if err != nil || v.State == supervisor.Dead || v.Restarts != 0 {
			t.Fatalf("%+v %v", v, err)
		}
		l.want(t, "+db +api +web") // db is not permanent, but those that need it are
		s.mustEcho("db")
		l.want(t, "")
		s.mustEcho("job")
	})
}

// All instances end with the reaper, in any order; an instance that comes back
// before what it needs must not stay as it is.
func TestInstancesLostWithTheReaperComeBackInOrder(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s, l := newLives(t, nil, spec("db", strategy(supervisor.RestForOne)), spec("api", needs("db"), strategy(supervisor.RestForOne)),
			spec("web", needs("api")))
		s.startAll()
		for range 2 * supervisor.DefaultMaxRestarts {
			l.take()
			for _, id := range []string{"web", "api", "db"} {
				s.backend.Last(id).Kill(backends.ErrReaperLost)
				synctest.Wait()
			}
			if got := l.take(); !strings.HasSuffix(got, "-db -web -api +db +api +web") {
				t.Fatalf("lives %q", got)
			}
		}
		for _, id := range []string{"web", "api", "db"} {
			if v := s.view(id); !v.Alive() || v.Restarts != 0 || v.Failures != 0 {
				t.Errorf("%s: %+v", id, v)
			}
		}
	})
}

func TestStopOfTheOneThatIsRecovered(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s, l := newLives(t, func(server string, epoch uint64) fake.Script {
			if server == "db" && epoch > 1 {
				return fake.Script{StartErr: errors.New("not yet")}
			}
			return fake.Script{}
		}, shop(strategy(supervisor.RestForOne))...)
		s.startAll()
		l.take()
		s.backend.Last("db").Crash(1)
		s.wantState("db", supervisor.Dead, supervisor.PhaseBackoff)
		p := s.begin(callOf{server: "web", tool: "echo"}) // waits for its turn
		synctest.Wait()
		if err := s.Stop(t.Context(), "db", "test"); err != nil {
			t.Fatal(err)
		}
		wantErr(t, p.wait(), supervisor.ErrCannotStart)
		time.Sleep(time.Hour)
		for _, id := range []string{"db", "api", "web", "job"} {
			s.wantState(id, supervisor.Cold, supervisor.PhaseNone)
		}
		if s.count("db", supervisor.SupervisionEscalated) != 0 {
			t.Error("an operator's stop is no escalation")
		}
	})
}

func TestResetOfTheOneThatIsRecovered(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s, l := newLives(t, func(server string, epoch uint64) fake.Script {
			if server == "db" && epoch == 2 {
				return fake.Script{StartErr: errors.New("not yet")}
			}
			return fake.Script{}
		}, shop(strategy(supervisor.RestForOne), func(s *supervisor.ServerSpec) { s.Backoff.Initial, s.Backoff.Max = time.Minute, time.Hour })...)
		s.startAll()
		l.take()
		s.backend.Last("db").Crash(1)
		s.wantState("db", supervisor.Dead, supervisor.PhaseBackoff)
		l.want(t, "-db -job -web -api !db")
		if _, err := s.Reset(t.Context(), "db"); err != nil {
			t.Fatal(err)
		}
		l.want(t, "+db +api +web +job")
	})
}

// TestPermanentErrorIsTriedOnlyWhenAsked: on every way to a start that cannot
// succeed, nobody tries again by himself.
func TestPermanentErrorIsTriedOnlyWhenAsked(t *testing.T) {
	missing := errors.Join(backends.ErrPermanent, errors.New("no such program"))
	for _, kind := range []supervisor.Restart{supervisor.Permanent, supervisor.Transient, supervisor.Temporary} {
		for good := range uint64(3) { // the program vanishes after so many starts
			t.Run(fmt.Sprint(kind, good), func(t *testing.T) {
				bubble(t, func(t *testing.T) {
					s := newTestSystem(t, func(_ string, epoch uint64) fake.Script {
						if epoch > good {
							return fake.Script{StartErr: missing}
						}
						return fake.Script{}
					}, spec("a", restart(kind)))
					_ = s.echo("a") // or it runs, or failed, already
					for range good {
						if in := s.backend.Last("a"); in != nil {
							in.Crash(1)
						}
						time.Sleep(time.Minute)
					}
					before := s.backend.Starts()
					if kind != supervisor.Temporary && uint64(before) != good+1 && !(kind == supervisor.Permanent && good == 0) {
						t.Errorf("%d starts, want %d", before, good+1)
					}
					time.Sleep(24 * time.Hour)
					if n := s.backend.Starts(); n != before {
						t.Errorf("%d starts without a call", n-before)
					}
					if kind == supervisor.Temporary {
						return
					}
					_, err := s.Start(t.Context(), "a")
					wantErr(t, err, supervisor.ErrStartFailed)
					wantErr(t, err, backends.ErrPermanent) // or who repeats calls would repeat this one
					if v := s.view("a"); s.backend.Starts() != before+1 || v.State != supervisor.Dead || v.Phase != supervisor.PhaseNone {
						t.Errorf("%v %v after %d starts", v.State, v.Phase, s.backend.Starts())
					}
				})
			})
		}
	}
}

func TestResetForgets(t *testing.T) {
	bubble(t, func(t *testing.T) {
		crashing := new(atomic.Bool)
		crashing.Store(true)
		s := newTestSystem(t, func(string, uint64) fake.Script {
			if crashing.Load() {
				return fake.Script{RunFor: time.Millisecond, ExitCode: 1}
			}
			return fake.Script{}
		}, spec("a"), spec("p", restart(supervisor.Permanent)))
		s.startAll()
		time.Sleep(time.Minute)
		s.wantState("a", supervisor.Dead, supervisor.PhaseGaveUp)
		s.wantState("p", supervisor.Dead, supervisor.PhaseGaveUp)
		crashing.Store(false)
		v, err := s.Reset(t.Context(), "a")
		if err != nil || v.State != supervisor.Cold || v.Phase != supervisor.PhaseNone || v.Failures != 0 || v.Restarts != 0 || !v.NextRetryAt.IsZero() {
			t.Fatalf("%+v, %v", v, err)
		}
		if v, err = s.Reset(t.Context(), "p"); err != nil || v.State == supervisor.Cold || v.Restarts != 0 {
			t.Fatalf("%+v, %v", v, err)
		}
		s.wantState("p", supervisor.Ready, supervisor.PhaseNone) // it is to run
		s.mustEcho("a")
		if s.count("a", supervisor.ServerReset) != 1 {
			t.Errorf("events %v", kinds(s.events("a")))
		}
		if v, err = s.Reset(t.Context(), "a"); err != nil || v.State != supervisor.Ready || v.Epoch != s.view("a").Epoch {
			t.Errorf("reset of a running server: %+v, %v", v, err)
		}
		_, err = s.Reset(t.Context(), "nobody")
		wantErr(t, err, supervisor.ErrServerNotFound)
	})
}

func TestResetLetsCallsInBackoffGo(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newTestSystem(t, nil, spec("a"))
		s.mustEcho("a")
		for range 4 {
			s.backend.Last("a").Crash(1)
			time.Sleep(time.Second)
		}
		s.backend.Last("a").Crash(1)
		s.wantState("a", supervisor.Dead, supervisor.PhaseBackoff)
		p := s.begin(callOf{server: "a", tool: "echo"})
		synctest.Wait()
		if _, err := s.Reset(t.Context(), "a"); err != nil {
			t.Fatal(err)
		}
		if err := p.wait(); err != nil || p.took != 0 {
			t.Errorf("%v after %v", err, p.took)
		}
	})
}

// giveActorUp panics a server's actor until it is given up.
func (s *testSystem) giveActorUp(server string, armed *atomic.Bool) {
	s.t.Helper()
	armed.Store(true)
	ref, _ := s.Ref([]byte(server))
	flying := s.begin(callOf{server: server, tool: "sleep", args: `{"ms":600000}`, timeout: time.Hour})
	synctest.Wait()
	for range maxActorFailures + 1 {
		ref.Cancel(flying.call.ID, errors.New("test"))
	}
	wantErr(s.t, flying.wait(), supervisor.ErrInternal, backends.ErrCrashed)
	armed.Store(false)
	s.wantState(server, supervisor.Dead, supervisor.PhaseGaveUp)
}

func TestActorThatWasGivenUpGetsANewLife(t *testing.T) {
	bubble(t, func(t *testing.T) {
		armed := new(atomic.Bool)
		s := newPanicky(t, armed, spec("a"), spec("p", restart(supervisor.Permanent)))
		s.startAll()
		for life := range 3 { // each life has its own ten failures
			s.mustEcho("a")
			before := s.view("a")
			s.giveActorUp("a", armed)
			wantErr(t, s.echo("a"), supervisor.ErrInternal)
			if life%2 == 0 {
				v, err := s.Reset(t.Context(), "a")
				if err != nil || v.State != supervisor.Cold || v.Phase != supervisor.PhaseNone {
					t.Fatalf("reset: %+v, %v", v, err)
				}
			} else if _, err := s.Start(t.Context(), "a"); err != nil {
				t.Fatal(err)
			}
			s.mustEcho("a")
			v := s.view("a")
			if v.Epoch <= before.Epoch || v.Counters != before.Counters || v.Restarts != 0 || s.backend.MaxLiveOf("a") != 1 {
				t.Errorf("life %d: %+v", life, v)
			}
		}
		if s.view("a").ActorRestarts != 3*(maxActorFailures+1) {
			t.Errorf("%d actor failures", s.view("a").ActorRestarts)
		}
		s.giveActorUp("p", armed)
		if v, err := s.Reset(t.Context(), "p"); err != nil {
			t.Errorf("%+v, %v", v, err)
		}
		s.wantState("p", supervisor.Ready, supervisor.PhaseNone)
		s.giveActorUp("a", armed)
		if err := s.Delete(t.Context(), "a"); err != nil { // the old way still works
			t.Error(err)
		}
		_, err := s.Reset(t.Context(), "a")
		wantErr(t, err, supervisor.ErrServerNotFound)
	})
}

func TestManyRevivalsAtOnceAreOne(t *testing.T) {
	bubble(t, func(t *testing.T) {
		armed := new(atomic.Bool)
		s := newPanicky(t, armed, spec("a"))
		s.mustEcho("a")
		s.giveActorUp("a", armed)
		errs := make(chan error, 20)
		for range 20 {
			go func() { _, err := s.Start(t.Context(), "a"); errs <- err }()
		}
		for range 20 {
			if err := <-errs; err != nil {
				t.Error(err)
			}
		}
		if s.backend.MaxLiveOf("a") != 1 || s.view("a").Epoch != 2 {
			t.Errorf("%d live, epoch %d", s.backend.MaxLiveOf("a"), s.view("a").Epoch)
		}
	})
}

func TestGivenUpActorEscalates(t *testing.T) {
	bubble(t, func(t *testing.T) {
		armed := new(atomic.Bool)
		s := newPanicky(t, armed, spec("db", strategy(supervisor.RestForOne)), spec("api", needs("db")))
		s.startAll()
		s.giveActorUp("db", armed)
		s.wantState("api", supervisor.Cold, supervisor.PhaseNone)
		if s.count("db", supervisor.SupervisionEscalated) != 1 {
			t.Errorf("events %v", kinds(s.events("db")))
		}
		err := s.echo("api")
		wantErr(t, err, supervisor.ErrStartFailed)
		if !strings.Contains(err.Error(), `"db"`) {
			t.Errorf("%v", err)
		}
		if _, err := s.Start(t.Context(), "db"); err != nil {
			t.Fatal(err)
		}
		s.mustEcho("api")
	})
}

func TestDependenciesAreCheckedAtCreationAndDeletion(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newTestSystem(t, nil, spec("db"))
		err := s.Create(t.Context(), spec("api", needs("db", "cache")))
		wantErr(t, err, supervisor.ErrInvalidSpec)
		if !strings.Contains(err.Error(), `"cache"`) {
			t.Errorf("%v", err)
		}
		if err := s.Create(t.Context(), spec("api", needs("db"))); err != nil {
			t.Fatal(err)
		}
		err = s.Delete(t.Context(), "db")
		wantErr(t, err, supervisor.ErrInUse)
		if !strings.Contains(err.Error(), "api") {
			t.Errorf("%v", err)
		}
		for _, id := range []string{"api", "db"} {
			if err := s.Delete(t.Context(), id); err != nil {
				t.Error(err)
			}
		}
	})
}

// TestCreationAndDeletionRace: while the one is written to the disk the other
// must know of it.
func TestCreationAndDeletionRace(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s, store := newFlakySystem(t, nil)
		store.latency.Store(int64(time.Second))
		for i := range 4 {
			db := fmt.Sprint("db", i)
			if err := s.Create(t.Context(), spec(db)); err != nil {
				t.Fatal(err)
			}
			made, deleted := make(chan error, 1), make(chan error, 1)
			create := func() { made <- s.Create(t.Context(), spec(fmt.Sprint("api", i), needs(db))) }
			remove := func() { deleted <- s.Delete(t.Context(), db) }
			first, second := create, remove
			if i%2 == 0 {
				first, second = remove, create
			}
			go first()
			synctest.Wait()
			go second()
			errMade, errDeleted := <-made, <-deleted
			if (errMade == nil) == (errDeleted == nil) {
				t.Errorf("created: %v, deleted: %v; one must be refused", errMade, errDeleted)
			}
		}
	})
}

func TestStoredServerWhoseDependencyIsGone(t *testing.T) {
	bubble(t, func(t *testing.T) {
		store := persistence.NewMemory()
		first := newTestSystemWith(t, nil, func(o *Options) {
			o.Store, o.Specs = store, []supervisor.ServerSpec{spec("db", func(s *supervisor.ServerSpec) { s.Provenance = supervisor.FromConfig })}
		})
		if err := first.Create(t.Context(), spec("api", needs("db"), restart(supervisor.Permanent))); err != nil {
			t.Fatal(err)
		}
		_ = first.Close(context.Background())
		s := newTestSystemWith(t, nil, func(o *Options) { o.Store = store }) // the file has lost db
		err := s.echo("api")
		wantErr(t, err, supervisor.ErrStartFailed)
		if !strings.Contains(err.Error(), `"db" is not up: there is no such server`) {
			t.Errorf("%v", err)
		}
		// A circle that only shows when the missing one comes back is refused.
		wantErr(t, s.Create(t.Context(), spec("db", needs("api"))), supervisor.ErrInvalidSpec)
		if err := s.Create(t.Context(), spec("db")); err != nil {
			t.Fatal(err)
		}
		s.mustEcho("api")
	})
}

func TestPanicOfTheDependenciesActorLetsStartsGo(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s, _ := newLives(t, func(server string, _ uint64) fake.Script {
			return fake.Script{InitDelay: map[bool]time.Duration{true: time.Hour}[server == "db"]}
		}, spec("db"), spec("api", needs("db")))
		p := s.begin(callOf{server: "api", tool: "echo"})
		s.wantState("api", supervisor.Initializing, supervisor.PhaseNone)
		s.tell(s.dependencies, memberFact{kind: memberCrashed}) // of no cell
		if err := p.wait(); err != nil || p.took != 0 {
			t.Errorf("%v after %v", err, p.took)
		}
		synctest.Wait()
		tops := s.TopActors()
		at := slices.IndexFunc(tops, func(top TopActor) bool { return top.Name == "dependencies" })
		if at < 0 || tops[at].Failures != 1 {
			t.Errorf("%+v", tops)
		}
	})
}

// TestFleetWithoutDependenciesTellsNobody: the dependencies actor has nothing
// to do with servers that have none.
func TestFleetWithoutDependenciesTellsNobody(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newTestSystem(t, nil, spec("a", strategy(supervisor.AllForOne)))
		s.engine.root.Stop(s.dependencies) // a message to it would now be lost
		s.mustEcho("a")
		s.backend.Last("a").Crash(1)
		s.mustEcho("a")
		s.dependencies = s.engine.spawnTop("dependencies2", newDependencies(s.System))
	})
}

// TestMemoryPressureSparesWhatIsToRun: neither a permanent server nor what it
// needs is idle, however much memory they use.
func TestMemoryPressureSparesWhatIsToRun(t *testing.T) {
	bubble(t, func(t *testing.T) {
		sc := &scale{}
		s := newTestSystemWith(t, nil, func(o *Options) {
			o.Backends[supervisor.ModeSubprocess] = &numbered{Backend: o.Backends[supervisor.ModeSubprocess]}
			o.MemoryBudget, o.SampleMemory = 1000, sc.sample
			o.Specs = []supervisor.ServerSpec{spec("db"), spec("api", needs("db"), restart(supervisor.Permanent)), spec("lazy")}
		})
		s.mustEcho("lazy")
		s.wantState("api", supervisor.Ready, supervisor.PhaseNone)
		for _, id := range []string{"db", "api", "lazy"} {
			sc.weigh(s, id, 900)
		}
		time.Sleep(time.Minute)
		tick()
		s.wantState("api", supervisor.Ready, supervisor.PhaseNone)
		s.wantState("db", supervisor.Ready, supervisor.PhaseNone)
		s.wantState("lazy", supervisor.Cold, supervisor.PhaseNone)
	})
}
