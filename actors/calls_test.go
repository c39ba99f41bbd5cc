package actors

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aabb9013/hangar/backends"
	"github.com/aabb9013/hangar/backends/fake"
	"github.com/aabb9013/hangar/supervisor"
)

func TestQueueIsBoundedAndOneMoreIsRefusedAtOnce(t *testing.T) {
	bubble(t, func(t *testing.T) {
		rig := &rigged{}
		s := newRiggedSystem(t, always(fake.Script{CallDelay: time.Millisecond}), rig, func(o *Options) {
			o.Specs = []supervisor.ServerSpec{spec("a", concurrency(100))}
		})
		s.mustEcho("a")
		var calls []*pending
		for i := range 5000 {
			calls = append(calls, s.begin(callOf{server: "a", tool: "echo", args: `{"text":"x"}`, session: uint64(i % 7)}))
		}
		refused := 0
		for _, p := range calls {
			if err := p.wait(); errors.Is(err, supervisor.ErrOverloaded) {
				refused++
				if p.took != 0 {
					t.Fatalf("refused after %v", p.took)
				}
			} else if err != nil {
				t.Fatal(err)
			}
		}
		if want := 5000 - 100 - MaxWaiting; refused != want {
			t.Errorf("%d refused, want %d", refused, want)
		}
		if n := rig.mostInFlight(); n > 100 {
			t.Errorf("%d calls in flight, want at most 100", n)
		}
		if c := s.view("a").Counters; c.Calls.Load() != 5001 || c.Failed.Load() != int64(refused) {
			t.Errorf("%d calls, %d failed", c.Calls.Load(), c.Failed.Load())
		}
	})
}

// sendLog notes what reaches instances, in order.
type sendLog struct {
	mu   sync.Mutex
	sent []string
}

func (l *sendLog) rig() *rigged {
	return &rigged{onSend: func(c *backends.Call) {
		l.mu.Lock()
		defer l.mu.Unlock()
		_, name, _ := strings.Cut(string(c.Line), `"text":"`)
		name, _, _ = strings.Cut(name, `"`)
		l.sent = append(l.sent, name)
	}}
}

func (l *sendLog) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Join(l.sent, " ")
}

func TestSessionsTakeTurnsAndKeepTheirOrder(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var log sendLog
		s := newRiggedSystem(t, always(fake.Script{CallDelay: time.Second}), log.rig(), func(o *Options) {
			o.Specs = []supervisor.ServerSpec{spec("a", concurrency(1))}
		})
		text := func(session uint64, name string) *pending {
			p := s.begin(callOf{server: "a", tool: "echo", args: fmt.Sprintf(`{"text":%q}`, name), session: session})
			synctest.Wait()
			return p
		}
		var last *pending
		for i := range 4 {
			last = text(1, fmt.Sprint("a", i))
		}
		text(2, "b0")
		text(3, "c0")
		text(2, "b1")
		if err := last.wait(); err != nil {
			t.Fatal(err)
		}
		if want := "a0 a1 b0 c0 a2 b1 a3"; log.String() != want {
			t.Errorf("order %q, want %q", log.String(), want)
		}
	})
}

func TestOrderSurvivesACrash(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var log sendLog
		s := newRiggedSystem(t, nil, log.rig(), func(o *Options) {
			o.Specs = []supervisor.ServerSpec{spec("a", concurrency(1))}
		})
		s.begin(callOf{server: "a", tool: "sleep", args: `{"ms":60000}`})
		synctest.Wait()
		var calls []*pending
		for i := range 6 {
			calls = append(calls, s.begin(callOf{server: "a", tool: "echo", args: fmt.Sprintf(`{"text":"%d"}`, i)}))
			synctest.Wait()
		}
		s.backend.Last("a").Crash(1)
		for _, p := range calls {
			if err := p.wait(); err != nil {
				t.Error(err)
			}
		}
		if want := " 0 1 2 3 4 5"; !strings.HasSuffix(log.String(), want) {
			t.Errorf("order %q, want %q", log.String(), want)
		}
	})
}

func TestDeadlineInFlight(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newTestSystem(t, nil, spec("a", concurrency(1)))
		s.mustEcho("a")
		late := s.begin(callOf{server: "a", tool: "sleep", args: `{"ms":5000}`, timeout: time.Second})
		synctest.Wait()
		next := s.begin(callOf{server: "a", tool: "echo", args: `{"text":"x"}`})
		wantErr(t, late.wait(), supervisor.ErrCallTimeout)
		if late.took != time.Second {
			t.Errorf("timed out after %v", late.took)
		}
		if err := next.wait(); err != nil || next.took != time.Second { // the slot is free
			t.Errorf("next call: %v after %v", err, next.took)
		}
		time.Sleep(10 * time.Second)
		if n := s.backend.Last("a").InFlight(); n != 0 {
			t.Errorf("%d in flight", n)
		}
		s.mustEcho("a")
	})
}

func TestServerThatNeverAnswersHearsOfTheCancellation(t *testing.T) {
	bubble(t, func(t *testing.T) {
		// The fake drops a sleeping call when it is cancelled; a frozen one
		// catches up and answers late.
		s := newTestSystem(t, nil, spec("a"))
		s.mustEcho("a")
		in := s.backend.Last("a")
		in.Freeze()
		p := s.begin(callOf{server: "a", tool: "echo", args: `{"text":"late"}`, timeout: time.Second})
		wantErr(t, p.wait(), supervisor.ErrCallTimeout)
		in.Thaw()
		synctest.Wait()
		q := s.begin(callOf{server: "a", tool: "echo", args: `{"text":"mine"}`})
		if err := q.wait(); err != nil || !strings.Contains(q.text, "mine") {
			t.Errorf("got %q, %v", q.text, err)
		}
	})
}

func TestDeadlineWhileWaiting(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newTestSystem(t, always(fake.Script{StartDelay: 20 * time.Second}), spec("a", concurrency(1)))
		var calls []*pending
		for _, timeout := range []time.Duration{9, 3, 7, 1, 3} {
			calls = append(calls, s.begin(callOf{server: "a", tool: "echo", args: `{"text":"x"}`, timeout: timeout * time.Second}))
		}
		patient := s.begin(callOf{server: "a", tool: "sleep", args: `{"ms":10000}`, timeout: time.Minute})
		for i, want := range []time.Duration{9, 3, 7, 1, 3} {
			wantErr(t, calls[i].wait(), supervisor.ErrCallTimeout)
			if calls[i].took != want*time.Second {
				t.Errorf("call %d timed out after %v, want %v", i, calls[i].took, want*time.Second)
			}
		}
		if err := patient.wait(); err != nil || patient.took != 30*time.Second {
			t.Errorf("patient call: %v after %v", err, patient.took)
		}
		c := s.fleet.Load().byID["a"]
		time.Sleep(time.Minute)
		synctest.Wait()
		if !c.expireAt.IsZero() {
			t.Error("the expiry timer still runs")
		}
	})
}

func TestMixedDeadlinesQueuedAndInFlight(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newTestSystem(t, nil, spec("a", concurrency(3)))
		s.mustEcho("a")
		var calls []*pending
		want := []time.Duration{40, 10, 25, 30, 5, 20, 15, 35}
		for _, d := range want {
			calls = append(calls, s.begin(callOf{server: "a", tool: "sleep", args: `{"ms":3600000}`, timeout: d * time.Second}))
			synctest.Wait()
		}
		for i, p := range calls {
			wantErr(t, p.wait(), supervisor.ErrCallTimeout)
			if p.took != want[i]*time.Second {
				t.Errorf("call %d timed out after %v, want %v", i, p.took, want[i]*time.Second)
			}
		}
	})
}

func TestCancelInQueueAndInFlight(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newTestSystem(t, nil, spec("a", concurrency(1)))
		s.mustEcho("a")
		flying := s.begin(callOf{server: "a", tool: "sleep", args: `{"ms":60000}`})
		synctest.Wait()
		queued := s.begin(callOf{server: "a", tool: "sleep", args: `{"ms":60000}`})
		synctest.Wait()
		last := s.begin(callOf{server: "a", tool: "echo", args: `{"text":"x"}`})
		synctest.Wait()
		ref, _ := s.Ref([]byte("a"))
		ref.Cancel(queued.call.ID, context.Canceled)
		wantErr(t, queued.wait(), context.Canceled)
		if flying.isDone() || last.isDone() {
			t.Error("other calls ended")
		}
		ref.Cancel(flying.call.ID, context.Canceled)
		wantErr(t, flying.wait(), context.Canceled)
		if err := last.wait(); err != nil || last.took != 0 {
			t.Errorf("last call: %v after %v", err, last.took)
		}
		ref.Cancel(flying.call.ID, context.Canceled) // over already: nothing happens
		ref.Cancel(1<<60, context.Canceled)
		s.mustEcho("a")
	})
}

func TestCancellationMayOvertakeItsCall(t *testing.T) {
	bubble(t, func(t *testing.T) {
		sends := 0
		rig := &rigged{onSend: func(*backends.Call) { sends++ }}
		s := newRiggedSystem(t, nil, rig, func(o *Options) { o.Specs = []supervisor.ServerSpec{spec("a")} })
		s.mustEcho("a")
		ref, _ := s.Ref([]byte("a"))
		cause := errors.New("given up")
		c := backends.NewCall()
		c.SetToolCall("echo", []byte(`{"text":"x"}`))
		ref.Cancel(c.ID, cause)
		wantErr(t, ref.Do(c, time.Minute), cause)
		if sends != 1 {
			t.Errorf("the server got %d calls, want only the first", sends)
		}
		s.mustEcho("a")
	})
}

func TestCancellationsThatMeetNoCallAreForgotten(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newTestSystem(t, nil, spec("a"))
		ref, _ := s.Ref([]byte("a"))
		late, full := backends.NewCall(), backends.NewCall()
		ref.Cancel(late.ID, errors.New("too long ago"))
		time.Sleep(2*cancelMemory + time.Second)
		for range MaxCancelled {
			ref.Cancel(backends.NewCall().ID, errors.New("never comes"))
		}
		ref.Cancel(full.ID, errors.New("one too many"))
		for _, c := range []*backends.Call{late, full} {
			c.SetToolCall("echo", []byte(`{"text":"x"}`))
			if err := ref.Do(c, time.Minute); err != nil {
				t.Errorf("a call without a remembered cancellation: %v", err)
			}
		}
		if n := ref.cell.early.len(); n != MaxCancelled {
			t.Errorf("%d are remembered, want %d", n, MaxCancelled)
		}
		time.Sleep(2*cancelMemory + time.Second)
		s.mustEcho("a")
		if n := ref.cell.early.len(); n != 0 {
			t.Errorf("%d are remembered after their time", n)
		}
		// A steady trickle must not fill the memory for ever.
		for range 3 * MaxCancelled {
			ref.Cancel(backends.NewCall().ID, errors.New("never comes"))
			time.Sleep(3 * cancelMemory / MaxCancelled)
		}
		last := backends.NewCall()
		last.SetToolCall("echo", []byte(`{"text":"x"}`))
		cause := errors.New("in time")
		ref.Cancel(last.ID, cause)
		wantErr(t, ref.Do(last, time.Minute), cause)
	})
}

func TestIdleServerIsStoppedAndWakes(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newTestSystem(t, nil, spec("a", func(s *supervisor.ServerSpec) { s.IdleTTL = time.Minute }))
		s.mustEcho("a")
		long := s.begin(callOf{server: "a", tool: "sleep", args: `{"ms":300000}`, timeout: time.Hour})
		if err := long.wait(); err != nil { // five TTLs in flight
			t.Fatal(err)
		}
		time.Sleep(59 * time.Second)
		s.wantState("a", supervisor.Ready, supervisor.PhaseNone)
		s.mustEcho("a") // use puts it off
		time.Sleep(59 * time.Second)
		s.wantState("a", supervisor.Ready, supervisor.PhaseNone)
		time.Sleep(2 * time.Second)
		s.wantState("a", supervisor.Cold, supervisor.PhaseNone)
		v := s.view("a")
		if !v.ToolsStale || len(v.Catalogue.Tools) == 0 || s.backend.Live() != 0 {
			t.Errorf("after the idle stop: stale %v, %d tools, %d live", v.ToolsStale, len(v.Catalogue.Tools), s.backend.Live())
		}
		s.mustEcho("a")
		if v := s.view("a"); v.ToolsStale || v.Epoch != 2 {
			t.Errorf("after waking: stale %v, epoch %d", v.ToolsStale, v.Epoch)
		}
	})
}

func TestCallDuringAnIdleStopWaitsForTheNextInstance(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newTestSystem(t, always(fake.Script{StopDelay: time.Second}), spec("a", func(s *supervisor.ServerSpec) { s.IdleTTL = time.Minute }))
		s.mustEcho("a")
		time.Sleep(60*time.Second + 500*time.Millisecond)
		s.wantState("a", supervisor.Ready, supervisor.PhaseStopping)
		p := s.begin(callOf{server: "a", tool: "echo", args: `{"text":"x"}`})
		if err := p.wait(); err != nil || p.took != 500*time.Millisecond {
			t.Errorf("got %v after %v", err, p.took)
		}
	})
}

func TestFrozenServerIsReplaced(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newTestSystem(t, nil, spec("a", func(s *supervisor.ServerSpec) { s.HealthCheckInterval = 10 * time.Second; s.IdleTTL = time.Hour }))
		s.mustEcho("a")
		s.backend.Last("a").Freeze()
		time.Sleep(2 * time.Minute)
		s.wantState("a", supervisor.Ready, supervisor.PhaseNone)
		v := s.view("a")
		if v.Epoch != 2 || len(v.Checks) == 0 {
			t.Errorf("epoch %d, %d checks", v.Epoch, len(v.Checks))
		}
		for kind, want := range map[supervisor.EventKind]int{supervisor.HealthCheckFailed: supervisor.DefaultMaxFailures, supervisor.ServerDegraded: 1, supervisor.ServerCrashed: 1} {
			if n := s.count("a", kind); n != want {
				t.Errorf("%d %s events, want %d", n, kind, want)
			}
		}
		s.mustEcho("a")
	})
}

func TestTrafficReplacesProbes(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newTestSystem(t, nil, spec("a", func(s *supervisor.ServerSpec) { s.HealthCheckInterval = 10 * time.Second }))
		for range 100 {
			s.mustEcho("a")
			time.Sleep(time.Second)
		}
		if n := s.count("a", supervisor.HealthCheckPassed); n != 0 {
			t.Errorf("%d probes beside traffic", n)
		}
		time.Sleep(45 * time.Second) // the first within two intervals, then one each
		if n := s.count("a", supervisor.HealthCheckPassed); n < 3 || n > 4 {
			t.Errorf("%d probes without traffic, want 3 or 4", n)
		}
	})
}

func TestToolListIsReadAgainAtMostOnceASecond(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newTestSystem(t, always(fake.Script{ListChanged: true, NotifyFlood: 300}), spec("a"))
		before := s.FleetVersion()
		s.mustEcho("a")
		time.Sleep(5 * time.Second)
		if s.view("a").Catalogue.Tool([]byte("added")) == nil {
			t.Error("the added tool is not listed")
		}
		if n := s.count("a", supervisor.ToolsChanged); n != 1 {
			t.Errorf("%d ToolSchemaChanged events, want 1", n)
		}
		if n := s.FleetVersion() - before; n > 4 {
			t.Errorf("%d refreshes", n)
		}
	})
}

func TestFailedCallsHaveTheContractsNamesInTheLog(t *testing.T) {
	for name, errs := range map[string][]error{
		"ToolTimeoutError":          {supervisor.ErrCallTimeout},
		"McpServerNotFoundError":    {supervisor.ErrServerNotFound},
		"McpServerCrashedError":     {backends.ErrCrashed, &backends.CrashError{Exit: backends.Exit{Err: backends.ErrReaperLost}}},
		"McpServerStartError":       {&supervisor.StartFailedError{}},
		"CannotStartMcpServerError": {&supervisor.CannotStartError{}},
		"McpServerNotReadyError":    {supervisor.ErrStopped},
		"RateLimitExceededError":    {supervisor.ErrOverloaded},
		"RuntimeClosingError":       {supervisor.ErrClosing},
		"CancellationError":         {context.Canceled},
		"ToolInvocationError":       {errors.New("other"), backends.ErrBusy, backends.ErrProtocol},
	} {
		for _, err := range errs {
			if got := errorType(fmt.Errorf("outer: %w", err)); got != name {
				t.Errorf("%v is %s, want %s", err, got, name)
			}
		}
	}
}
