package actors

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aabb9013/hangar/backends"
	"github.com/aabb9013/hangar/backends/fake"
	"github.com/aabb9013/hangar/supervisor"
)

func TestCrashFailsWhatWasSentAndKeepsWhatWaits(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newTestSystem(t, nil, spec("a", concurrency(2)), spec("b"))
		s.mustEcho("a")
		other := s.begin(callOf{server: "b", tool: "sleep", args: `{"ms":500}`})
		sent := []*pending{
			s.begin(callOf{server: "a", tool: "sleep", args: `{"ms":60000}`}),
			s.begin(callOf{server: "a", tool: "sleep", args: `{"ms":60000}`}),
		}
		synctest.Wait()
		var waiting []*pending
		for i := range 10 {
			waiting = append(waiting, s.begin(callOf{server: "a", tool: "echo", args: fmt.Sprintf(`{"text":"%d"}`, i)}))
		}
		synctest.Wait()
		if n := s.view("a").Counters.Waiting.Load(); n != 10 {
			t.Fatalf("%d calls wait, want 10", n)
		}
		s.backend.Last("a").Crash(3)
		for _, p := range sent {
			var crash *backends.CrashError
			if !errors.As(p.wait(), &crash) || !crash.Sent || crash.Exit.Code != 3 {
				t.Errorf("got %v, want a crash after sending", p.err)
			}
		}
		for _, p := range waiting {
			if err := p.wait(); err != nil || p.took != 0 { // the first restart is at once
				t.Errorf("waiting call: %v after %v", err, p.took)
			}
		}
		if err := other.wait(); err != nil {
			t.Errorf("call of another server: %v", err)
		}
		if v := s.view("a"); v.Epoch != 2 || v.TotalFailures != 1 || v.State != supervisor.Ready {
			t.Errorf("view %+v", v)
		}
		if v := s.view("b"); v.Epoch != 1 || v.TotalFailures != 0 {
			t.Errorf("other server's view %+v", v)
		}
	})
}

func TestUnsentCallIsSentAgain(t *testing.T) {
	bubble(t, func(t *testing.T) {
		// A full stdin keeps the later calls unwritten until the crash.
		s := newTestSystem(t, func(_ string, epoch uint64) fake.Script {
			return fake.Script{NeverRead: epoch == 1}
		}, spec("a"))
		if _, err := s.Start(t.Context(), "a"); err != nil {
			t.Fatal(err)
		}
		big := make([]byte, 300<<10)
		for i := range big {
			big[i] = 'x'
		}
		args := `{"text":"` + string(big) + `"}`
		sent := s.begin(callOf{server: "a", tool: "echo", args: args})
		synctest.Wait()
		unsent := s.begin(callOf{server: "a", tool: "echo", args: args})
		synctest.Wait()
		s.backend.Last("a").Crash(1)
		var crash *backends.CrashError
		if !errors.As(sent.wait(), &crash) || !crash.Sent {
			t.Errorf("first call: %v", sent.err)
		}
		if err := unsent.wait(); err != nil {
			t.Errorf("unsent call: %v", err)
		}
	})
}

func TestCrashLoopBacksOffAndGivesUp(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newTestSystem(t, always(fake.Script{RunFor: 10 * time.Millisecond, ExitCode: 1}), spec("a"))
		if _, err := s.Start(t.Context(), "a"); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		time.Sleep(10 * time.Millisecond)
		synctest.Wait()
		if n := s.backend.Starts(); n != 2 {
			t.Errorf("%d starts after the first crash, want a restart at once", n)
		}
		time.Sleep(20 * time.Millisecond)
		synctest.Wait()
		if v := s.view("a"); v.Phase != supervisor.PhaseBackoff || v.NextRetryAt.IsZero() {
			t.Errorf("after the second crash: %v %v", v.State, v.Phase)
		}
		time.Sleep(time.Minute - time.Since(began) - time.Second)
		if n := s.backend.Starts(); n != 1+supervisor.DefaultMaxRestarts {
			t.Errorf("%d starts in a minute, want %d", n, 1+supervisor.DefaultMaxRestarts)
		}
		s.wantState("a", supervisor.Dead, supervisor.PhaseGaveUp)
		if n := s.count("a", supervisor.ServerGaveUp); n != 1 {
			t.Errorf("%d GaveUp events", n)
		}
		p := s.begin(callOf{server: "a", tool: "echo"})
		wantErr(t, p.wait(), supervisor.ErrCannotStart)
		if p.took != 0 {
			t.Errorf("refused after %v", p.took)
		}
	})
}

func TestCallsWaitThroughABackoff(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newTestSystem(t, func(_ string, epoch uint64) fake.Script {
			return fake.Script{CrashAfter: map[bool]int{true: 1}[epoch <= 2], ExitCode: 1}
		}, spec("a"))
		for range 2 {
			wantErr(t, s.echo("a"), backends.ErrCrashed)
		}
		s.wantState("a", supervisor.Dead, supervisor.PhaseBackoff)
		p := s.begin(callOf{server: "a", tool: "echo", args: `{"text":"x"}`})
		if err := p.wait(); err != nil || p.took == 0 {
			t.Errorf("got %v after %v", err, p.took)
		}
	})
}

func TestServerThatExitsCleanlyIsColdAndWakesAgain(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newTestSystem(t, nil, spec("a"))
		s.mustEcho("a")
		s.backend.Last("a").Crash(0)
		s.wantState("a", supervisor.Cold, supervisor.PhaseNone)
		s.mustEcho("a")
		if v := s.view("a"); v.Epoch != 2 || v.TotalFailures != 0 {
			t.Errorf("view %+v", v)
		}
	})
}

// newPanicky is a system whose instance of a panics over tool boom and over
// every cancellation while armed.
func newPanicky(t *testing.T, armed *atomic.Bool, all ...supervisor.ServerSpec) *testSystem {
	return newRiggedSystem(t, nil, &rigged{
		onSend: func(c *backends.Call) {
			if c.Tool == "boom" {
				panic("test")
			}
		},
		onCancel: func() {
			if armed.Load() {
				panic("test")
			}
		},
	}, func(o *Options) { o.Specs = all })
}

func TestPanicLosesNoCallAndNoInstance(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newPanicky(t, new(atomic.Bool), spec("a", concurrency(3)))
		s.mustEcho("a")
		var calls []*pending
		for range 8 { // three in flight, five wait
			calls = append(calls, s.begin(callOf{server: "a", tool: "sleep", args: `{"ms":1000}`}))
		}
		synctest.Wait()
		boom := s.begin(callOf{server: "a", tool: "boom", session: 7})
		wantErr(t, boom.wait(), supervisor.ErrInternal)
		for _, p := range calls {
			if err := p.wait(); err != nil {
				t.Errorf("call beside the panic: %v", err)
			}
		}
		s.mustEcho("a")
		if v := s.view("a"); v.Epoch != 1 || s.backend.Starts() != 1 {
			t.Errorf("epoch %d, %d starts: the instance did not live on", v.Epoch, s.backend.Starts())
		}
		found := false
		for _, e := range s.events("") {
			found = found || e.kind == supervisor.ActorRestarted && e.data["actor"] == "servers/1/a" && e.data["gave_up"] == false
		}
		if !found {
			t.Errorf("no ActorRestarted event: %v", s.events(""))
		}
	})
}

func TestPanicOverAFreshInstanceKeepsIt(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newPanicky(t, new(atomic.Bool), spec("a"))
		// They wait for the start: the panic hits the message that brings the
		// instance, before every call is sent.
		before := s.begin(callOf{server: "a", tool: "echo", args: `{"text":"x"}`})
		synctest.Wait()
		s.mustEcho("a")
		if err := before.wait(); err != nil {
			t.Error(err)
		}
		if err := s.Stop(t.Context(), "a", "test"); err != nil {
			t.Fatal(err)
		}
		var calls []*pending
		boom := -1
		for i := range 9 {
			o := callOf{server: "a", tool: "echo", args: `{"text":"x"}`}
			if i == 4 {
				o.tool, boom = "boom", i
			}
			calls = append(calls, s.begin(o))
		}
		for i, p := range calls {
			if err := p.wait(); (i == boom) != errors.Is(err, supervisor.ErrInternal) || i != boom && err != nil {
				t.Errorf("call %d: %v", i, err)
			}
		}
		if v := s.view("a"); v.Epoch != 2 || s.backend.Live() != 1 || v.State != supervisor.Ready {
			t.Errorf("epoch %d, %v, %d live", v.Epoch, v.State, s.backend.Live())
		}
		s.mustEcho("a")
	})
}

func TestActorThatKeepsPanickingIsGivenUp(t *testing.T) {
	bubble(t, func(t *testing.T) {
		armed := new(atomic.Bool)
		s := newPanicky(t, armed, spec("a", concurrency(1)), spec("b"))
		s.mustEcho("a")
		flying := s.begin(callOf{server: "a", tool: "sleep", args: `{"ms":600000}`, timeout: time.Hour})
		synctest.Wait()
		waiting := s.begin(callOf{server: "a", tool: "echo", timeout: time.Hour})
		synctest.Wait()
		armed.Store(true)
		ref, _ := s.Ref([]byte("a"))
		for range maxActorFailures + 1 {
			ref.Cancel(flying.call.ID, errors.New("test"))
		}
		wantErr(t, flying.wait(), supervisor.ErrInternal, backends.ErrCrashed)
		wantErr(t, waiting.wait(), supervisor.ErrInternal)
		wantErr(t, s.echo("a"), supervisor.ErrInternal)
		s.wantState("a", supervisor.Dead, supervisor.PhaseGaveUp)
		if n := s.backend.Live(); n != 0 {
			t.Errorf("%d instances live", n)
		}
		wantErr(t, s.Stop(t.Context(), "a", "test"), supervisor.ErrInternal)
		ttl := 10 * time.Second
		wantErr(t, s.Update(t.Context(), "a", supervisor.Patch{IdleTTL: &ttl}), supervisor.ErrInternal)
		s.mustEcho("b")
		gaveUp := 0
		for _, e := range s.events("") {
			if e.kind == supervisor.ActorRestarted && e.data["gave_up"] == true {
				gaveUp++
			}
		}
		if gaveUp != 1 || s.count("", supervisor.ActorRestarted) != maxActorFailures+1 {
			t.Errorf("events %v", kinds(s.events("")))
		}
		if err := s.Delete(t.Context(), "a"); err != nil {
			t.Errorf("delete: %v", err)
		}
		if err := s.Create(t.Context(), spec("a")); err != nil {
			t.Errorf("create again: %v", err)
		}
		armed.Store(false)
		s.mustEcho("a")
	})
}

func TestPanicsFarApartAreForgotten(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newPanicky(t, new(atomic.Bool), spec("a"))
		s.mustEcho("a")
		for range 30 {
			wantErr(t, s.begin(callOf{server: "a", tool: "boom"}).wait(), supervisor.ErrInternal)
			time.Sleep(7 * time.Second)
		}
		s.mustEcho("a")
	})
}

func TestPanicAtTheTopKeepsStateAndAnswers(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newTestSystem(t, nil, spec("a"))
		s.mustEcho("a")
		for i := range 15 { // more than a server's actor may
			s.tell(s.registry, changeCommitted{apply: func(error) { panic("test") }})
			done := make(chan error, 1)
			s.tell(s.eventlog, commit{done: func(error) { panic("test") }})
			s.tell(s.eventlog, commit{done: func(err error) { done <- err }})
			s.tell(s.starts, wantStart{})
			s.tell(s.servers, spawnServer{then: func(error) {}})
			if err := s.Create(t.Context(), spec(fmt.Sprint("new", i))); err != nil {
				t.Fatal(err)
			}
			if err := <-done; err != nil {
				t.Error(err)
			}
			s.mustEcho(fmt.Sprint("new", i))
		}
		s.mustEcho("a")
		if v := s.view("a"); v.Epoch != 1 || len(s.Views()) != 16 {
			t.Errorf("epoch %d, %d servers", v.Epoch, len(s.Views()))
		}
		if n := s.count("", supervisor.ActorRestarted); n < 45 {
			t.Errorf("%d restarts logged", n)
		}
	})
}

func TestStopReturnsThoughACallStartsTheServerAgain(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newTestSystem(t, always(fake.Script{StopDelay: time.Second}), spec("a"))
		s.mustEcho("a")
		stopped := make(chan time.Duration, 1)
		began := time.Now()
		go func() {
			if err := s.Stop(t.Context(), "a", "test"); err != nil {
				t.Error(err)
			}
			stopped <- time.Since(began)
		}()
		synctest.Wait()
		s.mustEcho("a") // waits for the stop, then starts the next instance
		if took := <-stopped; took != time.Second {
			t.Errorf("stop took %v", took)
		}
		if v := s.view("a"); v.Epoch != 2 {
			t.Errorf("epoch %d", v.Epoch)
		}
	})
}

// TestRestartsOfAFleetAreSpread is the jitter of R03: servers that are killed at
// one moment do not ask for their starts at one moment, though the first restart
// of each is at once. A stop in the meantime ends what waits.
func TestRestartsOfAFleetAreSpread(t *testing.T) {
	bubble(t, func(t *testing.T) {
		const n, widest = 300, 10 * time.Millisecond
		var mu sync.Mutex
		var starts []time.Time
		s := newTestSystemWith(t, func(_ string, epoch uint64) fake.Script {
			if epoch == 2 {
				mu.Lock()
				starts = append(starts, time.Now())
				mu.Unlock()
			}
			return fake.Script{}
		}, func(o *Options) { o.Specs, o.MaxParallelStarts = specs(n, jittered), n })
		for i := range n {
			s.mustEcho(fmt.Sprint("s", i))
		}
		killed := time.Now()
		for i := range n {
			s.backend.Last(fmt.Sprint("s", i)).Crash(1)
		}
		synctest.Wait()
		if time.Since(killed) != 0 {
			t.Fatal("the kills took time")
		}
		if v := s.view("s0"); v.State != supervisor.Initializing || v.Restarts != 1 {
			t.Errorf("s0 is %s with %d restarts, want it to be coming back", v.State, v.Restarts)
		}
		for i := range n / 10 {
			if err := s.Stop(t.Context(), fmt.Sprint("s", i), "test"); err != nil {
				t.Fatal(err)
			}
		}
		mu.Lock()
		early := len(starts) // a restart can have been due at the very moment
		mu.Unlock()
		time.Sleep(widest)
		synctest.Wait()
		mu.Lock()
		defer mu.Unlock()
		if len(starts) < n-n/10 || len(starts) > n-n/10+early {
			t.Errorf("%d servers came back, want all but %d that were stopped", len(starts), n/10)
		}
		var fifths [5]int
		for _, at := range starts {
			fifths[min(int(5*at.Sub(killed)/widest), 4)]++
		}
		for i, got := range fifths {
			if got < n/5/3 {
				t.Errorf("%d of %d restarts in the fifth %d of %s, want them spread: %v", got, len(starts), i+1, widest, fifths)
			}
		}
		for i := range n / 10 {
			s.wantState(fmt.Sprint("s", i), supervisor.Cold, supervisor.PhaseNone)
		}
		s.wantIdleStarts()
	})
}
