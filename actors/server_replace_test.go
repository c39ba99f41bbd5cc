package actors

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aabb9013/hangar/backends"
	"github.com/aabb9013/hangar/backends/fake"
	"github.com/aabb9013/hangar/supervisor"
)

// scripts is one script for each epoch; later epochs have the zero Script.
func scripts(all ...fake.Script) script {
	return func(_ string, epoch uint64) fake.Script {
		if epoch <= uint64(len(all)) {
			return all[epoch-1]
		}
		return fake.Script{}
	}
}

// handOver begins a replacement and lets it go as far as it goes without time.
func (s *testSystem) handOver(id, text string, edits ...func(*supervisor.ServerSpec)) <-chan error {
	s.t.Helper()
	done := make(chan error, 1)
	next := fromFile(id, append(edits, described(text))...)
	go func() { done <- s.Put(context.Background(), next, HandOver) }()
	synctest.Wait()
	return done
}

// settled checks that nothing of a replacement is left.
func (s *testSystem) settled(id string, epoch uint64, text string) {
	s.t.Helper()
	synctest.Wait()
	if v := s.view(id); v.Epoch != epoch || v.State != supervisor.Ready || v.Spec.Description != text {
		s.t.Errorf("server %s is %v in epoch %d with %q, want ready in %d with %q", id, v.State, v.Epoch, v.Spec.Description, epoch, text)
	}
	if n := s.backend.Live(); n != 1 {
		s.t.Errorf("%d instances live, want 1", n)
	}
	if n := s.Starting(); n != 0 {
		s.t.Errorf("%d starts run, want none", n)
	}
}

func TestHandOverLosesNoCall(t *testing.T) {
	bubble(t, func(t *testing.T) {
		slow := fake.Script{CallDelay: 20 * time.Second}
		s := newTestSystem(t, scripts(slow, fake.Script{StartDelay: 3 * time.Second, Tools: []string{"fresh"}}), fromFile("a"))
		old := s.begin(callOf{server: "a", tool: "echo"})
		synctest.Wait()
		done := s.handOver("a", "new")
		meanwhile := s.begin(callOf{server: "a", tool: "echo"})
		synctest.Wait()
		if v := s.view("a"); v.Epoch != 1 || v.State != supervisor.Ready || v.Spec.Description != "" || s.backend.Last("a").InFlight() != 2 {
			t.Errorf("while the candidate comes up: %+v", v)
		}
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		s.mustEcho("a")
		if took := time.Since(began); took != 0 || s.view("a").Epoch != 2 {
			t.Errorf("the call after the switch took %s in epoch %d", took, s.view("a").Epoch)
		}
		if n := s.backend.Live(); n != 2 {
			t.Errorf("%d instances, want the old one to drain", n)
		}
		for _, p := range []*pending{old, meanwhile} {
			if err := p.wait(); err != nil {
				t.Errorf("a call of the old instance: %v", err)
			}
		}
		s.settled("a", 2, "new")
		if n := s.backend.MaxLiveOf("a"); n != 2 {
			t.Errorf("%d instances at one time, want 2", n)
		}
		events := s.events("a")
		i := slices.IndexFunc(events, func(e logged) bool { return e.kind == supervisor.ServerReplaced })
		if i < 0 || events[i].data["tools_added_count"] != 1.0 || events[i].data["old_epoch"] != 1.0 {
			t.Errorf("got %+v", events)
		}
		if s.count("a", supervisor.ServerUpdated) != 1 || s.count("a", supervisor.ServerStopped) != 1 || s.count("a", supervisor.ServerStateChanged) != 2 {
			t.Errorf("events: %v", kinds(events))
		}
	})
}

// TestCandidateThatFailsChangesNothing: each way to fail leaves the old
// instance, the old spec and the calls alone.
func TestCandidateThatFailsChangesNothing(t *testing.T) {
	for name, broken := range map[string]fake.Script{
		"spawn":     {StartErr: errors.New("no such program"), StartDelay: time.Second},
		"handshake": {InitCrash: true, ExitCode: 3, Stderr: []string{"it is broken"}},
		"version":   {BadVersion: "1999"},
		"hang":      {InitHang: true},
		"at once":   {ExitOnStart: true, ExitCode: 1},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				s := newTestSystem(t, scripts(fake.Script{}, broken), fromFile("a"))
				s.mustEcho("a")
				done := s.handOver("a", "new")
				s.mustEcho("a")
				wantErr(t, <-done, supervisor.ErrReplaceFailed)
				s.mustEcho("a")
				s.settled("a", 1, "")
				if s.count("a", supervisor.ServerUpdated) != 0 || s.count("a", supervisor.ServerReplaceFailed) != 1 || s.count("a", supervisor.ServerStartFailed) != 0 {
					t.Errorf("events: %v", kinds(s.events("a")))
				}
				dossiers, err := s.Crashes(t.Context(), "a", 10)
				if err != nil || len(dossiers) != 1 || dossiers[0].Epoch != 2 || dossiers[0].Decision.Action != supervisor.DecisionKept || !slices.Contains(dossiers[0].Changed, "description") {
					t.Errorf("dossiers: %+v, %v", dossiers, err)
				}
				if err := <-s.handOver("a", "better"); err != nil {
					t.Fatal(err)
				}
				s.settled("a", 3, "better") // no epoch is used twice
			})
		})
	}
}

func TestCandidateTakesOverWhenTheOldInstanceCrashes(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newTestSystem(t, scripts(fake.Script{}, fake.Script{StartDelay: 5 * time.Second}), fromFile("a"))
		s.mustEcho("a")
		done := s.handOver("a", "new")
		s.backend.Last("a").Crash(1)
		synctest.Wait()
		if v := s.view("a"); v.State != supervisor.Initializing || v.Epoch != 2 || v.Restarts != 1 {
			t.Errorf("after the crash: %+v", v)
		}
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		s.mustEcho("a")
		s.settled("a", 2, "new")
		if n := s.backend.Starts(); n != 2 {
			t.Errorf("%d starts, want 2", n)
		}
	})
}

// TestStopsDuringAHandOver: whoever ends the server ends both instances.
func TestStopsDuringAHandOver(t *testing.T) {
	stops := map[string]func(s *testSystem) error{
		"stop":   func(s *testSystem) error { return s.Stop(context.Background(), "a", "test") },
		"delete": func(s *testSystem) error { return s.Delete(context.Background(), "a") },
		"remove": func(s *testSystem) error { return s.Remove(context.Background(), "a", KillInstance) },
		"close":  func(s *testSystem) error { return s.Close(context.Background()) },
	}
	for name, stop := range stops {
		for moment, candidate := range map[string]fake.Script{
			"starting": {StartDelay: 10 * time.Second}, "shaking hands": {InitHang: true},
		} {
			t.Run(name+", "+moment, func(t *testing.T) {
				bubble(t, func(t *testing.T) {
					s := newTestSystem(t, scripts(fake.Script{}, candidate), fromFile("a"))
					s.mustEcho("a")
					done := s.handOver("a", "new")
					began := time.Now()
					if err := stop(s); err != nil {
						t.Fatal(err)
					}
					if n := s.backend.Live(); n != 0 || time.Since(began) > time.Second {
						t.Errorf("%d instances live after %s", n, time.Since(began))
					}
					wantErr(t, <-done, supervisor.ErrReplaceFailed, supervisor.ErrClosing)
				})
			})
		}
		t.Run(name+", draining", func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				s := newTestSystem(t, scripts(fake.Script{CallDelay: time.Minute}), fromFile("a"))
				call := s.begin(callOf{server: "a", tool: "echo", timeout: time.Hour})
				synctest.Wait()
				if err := <-s.handOver("a", "new"); err != nil {
					t.Fatal(err)
				}
				began := time.Now()
				if err := stop(s); err != nil {
					t.Fatal(err)
				}
				if n := s.backend.Live(); n != 0 || time.Since(began) > drainGrace+callersGrace {
					t.Errorf("%d instances live after %s", n, time.Since(began))
				}
				if call.wait() == nil {
					t.Error("the call outlived its instance")
				}
			})
		})
	}
}

// TestDrainingInstanceKeepsItsCallsBounds: deadlines and cancellations reach
// calls that the old instance still has.
func TestDrainingInstanceKeepsItsCallsBounds(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newTestSystem(t, scripts(fake.Script{CallDelay: time.Hour}), fromFile("a"))
		late := s.begin(callOf{server: "a", tool: "echo", timeout: 10 * time.Second})
		unwanted := s.begin(callOf{server: "a", tool: "echo", timeout: time.Hour})
		synctest.Wait()
		if err := <-s.handOver("a", "new"); err != nil {
			t.Fatal(err)
		}
		ref, _ := s.Ref([]byte("a"))
		cause := errors.New("nobody waits")
		ref.Cancel(unwanted.call.ID, cause)
		wantErr(t, unwanted.wait(), cause)
		wantErr(t, late.wait(), supervisor.ErrCallTimeout)
		if late.took != 10*time.Second {
			t.Errorf("the deadline came after %s", late.took)
		}
		s.settled("a", 2, "new")
	})
}

func TestDrainOfAReplacedInstanceIsBounded(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newTestSystem(t, scripts(fake.Script{CallDelay: time.Hour, IgnoreStop: true}), fromFile("a"))
		call := s.begin(callOf{server: "a", tool: "echo", timeout: time.Hour})
		synctest.Wait()
		if err := <-s.handOver("a", "new"); err != nil {
			t.Fatal(err)
		}
		// The next replacement waits for the end of the first.
		done := s.handOver("a", "newer")
		wantErr(t, call.wait(), backends.ErrCrashed)
		if call.took < replacedDrain || call.took > replacedDrain+10*time.Second {
			t.Errorf("the old instance was given %s", call.took)
		}
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		s.settled("a", 3, "newer")
		if n := s.backend.MaxLiveOf("a"); n != 2 {
			t.Errorf("%d instances at one time", n)
		}
	})
}

// TestNewerChangeEndsAHandOver: the newest change wins at once.
func TestNewerChangeEndsAHandOver(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newTestSystem(t, scripts(fake.Script{}, fake.Script{StartDelay: 10 * time.Second}), fromFile("a"))
		s.mustEcho("a")
		first, second := s.handOver("a", "first"), s.handOver("a", "second")
		wantErr(t, <-first, supervisor.ErrReplaceFailed)
		if err := <-second; err != nil {
			t.Fatal(err)
		}
		s.settled("a", 3, "second")
		text := "by API"
		third := s.handOver("a", "third")
		if err := s.Update(t.Context(), "a", supervisor.Patch{Description: &text}); err != nil {
			t.Fatal(err)
		}
		<-third
		synctest.Wait()
		if v := s.view("a"); v.Spec.Description != text {
			t.Errorf("got %q", v.Spec.Description)
		}
	})
}

func TestHandOverOfAServerThatDoesNotServeIsAReplacement(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newTestSystem(t, scripts(fake.Script{StartDelay: 5 * time.Second}), fromFile("a"))
		if err := <-s.handOver("a", "cold"); err != nil {
			t.Fatal(err)
		}
		s.wantState("a", supervisor.Cold, supervisor.PhaseNone)
		call := s.begin(callOf{server: "a", tool: "echo"})
		synctest.Wait()
		if err := <-s.handOver("a", "starting"); err != nil {
			t.Fatal(err)
		}
		if err := call.wait(); err != nil {
			t.Error(err)
		}
		s.settled("a", 2, "starting")
	})
}

func TestHandOverThatCannotBeWrittenChangesNothing(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s, store := newFlakySystem(t, nil, fromFile("a"))
		s.mustEcho("a")
		store.broken.Store(true)
		wantErr(t, <-s.handOver("a", "new"), supervisor.ErrReadOnly)
		store.broken.Store(false)
		s.settled("a", 1, "")
	})
}

// TestHandOverSurvivesPanicsOfTheActor: at each step of it the actor is lost
// once, and the server serves afterwards with one instance.
func TestHandOverSurvivesPanicsOfTheActor(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var panics int
		rig := &rigged{onSend: func(c *backends.Call) {
			if c.Tool == "crash-actor" && panics > 0 {
				panics--
				panic("provoked")
			}
		}}
		s := newRiggedSystem(t, scripts(fake.Script{}, fake.Script{StartDelay: 5 * time.Second}), rig, func(o *Options) {
			o.Specs = []supervisor.ServerSpec{fromFile("a")}
		})
		s.mustEcho("a")
		done := s.handOver("a", "new")
		panics = 1
		wantErr(t, s.begin(callOf{server: "a", tool: "crash-actor"}).wait(), supervisor.ErrInternal)
		s.mustEcho("a")
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		panics = 1
		wantErr(t, s.begin(callOf{server: "a", tool: "crash-actor"}).wait(), supervisor.ErrInternal)
		s.mustEcho("a")
		s.settled("a", 2, "new")
	})
}

// TestPanicInTheMiddleOfTheSwitch: the call that waits for a slot of the new
// instance loses the actor between the switch and the stop of the old one.
func TestPanicInTheMiddleOfTheSwitch(t *testing.T) {
	bubble(t, func(t *testing.T) {
		sends := 0
		rig := &rigged{onSend: func(*backends.Call) {
			if sends++; sends == 2 {
				panic("provoked")
			}
		}}
		s := newRiggedSystem(t, scripts(fake.Script{CallDelay: 10 * time.Second}), rig, func(o *Options) {
			o.Specs = []supervisor.ServerSpec{fromFile("a", concurrency(1))}
		})
		first := s.begin(callOf{server: "a", tool: "echo"})
		synctest.Wait()
		second := s.begin(callOf{server: "a", tool: "echo"})
		synctest.Wait()
		if err := <-s.handOver("a", "new", concurrency(1)); err != nil {
			t.Fatal(err)
		}
		wantErr(t, second.wait(), supervisor.ErrInternal)
		s.mustEcho("a")
		if err := first.wait(); err != nil {
			t.Errorf("the call of the old instance: %v", err)
		}
		s.settled("a", 2, "new")
	})
}

// TestLostFactsOfACandidateAreToldAgain: the actor is lost over the end of the
// attempt, whichever it is; the change has its answer all the same.
func TestLostFactsOfACandidateAreToldAgain(t *testing.T) {
	for name, c := range map[string]struct {
		candidate fake.Script
		epoch     uint64
	}{
		"ready": {fake.Script{StartDelay: time.Second}, 2}, "failed": {fake.Script{StartDelay: time.Second, InitCrash: true}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				var armed atomic.Bool
				rig := &rigged{onPID: func() {
					if armed.CompareAndSwap(true, false) {
						panic("provoked")
					}
				}}
				s := newRiggedSystem(t, scripts(fake.Script{}, c.candidate), rig, func(o *Options) {
					o.Specs = []supervisor.ServerSpec{fromFile("a")}
				})
				s.mustEcho("a")
				done := s.handOver("a", "new")
				armed.Store(true) // for the first state that is published after the attempt
				if err := <-done; (err == nil) != (c.epoch == 2) {
					t.Errorf("the change was answered with %v", err)
				}
				synctest.Wait()
				if armed.Load() || s.count("", supervisor.ActorRestarted) != 1 {
					t.Error("the actor was not lost")
				}
				s.mustEcho("a")
				s.settled("a", c.epoch, map[uint64]string{1: "", 2: "new"}[c.epoch])
			})
		})
	}
}

// TestHandOverChaos: seeded disturbances at random moments of replacements.
// There are never more than two instances, every call and every change has its
// answer, and in the end one instance serves with the last spec.
func TestHandOverChaos(t *testing.T) {
	for seed := range uint64(40) {
		bubble(t, func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 7))
			s := newTestSystem(t, func(_ string, epoch uint64) fake.Script {
				own := rand.New(rand.NewPCG(seed, epoch)) // starts are of another goroutine
				script := fake.Script{
					StartDelay: time.Duration(own.IntN(400)) * time.Millisecond, InitDelay: time.Duration(own.IntN(200)) * time.Millisecond,
					CallDelay: time.Duration(own.IntN(3000)) * time.Millisecond, StopDelay: time.Duration(own.IntN(1500)) * time.Millisecond,
				}
				switch own.IntN(8) {
				case 0:
					script.InitCrash, script.ExitCode = true, 1
				case 1:
					script.StartErr = errors.New("chaos")
				case 2:
					script.ExitAfterInit = true
				}
				return script
			}, fromFile("a"))
			var calls []*pending
			var changes []<-chan error
			for i := range 120 {
				time.Sleep(time.Duration(random.IntN(300)) * time.Millisecond)
				switch random.IntN(12) {
				case 0, 1, 2:
					changes = append(changes, s.handOver("a", fmt.Sprint("change ", i)))
				case 3:
					if in := s.backend.Last("a"); in != nil {
						in.Crash(1)
					}
				case 4:
					if all := s.backend.Instances(); len(all) > 1 {
						all[len(all)-2].Crash(1)
					}
				case 5:
					go func() { _ = s.Stop(context.Background(), "a", "chaos") }()
				case 6:
					go func() { _ = s.Put(context.Background(), fromFile("a", described("plain")), DrainInstance) }()
				default:
					calls = append(calls, s.begin(callOf{server: "a", tool: "echo", timeout: time.Duration(1+random.IntN(20)) * time.Second}))
				}
			}
			for _, p := range calls {
				_ = p.wait()
			}
			for _, done := range changes {
				<-done
			}
			time.Sleep(2 * replacedDrain) // what drained is gone, what was given up may start again
			if n := s.backend.MaxLiveOf("a"); n > 2 {
				t.Errorf("seed %d: %d instances at one time", seed, n)
			}
			for range 50 { // the scripts go on to break candidates and starts
				if _, err := s.Start(t.Context(), "a"); err == nil && <-s.handOver("a", "last") == nil {
					break
				}
			}
			time.Sleep(2 * time.Second)
			if v := s.view("a"); v.Spec.Description != "last" || s.backend.Live() > 1 || s.Starting() != 0 {
				t.Errorf("seed %d: %+v, %d live, %d starting", seed, v, s.backend.Live(), s.Starting())
			}
		})
	}
}
