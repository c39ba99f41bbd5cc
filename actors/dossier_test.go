package actors

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aabb9013/hangar/backends"
	"github.com/aabb9013/hangar/backends/fake"
	"github.com/aabb9013/hangar/persistence"
	"github.com/aabb9013/hangar/supervisor"
)

// dossiers reads the dossiers of a server, newest first.
func (s *testSystem) dossiers(server string) []supervisor.Dossier {
	s.t.Helper()
	synctest.Wait()
	all, err := s.Crashes(context.Background(), server, supervisor.MaxDossiers)
	if err != nil {
		s.t.Fatal(err)
	}
	return all
}

func TestDossierOfACrash(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newTestSystemWith(t, always(fake.Script{Stderr: []string{"starting", "panic: no region"}}), func(o *Options) {
			o.Specs = []supervisor.ServerSpec{spec("a", concurrency(3))}
		})
		s.mustEcho("a")
		replied := time.Now()
		ref, _ := s.Ref([]byte("a"))
		for bytes := range int64(3) {
			ref.cell.curve.add(1, MemoryPoint{time.Now(), bytes})
		}
		time.Sleep(time.Second)
		var sent []*pending
		for range 3 {
			sent = append(sent, s.begin(callOf{server: "a", tool: "sleep", args: `{"ms":60000}`}))
		}
		synctest.Wait()
		waits := s.begin(callOf{server: "a", tool: "echo", args: `{"text":"x"}`})
		time.Sleep(2 * time.Second)
		s.backend.Last("a").Crash(3)
		if err := waits.wait(); err != nil {
			t.Error(err)
		}
		all := s.dossiers("a")
		if len(all) != 1 {
			t.Fatalf("%d dossiers", len(all))
		}
		d := all[0]
		if d.Server != "a" || d.Kind != supervisor.DossierCrash || d.Epoch != 1 || d.ExitCode == nil || *d.ExitCode != 3 || d.Signal != nil || d.OOM {
			t.Errorf("got %+v", d)
		}
		if d.Uptime != 3000 || d.Decision.Action != supervisor.DecisionRestart || !d.LastReplyAt.Equal(replied) {
			t.Errorf("uptime %v, decision %v, last reply %v", d.Uptime, d.Decision, d.LastReplyAt)
		}
		if d.InFlight != 3 || d.Waiting != 1 || len(d.Calls) != 3 {
			t.Fatalf("%d in flight, %d waiting, %d told", d.InFlight, d.Waiting, len(d.Calls))
		}
		slices.SortFunc(sent, func(a, b *pending) int { return cmp.Compare(a.call.ID, b.call.ID) })
		slices.SortFunc(d.Calls, func(a, b supervisor.DossierCall) int { return cmp.Compare(a.ID, b.ID) })
		for i, c := range d.Calls {
			if c.ID != sent[i].call.ID || c.Tool != "sleep" || c.Age != 2000 || !c.Sent || c.Resent || c.ErrorType != "McpServerCrashedError" {
				t.Errorf("call %d: %+v", i, c)
			}
		}
		if len(d.Stderr) != 2 || d.Stderr[1].Text != "panic: no region" {
			t.Errorf("stderr %v", d.Stderr)
		}
		if n := len(d.Memory); n != 3 || d.Memory[2].RSS != 2 || !d.Memory[2].At.Equal(replied) {
			t.Errorf("memory %v", d.Memory)
		}
		last := d.Frames[backends.MaxFrames-1]
		if last.Direction != "to_server" || last.Method != "tools/call" || !strings.Contains(last.Head, `"name":"sleep"`) || last.At.IsZero() {
			t.Errorf("last message sent: %+v", last)
		}
		in := d.Frames[len(d.Frames)-1]
		if in.Direction != "from_server" || in.Method != "response" || !strings.Contains(in.Head, `"text":"hi"`) {
			t.Errorf("last message received: %+v", in)
		}
		var event map[string]any
		for _, e := range s.events("a") {
			if e.kind == supervisor.ServerCrashed {
				event = e.data
			}
		}
		want := map[string]any{
			"crash_id": d.ID, "exit_code": 3.0, "decision": "restart", "last_stderr": "panic: no region",
			"calls_in_flight": 3.0, "oom_killed": false, "reason": "exit code 3", "epoch": 1.0, "uptime_ms": 3000.0,
		}
		for k, v := range want {
			if event[k] != v {
				t.Errorf("the event's %s is %v, want %v", k, event[k], v)
			}
		}
	})
}

func TestDossierTellsTheDecision(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newTestSystem(t, always(fake.Script{RunFor: 10 * time.Millisecond, ExitCode: 1}), spec("a"))
		if _, err := s.Start(t.Context(), "a"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		all := s.dossiers("a")
		slices.Reverse(all)
		var got []supervisor.DecisionAction
		for i, d := range all {
			got = append(got, d.Decision.Action)
			if wants := d.Decision.Action == supervisor.DecisionBackoff; wants == d.Decision.Until.IsZero() {
				t.Errorf("dossier %d: %+v", i, d.Decision)
			}
		}
		b := supervisor.DecisionBackoff
		if want := []supervisor.DecisionAction{supervisor.DecisionRestart, b, b, b, b, supervisor.DecisionGaveUp}; !slices.Equal(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
	})
}

func TestDossierOfAFailedStart(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newTestSystem(t, func(server string, _ uint64) fake.Script {
			if server == "missing" {
				return fake.Script{StartErr: fmt.Errorf("%w: no such program", backends.ErrPermanent)}
			}
			return fake.Script{InitCrash: true, ExitCode: 4, Stderr: []string{"cannot import name x"}}
		}, spec("a"), spec("missing"))
		wantErr(t, s.echo("a"), supervisor.ErrStartFailed)
		wantErr(t, s.echo("missing"), supervisor.ErrStartFailed)
		d := s.dossiers("a")[0]
		if d.Kind != supervisor.DossierStartFailed || d.ExitCode == nil || *d.ExitCode != 4 || d.Uptime != 0 ||
			d.Decision.Action != supervisor.DecisionWait || len(d.Stderr) != 1 || !strings.Contains(d.Reason, "initialize") {
			t.Errorf("got %+v", d)
		}
		if len(d.Frames) != 1 || d.Frames[0].Method != "initialize" || !strings.Contains(d.Frames[0].Head, "protocolVersion") {
			t.Errorf("messages %+v", d.Frames)
		}
		if d := s.dossiers("missing")[0]; d.ExitCode != nil || d.Signal != nil || !strings.Contains(d.Reason, "no such program") || d.Frames == nil {
			t.Errorf("got %+v", d)
		}
		if n := s.count("a", supervisor.ServerStartFailed); n != 1 {
			t.Errorf("%d start failures logged", n)
		}
	})
}

func TestDossierOfAnUnresponsiveServer(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newTestSystem(t, nil, spec("a"))
		s.mustEcho("a")
		s.backend.Last("a").Freeze()
		time.Sleep(10 * time.Minute)
		all := s.dossiers("a")
		if len(all) != 1 || all[0].Kind != supervisor.DossierUnresponsive || all[0].Reason != "unresponsive" ||
			all[0].Signal == nil || *all[0].Signal != "SIGKILL" {
			t.Errorf("got %+v", all)
		}
	})
}

func TestDossierOfAProtocolError(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newTestSystem(t, func(_ string, epoch uint64) fake.Script {
			if epoch > 1 {
				return fake.Script{}
			}
			return fake.Script{Noise: backends.MaxNoise + 10}
		}, spec("a"))
		_ = s.echo("a")
		all := s.dossiers("a")
		if len(all) != 1 {
			t.Fatalf("%d dossiers", len(all))
		}
		d := all[0]
		if d.Kind != supervisor.DossierProtocol && d.Kind != supervisor.DossierStartFailed || !strings.Contains(d.Reason, "no JSON-RPC") {
			t.Errorf("got %+v", d)
		}
		if last := d.Frames[len(d.Frames)-1]; last.Direction != "from_server" || last.Head == "" {
			t.Errorf("last message: %+v", last)
		}
	})
}

// JSON spells a control character with six bytes: what is bounded as text must
// be bounded as an event too, or neither it nor the dossier is kept.
func TestDossierOfAServerThatPrintsRubbish(t *testing.T) {
	bubble(t, func(t *testing.T) {
		rubbish := strings.Repeat("\x01", 2*backends.LogLineBytes)
		s := newTestSystem(t, func(_ string, epoch uint64) fake.Script {
			return fake.Script{Stderr: []string{rubbish}, RunFor: time.Second, ExitCode: 1, StartErr: map[uint64]error{2: errors.New(rubbish)}[epoch]}
		}, spec("a"))
		s.mustEcho("a")
		time.Sleep(1100 * time.Millisecond)
		all := s.dossiers("a")
		if len(all) != 2 || len(all[1].Stderr) != 1 || len(all[0].Reason) > 2*maxReason {
			t.Fatalf("%d dossiers", len(all))
		}
		if n, m := s.count("a", supervisor.ServerCrashed), s.count("a", supervisor.ServerStartFailed); n != 1 || m != 1 {
			t.Errorf("%d crashes and %d failed starts logged, want one each", n, m)
		}
	})
}

func TestWantedEndsLeaveNoDossier(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newTestSystem(t, nil, spec("a", func(s *supervisor.ServerSpec) { s.IdleTTL = time.Minute }))
		s.mustEcho("a")
		time.Sleep(time.Hour) // idle
		s.wantState("a", supervisor.Cold, supervisor.PhaseNone)
		s.mustEcho("a")
		if err := s.Stop(t.Context(), "a", "enough"); err != nil {
			t.Fatal(err)
		}
		s.mustEcho("a")
		s.backend.Last("a").Crash(0)
		s.wantState("a", supervisor.Cold, supervisor.PhaseNone)
		if all := s.dossiers("a"); len(all) != 0 {
			t.Errorf("got %+v", all)
		}
	})
}

func TestLastDossiersAreKeptAndSurviveARestart(t *testing.T) {
	bubble(t, func(t *testing.T) {
		store := persistence.NewMemory()
		open := func() *testSystem {
			return newTestSystemWith(t, nil, func(o *Options) { o.Store = store })
		}
		s := open()
		for _, id := range []string{"a", "b"} {
			if err := s.Create(t.Context(), spec(id)); err != nil {
				t.Fatal(err)
			}
		}
		crash := func(server string) {
			t.Helper()
			if _, err := s.Start(t.Context(), server); err != nil {
				t.Fatal(err)
			}
			s.backend.Last(server).Crash(1)
			synctest.Wait()
			if err := s.Stop(t.Context(), server, "next"); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
		}
		const more = 7
		for range supervisor.MaxDossiers + more {
			crash("a")
		}
		crash("b")
		check := func() {
			t.Helper()
			all := s.dossiers("a")
			if len(all) != supervisor.MaxDossiers || len(s.dossiers("b")) != 1 {
				t.Fatalf("%d and %d dossiers", len(all), len(s.dossiers("b")))
			}
			for i := range all[1:] {
				if !all[i].At.After(all[i+1].At) {
					t.Errorf("dossier %d of %v stands before one of %v", i, all[i].At, all[i+1].At)
				}
			}
		}
		check()
		if some, err := s.Crashes(t.Context(), "a", 3); err != nil || len(some) != 3 || some[0].ID != s.dossiers("a")[0].ID {
			t.Errorf("%d dossiers, %v", len(some), err)
		}
		newest := s.dossiers("a")[0].ID
		if err := s.System.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		s = open()
		check()
		if d := s.dossiers("a")[0]; d.ID != newest {
			t.Errorf("the newest is %s, was %s", d.ID, newest)
		}
		crash("a") // goes on behind them
		check()
		if all := s.dossiers("a"); all[1].ID != newest {
			t.Errorf("the second is %s, want %s", all[1].ID, newest)
		}
		if err := s.Delete(t.Context(), "a"); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Crashes(t.Context(), "a", 1); !errors.Is(err, supervisor.ErrServerNotFound) {
			t.Error(err)
		}
		if docs, _ := store.Docs(docCrash); len(docs) != 1 {
			t.Errorf("%d dossiers are left, want that of the other server", len(docs))
		}
		if err := s.Create(t.Context(), spec("a")); err != nil {
			t.Fatal(err)
		}
		if all := s.dossiers("a"); len(all) != 0 {
			t.Errorf("a new server has %d dossiers", len(all))
		}
	})
}

func TestDossierTellsWhatChanged(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newTestSystem(t, func(server string, _ uint64) fake.Script {
			return fake.Script{ListChanged: server == "tells"}
		}, spec("a", func(s *supervisor.ServerSpec) {
			s.Env = map[string]string{"KEPT": "1", "GONE": "1", "OTHER": "1"}
		}), spec("tells"))
		change := func(env map[string]string) {
			t.Helper()
			ttl := 2 * time.Hour
			if err := s.Update(t.Context(), "a", supervisor.Patch{Env: &env, IdleTTL: &ttl}); err != nil {
				t.Fatal(err)
			}
		}
		crash := func() []string {
			t.Helper()
			s.backend.Last("a").Crash(1)
			synctest.Wait()
			return s.dossiers("a")[0].Changed
		}
		s.mustEcho("a")
		time.Sleep(supervisor.DefaultStableAfter) // a good run, whatever it changed
		change(map[string]string{"KEPT": "1", "OTHER": "2", "NEW": "hunter2"})
		if got := crash(); len(got) != 0 {
			t.Errorf("changes that were not in effect: %v", got)
		}
		want := []string{"env.GONE", "env.NEW", "env.OTHER", "idle_ttl"}
		for range 2 { // until a run is good
			if got := crash(); !slices.Equal(got, want) {
				t.Errorf("got %v, want %v", got, want)
			}
			time.Sleep(time.Second)
			synctest.Wait()
		}
		time.Sleep(time.Minute)
		if err := s.Stop(t.Context(), "a", "a good end"); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Start(t.Context(), "a"); err != nil {
			t.Fatal(err)
		}
		if got := crash(); len(got) != 0 {
			t.Errorf("after a good run: %v", got)
		}
		s.mustEcho("tells") // its first call adds a tool
		time.Sleep(5 * time.Second)
		s.backend.Last("tells").Crash(1)
		if got := s.dossiers("tells")[0].Changed; !slices.Equal(got, []string{"tools"}) {
			t.Errorf("got %v, want tools", got)
		}
	})
}

// Nothing that leaves the runtime about a crash may hold a secret, wherever the
// server got it from.
func TestDossierHoldsNoSecret(t *testing.T) {
	bubble(t, func(t *testing.T) {
		canaries := []string{"canary-env", "canary-argument", "canary-call", "canary-stderr", "canary-old-env", "canary-header"}
		script := fake.Script{Stderr: []string{
			"connecting to https://u:canary-stderr@host with canary-env", "argument canary-argument", "Authorization: Bearer canary-header",
			strings.Repeat("x", 9000), "old canary-old-env", `{"api_key":"canary-stderr`,
		}}
		s := newTestSystem(t, func(server string, _ uint64) fake.Script {
			if server == "fails" {
				return fake.Script{Stderr: script.Stderr, StartErr: errors.New("cannot use canary-env and canary-argument")}
			}
			return script
		}, spec("a", func(s *supervisor.ServerSpec) {
			s.Command = []string{"fake", "--token", "canary-argument"}
			s.Env = map[string]string{"DB_PASSWORD": "canary-old-env"}
		}), spec("fails", func(s *supervisor.ServerSpec) {
			s.Command = []string{"fake", "--token", "canary-argument"}
			s.Env = map[string]string{"DB_PASSWORD": "canary-env"}
		}))
		s.mustEcho("a")
		env := map[string]string{"DB_PASSWORD": "canary-env"} // the instance that runs has the old one
		if err := s.Update(t.Context(), "a", supervisor.Patch{Env: &env}); err != nil {
			t.Fatal(err)
		}
		hangs := s.begin(callOf{server: "a", tool: "sleep", args: `{"ms":60000,"nested":{"Password":"canary-call"},"text":"canary-env"}`})
		synctest.Wait()
		s.backend.Last("a").Crash(1)
		_ = hangs.wait()
		wantErr(t, s.echo("fails"), supervisor.ErrStartFailed)
		var all []string
		for _, server := range []string{"a", "fails"} {
			d := s.dossiers(server)
			if len(d) != 1 || len(d[0].Stderr) == 0 && server == "a" {
				t.Fatalf("server %s: %+v", server, d)
			}
			text, err := json.Marshal(d)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, string(text), s.view(server).LastError)
			total := 0
			for _, line := range d[0].Stderr {
				total += len(line.Text)
			}
			if total > supervisor.MaxDossierText+len("…") {
				t.Errorf("%d bytes of stderr", total)
			}
		}
		events, err := s.store.Events(0, 1000)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range events {
			if e.Kind != string(supervisor.InvocationFailed) {
				all = append(all, string(e.Data))
			}
		}
		for _, text := range all {
			for _, canary := range canaries {
				if strings.Contains(text, canary) {
					t.Errorf("%s in %s", canary, text)
				}
			}
		}
	})
}

// The log is redacted as it is written, with what the instance was given: a
// later environment knows nothing of an old secret.
func TestLogHoldsNoSecret(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newTestSystem(t, always(fake.Script{Stderr: []string{
			"connecting to https://u:canary-url@host with canary-1 or canary-2", "argument canary-argument", "Authorization: Bearer canary-header",
			strings.Repeat("x", backends.LogLineBytes-6) + "canary-1", "plain",
		}}), spec("a", func(s *supervisor.ServerSpec) {
			s.Command = []string{"fake", "--token", "canary-argument"}
			s.Env = map[string]string{"DB_PASSWORD": "canary-1"}
		}))
		s.mustEcho("a")
		text := func() string {
			lines, err := s.Logs("a", 100)
			if err != nil {
				t.Fatal(err)
			}
			var all strings.Builder
			for _, line := range lines {
				if len(line.Text) > backends.LogLineBytes+len("…...") {
					t.Errorf("a line of %d bytes", len(line.Text))
				}
				fmt.Fprintf(&all, "%s\n", line.Text)
			}
			return all.String()
		}
		first := text()
		env := map[string]string{"DB_PASSWORD": "canary-2"}
		if err := s.Update(t.Context(), "a", supervisor.Patch{Env: &env}); err != nil {
			t.Fatal(err)
		}
		if err := s.Stop(t.Context(), "a", "test"); err != nil {
			t.Fatal(err)
		}
		s.mustEcho("a")
		after, ok := strings.CutPrefix(text(), first)
		if !ok || !strings.Contains(after, "plain\n") || strings.Contains(first, "canary-1") || strings.Contains(after, "canary-2") {
			t.Errorf("first\n%s\nthen\n%s", first, after)
		}
		for _, canary := range []string{"canary-url", "canary-argument", "canary-header", "xcan"} {
			if strings.Contains(first+after, canary) {
				t.Errorf("%s in the log", canary)
			}
		}
	})
}
