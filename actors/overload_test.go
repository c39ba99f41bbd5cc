package actors

import (
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aabb9013/hangar/backends"
	"github.com/aabb9013/hangar/backends/fake"
	"github.com/aabb9013/hangar/supervisor"
)

// TestFloodOfOneServer is E10: ten thousand calls at once for a hundred slots.
func TestFloodOfOneServer(t *testing.T) {
	bubble(t, func(t *testing.T) {
		const calls, slots, sessions = 10_000, 100, 20
		var log sendLog
		s := newRiggedSystem(t, always(fake.Script{CallDelay: time.Second}), log.rig(), func(o *Options) {
			o.Specs = []supervisor.ServerSpec{spec("a", concurrency(slots))}
		})
		s.mustEcho("a")
		before := runtime.NumGoroutine()
		var all []*pending
		for i := range calls {
			all = append(all, s.begin(callOf{
				server: "a", tool: "echo", args: fmt.Sprintf(`{"text":"%d/%d"}`, i%sessions, i/sessions), session: uint64(i % sessions),
			}))
			if i%sessions == sessions-1 {
				synctest.Wait() // in order within each session
			}
		}
		refused, left := 0, 0
		for _, p := range all {
			switch {
			case !p.isDone():
				left++
			case errors.Is(p.err, supervisor.ErrOverloaded) && p.took == 0:
				refused++
			default:
				t.Fatalf("a call ended with %v after %s, want overloaded at once", p.err, p.took)
			}
		}
		if waiting := s.view("a").Counters.Waiting.Load(); waiting != MaxWaiting || left != MaxWaiting+slots || refused != calls-left {
			t.Errorf("%d wait, %d of them or in flight, %d refused; want %d, %d, %d", waiting, left, refused, MaxWaiting, MaxWaiting+slots, calls-left)
		}
		// The callers' own goroutines, and those of the scripted calls in flight.
		if more := runtime.NumGoroutine() - before; more > left+2*slots+50 {
			t.Errorf("%d goroutines for %d calls that wait", more, left)
		}
		for _, p := range all {
			if err := p.wait(); err != nil && !errors.Is(err, supervisor.ErrOverloaded) {
				t.Fatal(err)
			}
		}
		next := make(map[string]int)
		for _, name := range strings.Fields(log.String())[1:] {
			session, number, _ := strings.Cut(name, "/")
			if want := fmt.Sprint(next[session]); number != want {
				t.Fatalf("session %s sent %s, want %s: not in order", session, number, want)
			}
			next[session]++
		}
	})
}

// TestBurstFillsTheSlots: calls that come while the actor is at work are
// refused only where the slots and the queue are full.
func TestBurstFillsTheSlots(t *testing.T) {
	for _, c := range []struct{ slots, calls, refused int }{
		{2 * MaxWaiting, 2 * MaxWaiting, 0},
		{500, MaxWaiting + 500, 0},
		{500, MaxWaiting + 500 + 30, 30},
		{0, MaxWaiting + supervisor.DefaultMaxInFlight + 30, 30},
	} {
		bubble(t, func(t *testing.T) {
			held := make(chan struct{})
			var hold sync.Once
			rig := &rigged{onSend: func(*backends.Call) { hold.Do(func() { <-held }) }}
			s := newRiggedSystem(t, always(fake.Script{CallDelay: time.Second}), rig, func(o *Options) {
				o.Specs = []supervisor.ServerSpec{spec("a", concurrency(c.slots))}
			})
			var all []*pending
			for range c.calls {
				all = append(all, s.begin(callOf{server: "a", tool: "echo", args: `{"text":"x"}`}))
				if len(all) == 1 {
					synctest.Wait() // it is held in the actor
				}
			}
			synctest.Wait()
			close(held)
			refused := 0
			for _, p := range all {
				err := p.wait()
				if errors.Is(err, supervisor.ErrOverloaded) {
					refused++
				} else if err != nil {
					t.Fatal(err)
				}
			}
			if refused != c.refused {
				t.Errorf("%d slots: %d of %d calls were refused, want %d", c.slots, refused, c.calls, c.refused)
			}
		})
	}
}

func TestCallsInFlightOnTheNodeAreBounded(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newTestSystemWith(t, nil, func(o *Options) {
			o.Specs, o.MaxCalls = []supervisor.ServerSpec{spec("a"), spec("b")}, 3
		})
		var held []*pending
		for _, server := range []string{"a", "b", "a"} {
			held = append(held, s.begin(callOf{server: server, tool: "sleep", args: `{"ms":1000}`}))
		}
		synctest.Wait()
		p := s.begin(callOf{server: "b", tool: "echo", args: `{"text":"x"}`})
		if err := p.wait(); !errors.Is(err, supervisor.ErrOverloaded) || p.took != 0 || !strings.Contains(err.Error(), "limits.max_calls") {
			t.Errorf("the fourth call: %v after %s, want overloaded at once", err, p.took)
		}
		for _, p := range held {
			if err := p.wait(); err != nil {
				t.Error(err)
			}
		}
		s.mustEcho("b")
		if n := s.inFlight.Load(); n != 0 {
			t.Errorf("%d calls in flight when all have ended", n)
		}
	})
}

func TestCallThatWouldBeTooLateIsRefusedEarly(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newTestSystem(t, always(fake.Script{CallDelay: time.Second}), spec("a", concurrency(1)))
		var all []*pending
		for range 30 {
			all = append(all, s.begin(callOf{server: "a", tool: "echo", args: `{"text":"x"}`, session: 1, timeout: time.Hour}))
		}
		time.Sleep(20*time.Second + time.Millisecond) // 20 of 31 answered, one a second: the rate is known
		echo := func(session uint64, timeout time.Duration) *pending {
			return s.begin(callOf{server: "a", tool: "echo", args: `{"text":"x"}`, session: session, timeout: timeout})
		}
		late := echo(1, 2*time.Second)
		if err := late.wait(); !errors.Is(err, supervisor.ErrOverloaded) || late.took != 0 || !strings.Contains(err.Error(), "deadline") {
			t.Errorf("a call with 10 before it and 2 s: %v after %s, want overloaded at once", err, late.took)
		}
		// Sessions take turns: another one does not wait behind this one's calls.
		if err := echo(2, 4*time.Second).wait(); err != nil {
			t.Errorf("the first call of another session: %v", err)
		}
		if err := echo(1, time.Hour).wait(); err != nil {
			t.Errorf("a call with time: %v", err)
		}
		for _, p := range all {
			if err := p.wait(); err != nil {
				t.Error(err)
			}
		}
	})
}

func TestAheadFollowsTheTurns(t *testing.T) {
	var q fairQueue
	push := func(session uint64, n int) {
		for range n {
			c := callWith(session)
			q.push(c)
		}
	}
	push(1, 5)
	push(2, 2)
	push(3, 1)
	for session, want := range map[uint64]int{1: 8, 2: 6, 3: 5, 4: 3} {
		if got := q.ahead(session); got != want {
			t.Errorf("session %d has %d before it, want %d", session, got, want)
		}
	}
	// It is what really happens.
	c := callWith(2)
	q.push(c)
	turns := 0
	for q.pop() != c {
		turns++
	}
	if turns != 6 {
		t.Errorf("%d calls went first, want 6", turns)
	}
}

func callWith(session uint64) *backends.Call {
	c := backends.NewCall()
	c.Session = session
	return c
}
