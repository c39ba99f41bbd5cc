package reaper

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/aabb9013/hangar/internal/procs"
)

// daemons are ways to leave an instance behind; each prints a pid. TERM is
// ignored by all of them.
var daemons = map[string]string{
	"own session":                  `trap "" TERM; setsid sh -c 'echo $$; exec sleep 600' & wait`,
	"own session, no environment":  `trap "" TERM; setsid env -i sh -c 'echo $$; exec sleep 600' & wait`,
	"double fork, no environment":  `trap "" TERM; (setsid env -i sh -c 'echo $$; exec sleep 600' &); read x`,
	"double fork, no limit":        `trap "" TERM; (ulimit -S -m unlimited; setsid sh -c 'echo $$; exec sleep 600' &); read x`,
	"below a daemon, no variables": `trap "" TERM; (setsid env -i sh -c 'setsid sh -c "echo \$\$; exec sleep 600" & wait' &); read x`,
}

// TestWhatAnInstanceLeftEndsWithIt is C09.
func TestWhatAnInstanceLeftEndsWithIt(t *testing.T) {
	need(t, "setsid", "env", "sleep")
	c := openClient(t, Options{})
	for name, script := range daemons {
		t.Run(name, func(t *testing.T) {
			other := startShell(t, c, script)
			daemon := other.readPID()
			r := startShell(t, c, script)
			left := r.readPID()
			if err := syscall.Kill(r.PID(), syscall.SIGKILL); err != nil { // a crash; the reaper is not asked
				t.Fatal(err)
			}
			if exit := r.await(); exit.Lost || exit.Status.Signal() != syscall.SIGKILL {
				t.Errorf("exit %+v", exit)
			}
			// It was sent SIGKILL before the end was told; a busy host may take longer
			// than leftoverGrace to carry that out.
			eventually(t, "the end of what an instance left", func() bool { return !alive(left) })
			if !alive(daemon) {
				t.Error("another instance's was killed too")
			}
			other.Signal(syscall.SIGKILL)
			other.await()
			eventually(t, "the end of what a killed instance left", func() bool { return !alive(daemon) })
		})
	}
}

// What shed both the mark and the environment is nobody's, until the end.
func TestStraysEndWithTheReaper(t *testing.T) {
	need(t, "setsid", "env", "sleep")
	c := openClient(t, Options{})
	r := startShell(t, c, `(ulimit -S -m unlimited; setsid env -i sh -c 'echo $$; exec sleep 600' &); read x`)
	stray := r.readPID()
	r.in.Close()
	r.await()
	if now, err := procs.Read(stray.PID); err != nil || now.PPID != c.PID() {
		t.Errorf("the stray is %+v, want a child of the reaper %d", now, c.PID())
	}
	c.Close()
	if alive(stray) {
		t.Error("it outlived the reaper")
	}
}

func TestCloseLeavesNothing(t *testing.T) {
	need(t, "setsid", "env", "sleep")
	c := openClient(t, Options{})
	var all []procs.Info
	var runs []*running
	for _, script := range daemons {
		for range 4 {
			r := startShell(t, c, script)
			runs, all = append(runs, r), append(all, r.readPID())
		}
	}
	// One that forks for ever and is never the same process for long.
	hopper := filepath.Join(t.TempDir(), "hopper")
	if err := os.WriteFile(hopper, []byte("#!/bin/sh\nsetsid env -i \"$0\" &\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	runs = append(runs, startShell(t, c, `echo go; "$1"; read x`, hopper))
	runs[len(runs)-1].line()
	reaper := c.PID()
	c.Close()
	for _, r := range runs {
		if exit := r.await(); !exit.Status.Signaled() && !exit.Status.Exited() {
			t.Errorf("exit %+v", exit)
		}
	}
	for _, p := range all {
		if alive(p) {
			t.Errorf("%+v is left", p)
		}
	}
	for _, pid := range procs.PIDs() {
		if c.opts.Owner.belongs(pid) {
			info, err := procs.Read(pid)
			t.Errorf("%+v, %v is left; the reaper was %d", info, err, reaper)
		}
	}
	if _, err := c.Start(t.Context(), Command{}); !errors.Is(err, ErrClosed) {
		t.Errorf("a start after Close: %v", err)
	}
}

// TestOrphanedZombiesAreReaped is C10.
func TestOrphanedZombiesAreReaped(t *testing.T) {
	c := openClient(t, Options{})
	r := startShell(t, c, `i=0; while [ $i -lt 1000 ]; do (true & true & true &); i=$((i+3)); done; echo done; read x`)
	r.line()
	eventually(t, "no zombie below the reaper", func() bool {
		for _, p := range procs.Tree(c.PID()) {
			if p.Dead() {
				return false
			}
		}
		return true
	})
	r.in.Close()
	if exit := r.await(); exit.Status.ExitStatus() != 1 { // read's
		t.Errorf("exit %+v", exit)
	}
}

func TestReaperIsReplaced(t *testing.T) {
	need(t, "setsid", "env", "sleep")
	for what, tt := range map[string]struct {
		signal syscall.Signal
		hang   time.Duration
	}{
		"killed":                      {syscall.SIGKILL, time.Hour},
		"stopped":                     {syscall.SIGSTOP, time.Hour},
		"stopped, and taken for hung": {syscall.SIGSTOP, 200 * time.Millisecond},
	} {
		t.Run(what, func(t *testing.T) {
			c := openClient(t, Options{Hang: tt.hang})
			r := startShell(t, c, daemons["own session, no environment"])
			left, reaper := r.readPID(), c.PID()
			direct, err := procs.Read(r.PID())
			if err != nil {
				t.Fatal(err)
			}
			if err := syscall.Kill(reaper, tt.signal); err != nil {
				t.Fatal(err)
			}
			r.Signal(syscall.SIGCONT) // asks for an answer, which a stopped one owes
			if exit := r.await(); !exit.Lost {
				t.Errorf("exit %+v, want a lost one", exit)
			}
			if alive(left) || alive(direct) {
				t.Errorf("the instance lives: %v, its daemon: %v", alive(direct), alive(left))
			}
			again := startShell(t, c, "echo up; read x")
			if again.line() != "up" || c.PID() == reaper || c.PID() == 0 {
				t.Errorf("the reaper is %d after %d", c.PID(), reaper)
			}
			again.Signal(syscall.SIGTERM)
			if exit := again.await(); exit.Lost || exit.Status.Signal() != syscall.SIGTERM {
				t.Errorf("exit %+v", exit)
			}
		})
	}
}

// Close does not wait for a reaper that cannot end, and ends what that one would
// have.
func TestCloseOfAStoppedReaper(t *testing.T) {
	need(t, "setsid", "env", "sleep")
	c := openClient(t, Options{})
	r := startShell(t, c, daemons["own session, no environment"])
	left := r.readPID()
	if err := syscall.Kill(c.PID(), syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	c.Close()
	if took := time.Since(began); took >= closeWithin {
		t.Errorf("it took %s, as if the reaper were only slow", took)
	}
	if exit := r.await(); !exit.Lost {
		t.Errorf("exit %+v, want a lost one", exit)
	}
	if alive(left) {
		t.Error("a daemon of its instance is left")
	}
}

func TestSignalsForTheRuntimeLeaveTheReaperAlone(t *testing.T) {
	c := openClient(t, Options{})
	r := startShell(t, c, "read x; kill -HUP $$")
	if group, err := syscall.Getpgid(c.PID()); err != nil || group != c.PID() {
		t.Errorf("the reaper is in process group %d, %v, want one of its own", group, err)
	}
	for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT} {
		if err := syscall.Kill(c.PID(), sig); err != nil {
			t.Fatal(err)
		}
	}
	pid := c.PID()
	again := startShell(t, c, "echo up") // what was sent before was taken by now
	if again.line() != "up" || c.PID() != pid {
		t.Errorf("the reaper is %d, was %d", c.PID(), pid)
	}
	again.await()
	// And what it does not heed is not ignored by its children.
	r.in.Write([]byte("\n"))
	if exit := r.await(); exit.Status.Signal() != syscall.SIGHUP {
		t.Errorf("exit %+v, want one by SIGHUP", exit)
	}
}

// A start meets no reaper that is about to come back.
func TestStartsWaitForAReaperThatDiedYoung(t *testing.T) {
	c := openClient(t, Options{})
	for range 3 {
		r := startShell(t, c, "echo up; read x")
		r.line()
		if err := syscall.Kill(c.PID(), syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		if exit := r.await(); !exit.Lost {
			t.Errorf("exit %+v, want a lost one", exit)
		}
	}
}
