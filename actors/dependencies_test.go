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

func needs(ids ...string) func(*supervisor.ServerSpec) {
	return func(s *supervisor.ServerSpec) { s.DependsOn = ids }
}

func strategy(name supervisor.RestartStrategy) func(*supervisor.ServerSpec) {
	return func(s *supervisor.ServerSpec) { s.Strategy = name }
}

func restart(kind supervisor.Restart) func(*supervisor.ServerSpec) {
	return func(s *supervisor.ServerSpec) { s.Restart = kind }
}

// lives writes down which instances start and end, in order.
type lives struct {
	backends.Backend
	mu  sync.Mutex
	log []string
}

func (l *lives) note(what string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.log = append(l.log, what)
}

func (l *lives) Start(ctx context.Context, spec backends.LaunchSpec) (backends.Instance, error) {
	spec.Observer = endNoter{spec.Observer, spec.Server, l}
	in, err := l.Backend.Start(ctx, spec)
	mark := "+"
	if err != nil {
		mark = "!"
	}
	l.note(mark + spec.Server)
	return in, err
}

// endNoter notes an end before anybody can act on it.
type endNoter struct {
	backends.Observer
	server string
	lives  *lives
}

func (n endNoter) Ended(epoch uint64, exit backends.Exit) {
	n.lives.note("-" + n.server)
	n.Observer.Ended(epoch, exit)
}

// take returns what was written since the last time.
func (l *lives) take() string {
	synctest.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	log := strings.Join(l.log, " ")
	l.log = nil
	return log
}

func newLives(t *testing.T, sc script, specs ...supervisor.ServerSpec) (*testSystem, *lives) {
	t.Helper()
	l := &lives{}
	s := newTestSystemWith(t, sc, func(o *Options) {
		l.Backend = o.Backends[supervisor.ModeSubprocess]
		o.Backends = map[supervisor.Mode]backends.Backend{supervisor.ModeSubprocess: l}
		o.Specs = specs
	})
	return s, l
}

func (l *lives) want(t *testing.T, want string) {
	t.Helper()
	if got := l.take(); got != want {
		t.Errorf("lives %q, want %q", got, want)
	}
}

// shop is a fleet in which web needs api and cache, api and job need db.
func shop(edits ...func(*supervisor.ServerSpec)) []supervisor.ServerSpec {
	return []supervisor.ServerSpec{
		spec("web", append(edits, needs("api", "cache"))...), spec("api", append(edits, needs("db"))...),
		spec("db", edits...), spec("cache", edits...), spec("job", append(edits, needs("db"))...), spec("lone", edits...),
	}
}

func (s *testSystem) startAll() {
	s.t.Helper()
	for _, v := range s.Views() {
		if _, err := s.Start(s.t.Context(), v.Spec.ID); err != nil {
			s.t.Fatal(err)
		}
	}
	synctest.Wait()
}

func TestCallBringsDependenciesUpFirst(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s, l := newLives(t, always(fake.Script{StartDelay: time.Second}), shop()...)
		p := s.begin(callOf{server: "web", tool: "echo"})
		if err := p.wait(); err != nil {
			t.Fatal(err)
		}
		if p.took != 3*time.Second { // db, then api, then web; cache beside them
			t.Errorf("took %v", p.took)
		}
		got := strings.Fields(l.take())
		if len(got) != 4 || slices.Index(got, "+db") > slices.Index(got, "+api") || got[3] != "+web" {
			t.Errorf("lives %v", got)
		}
		s.mustEcho("web")
		l.want(t, "")
	})
}

func TestStopOfADependencyLeavesDependentsAlone(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s, l := newLives(t, nil, shop(strategy(supervisor.AllForOne))...)
		s.startAll()
		l.take()
		if err := s.Stop(t.Context(), "db", "test"); err != nil {
			t.Fatal(err)
		}
		l.want(t, "-db")
		s.mustEcho("api")
		l.want(t, "")
		stopped, err := s.StopWithDependents(t.Context(), "db", "test")
		if err != nil || strings.Join(stopped, " ") != "job web api db" {
			t.Errorf("stopped %v, %v", stopped, err)
		}
		l.want(t, "-job -web -api")
	})
}

func TestFailedDependencyIsNamed(t *testing.T) {
	bubble(t, func(t *testing.T) {
		missing := errors.Join(backends.ErrPermanent, errors.New("no such program"))
		s, l := newLives(t, func(server string, _ uint64) fake.Script {
			if server == "db" {
				return fake.Script{StartErr: missing}
			}
			return fake.Script{}
		}, shop()...)
		for range 3 {
			err := s.echo("web")
			wantErr(t, err, supervisor.ErrStartFailed)
			for _, word := range []string{`"web"`, `"api"`, `"db"`, "no such program"} {
				if !strings.Contains(err.Error(), word) {
					t.Errorf("%v does not say %s", err, word)
				}
			}
		}
		v := s.view("api")
		if v.Failures != 0 || v.TotalFailures != 0 || v.Restarts != 0 || !strings.Contains(v.LastError, `dependency is not up: server "db"`) {
			t.Errorf("the dependency's failure counts: %+v", v)
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		if log := l.take(); strings.Count(log, "!db") != 3 {
			t.Errorf("a permanent failure was tried without a call: %s", log)
		}
	})
}

func TestWaitForADependencyIsBounded(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s, _ := newLives(t, func(server string, _ uint64) fake.Script {
			return fake.Script{InitHang: server == "db"}
		}, spec("db"), spec("api", needs("db"), func(s *supervisor.ServerSpec) { s.StartTimeout = 3 * time.Second }))
		p := s.begin(callOf{server: "api", tool: "echo"})
		wantErr(t, p.wait(), supervisor.ErrStartFailed)
		if p.took != 3*time.Second || !strings.Contains(p.err.Error(), `"db" is not up: it was not ready within 3s`) {
			t.Errorf("%v after %v", p.err, p.took)
		}
	})
}

func TestStopWhileWaitingForADependency(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s, l := newLives(t, func(server string, _ uint64) fake.Script {
			return fake.Script{InitHang: server == "db"}
		}, spec("db"), spec("api", needs("db")))
		p := s.begin(callOf{server: "api", tool: "echo"})
		s.wantState("api", supervisor.Initializing, supervisor.PhaseNone)
		if err := s.Stop(t.Context(), "api", "test"); err != nil {
			t.Fatal(err)
		}
		wantErr(t, p.wait(), supervisor.ErrStopped)
		s.wantState("api", supervisor.Cold, supervisor.PhaseNone)
		time.Sleep(time.Minute)
		if log := l.take(); strings.Contains(log, "api") {
			t.Errorf("lives %s", log)
		}
	})
}

// R06: strategy × restart type × how an instance ended: what it does to the
// server and to the others, by real actors over scripted servers.
func TestR06StrategiesAndRestartTypes(t *testing.T) {
	const initFailure, stopFailure = "init failure", "stop failure"
	crashed := map[supervisor.RestartStrategy]string{
		supervisor.OneForOne:  "-db +db",
		supervisor.RestForOne: "-db -job -web -api +db +api +web +job",
		supervisor.AllForOne:  "-db -job -web -cache -api +db +api +cache +web +job",
	}
	for strategyName, afterCrash := range crashed {
		for _, kind := range []supervisor.Restart{supervisor.Permanent, supervisor.Transient, supervisor.Temporary} {
			for _, end := range []string{"normal", "crash", initFailure, stopFailure} {
				want, restarts := afterCrash, 1
				switch {
				case kind == supervisor.Temporary, end == "normal" && kind == supervisor.Transient:
					want, restarts = "-db", 0 // neither restarted, nor anybody for it
				case end == initFailure: // of the restart, which is tried again before anything else starts
					want, restarts = strings.Replace(want, "+db", "!db +db", 1), 2
				}
				sc := func(server string, epoch uint64) fake.Script {
					script := fake.Script{IgnoreStop: end == stopFailure && epoch == 1}
					if end == initFailure && server == "db" && epoch == 2 {
						script.StartErr = errors.New("not yet")
					}
					return script
				}
				t.Run(fmt.Sprint(strategyName, "/", kind, "/", end), func(t *testing.T) {
					bubble(t, func(t *testing.T) {
						s, l := newLives(t, sc, shop(strategy(strategyName), func(s *supervisor.ServerSpec) {
							if s.ID == "db" {
								s.Restart = kind
							}
						})...)
						s.startAll()
						l.take()
						code := 1
						if end == "normal" {
							code = 0
						}
						s.backend.Last("db").Crash(code)
						time.Sleep(time.Minute - time.Second) // all stop ladders and delays; the window has not slid
						l.want(t, want)
						for _, id := range []string{"web", "api", "cache", "job"} {
							if v := s.view(id); v.Restarts != 0 || v.Failures != 0 || v.State != supervisor.Ready {
								t.Errorf("%s: state %v, %d restarts, %d failures: the end is the one of db", id, v.State, v.Restarts, v.Failures)
							}
						}
						if v := s.view("db"); v.Restarts != restarts {
							t.Errorf("db has used %d restarts, want %d", v.Restarts, restarts)
						}
					})
				})
			}
		}
	}
}

func TestTemporaryMembersAreNotStartedAgain(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s, l := newLives(t, nil, spec("db", strategy(supervisor.RestForOne)), spec("api", needs("db"), restart(supervisor.Temporary)), spec("job", needs("db")))
		s.startAll()
		l.take()
		s.backend.Last("db").Crash(1)
		l.want(t, "-db -job -api +db +job")
		s.mustEcho("api") // a call is no restart
	})
}

func TestCallsWaitThroughAGroupRestart(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s, l := newLives(t, always(fake.Script{StartDelay: time.Second}), shop(strategy(supervisor.RestForOne), concurrency(1))...)
		s.startAll()
		l.take()
		flying := s.begin(callOf{server: "web", tool: "sleep", args: `{"ms":2000}`})
		synctest.Wait()
		waiting := s.begin(callOf{server: "web", tool: "echo"})
		synctest.Wait()
		s.backend.Last("db").Crash(1)
		if err := flying.wait(); err != nil { // a stop drains
			t.Errorf("call in flight: %v", err)
		}
		if err := waiting.wait(); err != nil || waiting.took != 5*time.Second { // 2 s of drain, then db, api, web
			t.Errorf("waiting call: %v after %v", err, waiting.took)
		}
		l.want(t, "-db -job -web -api +db +api +web")
	})
}

// R05: five crashes are restarted, the sixth within a minute gives up and
// takes the dependents down, once, with the reason.
func TestR05EscalatesOnce(t *testing.T) {
	for _, tt := range []struct {
		strategy supervisor.RestartStrategy
		stopped  string
	}{
		{supervisor.OneForOne, "none"},
		{supervisor.RestForOne, "[job web api]"},
		{supervisor.AllForOne, "[job web cache api]"},
	} {
		t.Run(string(tt.strategy), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				s, l := newLives(t, nil, shop(strategy(tt.strategy))...)
				s.startAll()
				for n := range supervisor.DefaultMaxRestarts {
					s.backend.Last("db").Crash(1)
					time.Sleep(5 * time.Second)
					s.wantState("db", supervisor.Ready, supervisor.PhaseNone)
					s.wantState("web", supervisor.Ready, supervisor.PhaseNone)
					if v := s.view("db"); v.Restarts != n+1 {
						t.Fatalf("%d restarts after %d crashes", v.Restarts, n+1)
					}
				}
				l.take()
				s.backend.Last("db").Crash(1)
				s.wantState("db", supervisor.Dead, supervisor.PhaseGaveUp)
				time.Sleep(time.Hour)
				s.wantState("lone", supervisor.Cold, supervisor.PhaseNone) // idle
				if log := l.take(); strings.Contains(log, "+") {
					t.Errorf("something started again: %s", log)
				}
				got := "none"
				for _, e := range s.events("db") {
					if e.kind == supervisor.SupervisionEscalated {
						if got != "none" || e.data["strategy"] != string(tt.strategy) || !strings.Contains(fmt.Sprint(e.data["reason"]), "exit code 1") {
							t.Errorf("escalation %v", e.data)
						}
						got = fmt.Sprint(e.data["stopped"])
					}
				}
				if got != tt.stopped {
					t.Errorf("stopped %s, want %s", got, tt.stopped)
				}
				gone := 0
				for _, e := range s.events("web") {
					if e.kind == supervisor.ServerStopped && e.data["reason"] == reasonGaveUp {
						gone++
					}
				}
				if want := map[bool]int{true: 1}[tt.stopped != "none"]; gone != want {
					t.Errorf("web was stopped for it %d times, want %d", gone, want)
				}
			})
		})
	}
}

func TestR05WindowSlides(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s, _ := newLives(t, nil, spec("a", func(s *supervisor.ServerSpec) { s.Backoff.Max = time.Second }))
		s.startAll()
		for range 30 { // one every 13 s: never six in a minute
			s.backend.Last("a").Crash(1)
			time.Sleep(13 * time.Second)
			s.wantState("a", supervisor.Ready, supervisor.PhaseNone)
		}
	})
}

// R04: a crash loop costs at most six starts a minute and says when it goes on.
func TestR04CrashLoop(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s, _ := newLives(t, always(fake.Script{RunFor: time.Millisecond, ExitCode: 1}), specs(50)...)
		s.startAll()
		sawBackoff := make(map[string]bool)
		for range 600 {
			time.Sleep(100 * time.Millisecond)
			synctest.Wait()
			for _, v := range s.Views() {
				if v.Phase == supervisor.PhaseBackoff {
					sawBackoff[v.Spec.ID] = v.State == supervisor.Dead && !v.NextRetryAt.IsZero()
				}
			}
		}
		if n := s.backend.Starts(); n > 50*6 {
			t.Errorf("%d starts of 50 servers in a minute", n)
		}
		for _, v := range s.Views() {
			if v.Phase != supervisor.PhaseGaveUp || !sawBackoff[v.Spec.ID] {
				t.Errorf("%s: phase %v, backoff seen %v", v.Spec.ID, v.Phase, sawBackoff[v.Spec.ID])
			}
		}
	})
}
