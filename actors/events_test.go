package actors

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aabb9013/hangar/backends/fake"
	"github.com/aabb9013/hangar/persistence"
	"github.com/aabb9013/hangar/supervisor"
)

// contractFields are the fields of an event besides its type, time and id
// (mcp_server_id and epoch are in every event of a server).
var contractFields = map[supervisor.EventKind][]string{
	supervisor.ServerRegistered:   {"source", "mode"},
	supervisor.ServerUpdated:      {"source"},
	supervisor.ServerDeregistered: {"source"},
	supervisor.ServerStarted:      {"mode", "tools_count", "startup_duration_ms"},
	supervisor.ServerStopped:      {"reason"},
	supervisor.ServerStateChanged: {"old_state", "new_state"},
	supervisor.ServerDegraded:     {"consecutive_failures", "reason"},
	supervisor.ServerIdleDetected: {"idle_duration_s", "last_used_at"},
	supervisor.ServerStartFailed:  {"reason", "class", "crash_id", "kind", "decision"},
	supervisor.ServerCrashed:      {"reason", "epoch", "uptime_ms", "crash_id", "kind", "decision", "calls_in_flight", "oom_killed"},
	supervisor.ServerGaveUp:       {"restarts", "period_s", "reason"},
	supervisor.HealthCheckPassed:  {"duration_ms"},
	supervisor.HealthCheckFailed:  {"consecutive_failures", "error_message"},
	supervisor.ToolsChanged:       {"tools_count"},
}

func TestEventsComeAtTheirMomentsWithTheirFields(t *testing.T) {
	const (
		registered, started, stopped = supervisor.ServerRegistered, supervisor.ServerStarted, supervisor.ServerStopped
		changed, crashed             = supervisor.ServerStateChanged, supervisor.ServerCrashed
	)
	idle := func(s *supervisor.ServerSpec) { s.IdleTTL = 10 * time.Second }
	probed := func(s *supervisor.ServerSpec) { s.HealthCheckInterval = 5 * time.Second; s.IdleTTL = time.Hour }
	start := []supervisor.EventKind{registered, changed, started, changed}
	for _, c := range []struct {
		name   string
		script script
		spec   supervisor.ServerSpec
		do     func(s *testSystem)
		want   []supervisor.EventKind
	}{
		{"register and start", nil, spec("a"), func(s *testSystem) { s.mustEcho("a") }, start},
		{"stop", nil, spec("a"), func(s *testSystem) {
			s.mustEcho("a")
			s.Stop(context.Background(), "a", "test")
		}, append(slices.Clone(start), stopped, changed)},
		{"idle", nil, spec("a", idle), func(s *testSystem) {
			s.mustEcho("a")
			time.Sleep(11 * time.Second)
		}, append(slices.Clone(start), supervisor.ServerIdleDetected, stopped, changed)},
		{"start fails", always(fake.Script{StartErr: errors.New("no luck")}), spec("a"), func(s *testSystem) { s.echo("a") },
			[]supervisor.EventKind{registered, changed, supervisor.ServerStartFailed, changed}},
		{"three starts fail", always(fake.Script{StartErr: errors.New("no luck")}), spec("a"), func(s *testSystem) {
			for range 3 {
				s.echo("a")
			}
		}, []supervisor.EventKind{
			registered, changed, supervisor.ServerStartFailed, changed, changed, supervisor.ServerStartFailed, changed,
			changed, supervisor.ServerStartFailed, supervisor.ServerDegraded, changed,
		}},
		{"crash", nil, spec("a"), func(s *testSystem) {
			s.mustEcho("a")
			s.backend.Last("a").Crash(1)
			time.Sleep(time.Second)
		}, append(slices.Clone(start), crashed, changed, changed, started, changed)},
		{"probes", nil, spec("a", probed), func(s *testSystem) {
			s.mustEcho("a")
			s.awaitChecks("a", 1) // their times are jittered
			s.backend.Last("a").Freeze()
			s.awaitChecks("a", 2)
		}, append(slices.Clone(start), supervisor.HealthCheckPassed, supervisor.HealthCheckFailed)},
		{"update and delete", nil, spec("a"), func(s *testSystem) {
			text := "x"
			s.Update(context.Background(), "a", supervisor.Patch{Description: &text})
			s.Delete(context.Background(), "a")
		}, []supervisor.EventKind{registered, supervisor.ServerUpdated, supervisor.ServerDeregistered}},
		{"tools change", func(_ string, epoch uint64) fake.Script {
			return fake.Script{Tools: []string{fmt.Sprint("tool", epoch)}}
		}, spec("a"), func(s *testSystem) {
			s.mustEcho("a")
			s.backend.Last("a").Crash(0)
			synctest.Wait()
			s.mustEcho("a")
		}, append(slices.Clone(start), stopped, changed, changed, supervisor.ToolsChanged, started, changed)},
		{"gives up", always(fake.Script{RunFor: time.Millisecond, ExitCode: 1}), spec("a"), func(s *testSystem) {
			s.Start(context.Background(), "a")
			time.Sleep(50 * time.Second)
		}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				s := newTestSystem(t, c.script)
				if err := s.Create(t.Context(), c.spec); err != nil {
					t.Fatal(err)
				}
				c.do(s)
				synctest.Wait()
				events := s.events("a")
				if got := kinds(events); c.want != nil && !slices.Equal(got, c.want) {
					t.Errorf("got  %v\nwant %v", got, c.want)
				}
				if c.want == nil && s.count("a", supervisor.ServerGaveUp) != 1 {
					t.Errorf("got %v", kinds(events))
				}
				wantFields(t, events)
			})
		})
	}
}

func wantFields(t *testing.T, events []logged) {
	t.Helper()
	for _, e := range events {
		fields, known := contractFields[e.kind]
		if !known {
			t.Errorf("event %s has no row in the contract's table", e.kind)
		}
		if e.data["mcp_server_id"] != "a" {
			t.Errorf("%s: mcp_server_id %v", e.kind, e.data["mcp_server_id"])
		}
		for _, f := range fields {
			if _, ok := e.data[f]; !ok {
				t.Errorf("%s lacks %s: %v", e.kind, f, e.data)
			}
		}
	}
}

func TestHistoryHoldsEveryCallJustAnswered(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newTestSystem(t, nil, spec("a"))
		want := []struct {
			tool string
			kind string
		}{
			{"echo", persistence.KindCallCompleted}, {"fail", ""}, {"rpcerror", persistence.KindCallFailed},
			{"sleep", persistence.KindCallFailed}, {"crash", persistence.KindCallFailed},
		}
		for i, c := range want {
			s.begin(callOf{server: "a", tool: c.tool, args: `{"text":"x","ms":60000,"code":1}`, timeout: time.Second}).wait()
			events, err := s.History(t.Context(), "a", 0, 100)
			if err != nil || len(events) != i+1 {
				t.Fatalf("after %s: %d events, %v", c.tool, len(events), err)
			}
			last := events[i]
			if c.kind != "" && last.Kind != c.kind {
				t.Errorf("%s is %s: %s", c.tool, last.Kind, last.Data)
			}
		}
		if n := s.view("a").Counters.Failed.Load(); n != 4 {
			t.Errorf("%d failed calls, want 4", n)
		}
	})
}

func TestCallsReachTheLogByThemselves(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newTestSystem(t, nil, spec("a"))
		for range 3 {
			s.mustEcho("a")
			time.Sleep(2 * FlushInterval)
		}
		synctest.Wait()
		events, err := s.store.History("a", 0, 100)
		if err != nil || len(events) != 3 {
			t.Errorf("%d events, %v", len(events), err)
		}
	})
}

func TestSlowStoreDelaysNoCallAndLosesNothing(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s, store := newFlakySystem(t, nil, spec("a"))
		store.latency.Store(int64(time.Second))
		for range 50 {
			began := time.Now()
			s.mustEcho("a")
			if time.Since(began) != 0 {
				t.Fatalf("a call waited %v for the store", time.Since(began))
			}
		}
		events, err := s.History(t.Context(), "a", 0, 100)
		if err != nil || len(events) != 50 {
			t.Errorf("%d events, %v", len(events), err)
		}
	})
}

func TestCommitsAreBounded(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s, store := newFlakySystem(t, nil)
		synctest.Wait() // the keeper's first word is with the writer before
		store.latency.Store(int64(time.Minute))
		refused, written := make(chan error, 2*MaxCommits), make(chan error, 2*MaxCommits)
		for range MaxCommits + 100 {
			s.tell(s.eventlog, commit{done: func(err error) {
				if err != nil {
					refused <- err
					return
				}
				written <- nil
			}})
		}
		for range 7 {
			s.emit(supervisor.Event{Kind: supervisor.ToolsChanged, Server: "x"})
		}
		synctest.Wait()
		if n := len(refused); n != 99 { // one is with the writer
			t.Errorf("%d refused", n)
		}
		wantErr(t, <-refused, supervisor.ErrOverloaded)
		time.Sleep(time.Hour)
		if n := len(written); n != MaxCommits+1 {
			t.Errorf("%d written", n)
		}
		if n := s.EventsLost(); n != 7 {
			t.Errorf("%d events lost, want 7", n)
		}
		if events := s.events(""); len(events) != 1 || events[0].kind != supervisor.EventsDropped || events[0].data["count"] != 7.0 {
			t.Errorf("the log does not say what it dropped: %v", events)
		}
	})
}
