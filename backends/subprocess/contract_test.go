package subprocess

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"sync/atomic"
	"testing"

	"github.com/aabb9013/hangar/backends"
	"github.com/aabb9013/hangar/backends/backendtest"
	"github.com/aabb9013/hangar/internal/leaktest"
	"github.com/aabb9013/hangar/internal/reaper"
	"github.com/aabb9013/hangar/internal/testserver"
)

func TestMain(m *testing.M) {
	reaper.ExecIfRequested()
	testserver.ExecIfRequested()
	os.Exit(leaktest.Run(m))
}

// ways are the ways of starting children and waiting for them: by the reaper,
// from a thread where there can be none, and so on a kernel without pidfds.
var ways = map[string]Options{"reaper": {}, "thread": {noReaper: true}, "no pidfds": {noReaper: true, noPidfds: true}}

func TestContract(t *testing.T) {
	for name, way := range ways {
		t.Run(name, func(t *testing.T) { backendtest.Run(t, harness{way}) })
	}
}

// harness turns behaviours into flags of the stub server.
type harness struct{ way Options }

var servers atomic.Int64

func (harness) Virtual() bool { return false }

func (h harness) Backend(t testing.TB, tune backendtest.Tuning) backends.Backend {
	opts := h.way
	opts.EOFGrace, opts.TermGrace, opts.StdinStall = tune.EOFGrace, tune.TermGrace, tune.StdinStall
	b := open(t, opts)
	if pid := b.spawner.reaperPID(); (pid == 0) != opts.noReaper {
		t.Fatalf("the reaper is %d", pid)
	}
	return b
}

func (harness) Spec(t testing.TB, b backendtest.Behaviour) (spec backends.LaunchSpec, mustName, skip string) {
	spec.Server = "server-" + strconv.FormatInt(servers.Add(1), 10)
	if b.Broken != "" {
		mustName = breakSpec(t, &spec, b.Broken)
		return spec, mustName, ""
	}
	if b.Noise > 0 {
		yes, err := exec.LookPath("yes")
		if err != nil {
			return spec, "", "no program to make noise with: " + err.Error()
		}
		spec.Command = []string{yes, "no JSON"}
		return spec, "", ""
	}
	if len(b.Ask) > 0 && !slices.Equal(b.Ask, []string{"roots/list"}) {
		return spec, "", "the stub server asks for roots/list only"
	}
	flags := []string{"-init-delay", b.InitDelay.String()}
	for name, on := range map[string]bool{
		"-init-hang": b.InitHang, "-init-crash": b.InitCrash, "-init-bad-version": b.InitBadVersion,
		"-stall-at-call": b.StallAtCall, "-close-stdin": b.CloseStdin, "-close-stdout": b.CloseStdout,
		"-ignore-eof": b.IgnoreEOF, "-ignore-term": b.IgnoreTerm, "-banner": b.Banner,
		"-byte-at-a-time": b.ByteAtATime, "-dup-id": b.DupID, "-wrong-id": b.WrongID,
		"-list-changed": b.ListChanged, "-roots": len(b.Ask) > 0,
	} {
		if on {
			flags = append(flags, name)
		}
	}
	for name, n := range map[string]int{
		"-crash-after": b.CrashAfter, "-tools": b.Tools, "-page": b.Page, "-huge-line": b.HugeLine,
		"-notify-flood": b.NotifyFlood, "-stderr-lines": b.StderrLines,
	} {
		if n > 0 {
			flags = append(flags, name, strconv.Itoa(n))
		}
	}
	if b.ExitAfterInit != nil {
		flags = append(flags, "-exit-after-init", strconv.Itoa(*b.ExitAfterInit))
	}
	spec.Command, spec.Env = stub(flags...)
	return spec, "", ""
}

// stub is testserver.Command for a child that exits at once also when it is
// built with the race detector, which otherwise sleeps for a second first.
func stub(flags ...string) (command []string, env map[string]string) {
	command, env = testserver.Command(flags...)
	env["GORACE"] = "atexit_sleep_ms=0"
	return command, env
}

// breakSpec makes a spec that cannot start and returns what its error must name.
func breakSpec(t testing.TB, spec *backends.LaunchSpec, how backendtest.Broken) string {
	dir := t.TempDir()
	path := filepath.Join(dir, "program")
	write := func(text string, mode os.FileMode) {
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
	}
	spec.Command = []string{path}
	switch how {
	case backendtest.NotExecutable:
		write("#!/bin/sh\n", 0o644)
	case backendtest.NotBinary:
		write("\x00\x01\x02 neither ELF nor script", 0o755)
	case backendtest.NoInterpreter:
		write("#!/no/such/interpreter\n", 0o755)
	case backendtest.BadDir:
		write("#!/bin/sh\n", 0o755)
		spec.Dir = filepath.Join(dir, "nowhere")
		return spec.Dir
	}
	return path
}
