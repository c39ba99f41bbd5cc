package actors

import (
	"context"
	"errors"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/aabb9013/hangar/backends"
	"github.com/aabb9013/hangar/supervisor"
)

// awaitDossier waits for a dossier of a real server.
func awaitDossier(t *testing.T, sys *System, id string, is func(supervisor.Dossier) bool) supervisor.Dossier {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for time.Now().Before(deadline) {
		all, err := sys.Crashes(context.Background(), id, supervisor.MaxDossiers)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range all {
			if is(d) {
				return d
			}
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Fatal("no such dossier")
	return supervisor.Dossier{}
}

// R13: a child that was stopped neither exits nor answers: only its silence
// tells, three times.
func TestStoppedChildIsReplaced(t *testing.T) {
	s := stubSpec("a")
	s.HealthCheckInterval, s.MaxFailures = time.Second, 3
	sys := realSystem(t, s)
	if _, err := callTool(t, sys, "a", "echo", `{"text":"x"}`); err != nil {
		t.Fatal(err)
	}
	v, _ := sys.View("a")
	pid := v.PID
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	d := awaitDossier(t, sys, "a", func(d supervisor.Dossier) bool { return d.PID == pid })
	if d.Kind != supervisor.DossierUnresponsive || d.Reason != "unresponsive" || d.Signal == nil || *d.Signal != "SIGKILL" ||
		d.Decision.Action != supervisor.DecisionRestart {
		t.Errorf("got %+v", d)
	}
	if last := d.Frames[min(len(d.Frames), 4)-1]; last.Direction != "to_server" || last.Method != "ping" {
		t.Errorf("the last message sent is %+v, want a ping", last)
	}
	if missed := v.Events.ChecksFailed.Load(); missed != 3 {
		t.Errorf("%d checks failed before it was replaced, want 3", missed)
	}
	if err := syscall.Kill(pid, 0); err != syscall.ESRCH {
		t.Errorf("the stopped process is still there: %v", err)
	}
	if _, err := callTool(t, sys, "a", "echo", `{"text":"x"}`); err != nil {
		t.Errorf("a call after the replacement: %v", err)
	}
}

func TestDossierOfARealCrash(t *testing.T) {
	sys := realSystem(t, stubSpec("a", "-stderr-lines", "60"))
	if _, err := callTool(t, sys, "a", "echo", `{"text":"x"}`); err != nil {
		t.Fatal(err)
	}
	ref, _ := sys.Ref([]byte("a"))
	hangs := backends.NewCall()
	hangs.SetToolCall("sleep", []byte(`{"ms":600000}`))
	ref.cell.mail.PostUserMessage(hangs)
	v, err := sys.Start(t.Context(), "a") // after the call, in the same mailbox
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(v.PID, syscall.SIGSEGV); err != nil {
		t.Fatal(err)
	}
	var crash *backends.CrashError
	if <-hangs.Done(); !errors.As(hangs.Err, &crash) || !crash.Sent || crash.Exit.Traffic != nil {
		t.Errorf("the call in flight ended with %+v", hangs.Err)
	}
	d := awaitDossier(t, sys, "a", func(d supervisor.Dossier) bool { return d.PID == v.PID })
	if d.Kind != supervisor.DossierCrash || d.Uptime <= 0 || len(d.Calls) != 1 || d.Calls[0].Tool != "sleep" || !d.Calls[0].Sent {
		t.Errorf("got %+v", d)
	}
	if len(d.Stderr) != supervisor.MaxDossierLines {
		t.Errorf("%d lines of stderr", len(d.Stderr))
	}
	var heads []string
	for _, f := range d.Frames {
		heads = append(heads, f.Head)
	}
	if all := strings.Join(heads, "\n"); !strings.Contains(all, `"name":"sleep"`) {
		t.Errorf("the call in flight is not among the messages:\n%s", all)
	}
}
