package subprocess

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/aabb9013/hangar/backends"
	"github.com/aabb9013/hangar/internal/reaper"
)

// ends is an Observer that waits for the end only.
type ends chan backends.Exit

func (e ends) CallsDone(uint64, int)              {}
func (e ends) Notified(uint64, string, []byte)    {}
func (e ends) Ended(_ uint64, exit backends.Exit) { e <- exit }
func (e ends) spec(command ...string) backends.LaunchSpec {
	return backends.LaunchSpec{Server: "s", Epoch: 1, Command: command, Observer: e, Log: &backends.LogRing{}}
}

func open(t testing.TB, opts Options) *Backend {
	b := New(opts)
	t.Cleanup(b.Close)
	return b
}

// launch starts spec and kills what is left of it when the test ends.
func launch(t testing.TB, b *Backend, spec backends.LaunchSpec) backends.Instance {
	t.Helper()
	in, err := b.Start(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Kill(errors.New("the test is over"))
		await(t, in.Done())
	})
	return in
}

func launchStub(t testing.TB, b *Backend, flags ...string) (backends.Instance, ends) {
	t.Helper()
	e := make(ends, 10)
	spec := e.spec()
	spec.Command, spec.Env = stub(flags...)
	in := launch(t, b, spec)
	handshake(t, in)
	return in, e
}

func handshake(t testing.TB, in backends.Instance) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if _, err := backends.Handshake(ctx, "s", in, backends.ClientInfo{Name: "t", Version: "1"}); err != nil {
		t.Fatal(err)
	}
}

func await[T any](t testing.TB, c <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-c:
	case <-time.After(20 * time.Second):
		t.Fatal("waited in vain")
	}
	return v
}

func callLine(id uint64, tool, args string) []byte {
	return fmt.Appendf(nil, `{"jsonrpc":"2.0","id":%d,"method":"tools/call","params":{"name":%q,"arguments":%s}}`+"\n", id, tool, args)
}

// text calls a tool and returns its text.
func text(t testing.TB, in backends.Instance, tool, args string) string {
	t.Helper()
	c := backends.NewCall()
	c.Line = callLine(c.ID, tool, args)
	if err := in.Send(c, false); err != nil {
		t.Fatal(err)
	}
	if await(t, c.Done()); c.Err != nil {
		t.Fatal(c.Err)
	}
	var result struct{ Content []struct{ Text string } }
	if err := json.Unmarshal(c.Env.Result.Of(c.Answer), &result); err != nil || len(result.Content) != 1 {
		t.Fatalf("answer %s", c.Answer)
	}
	return result.Content[0].Text
}

// C09: a grandchild in a session of its own holds stdout: the end is seen all the
// same, and nothing keeps reading. Under a reaper the grandchild, which ignores
// SIGTERM, is gone by then; a start right after the end must not meet it.
func TestExitIsSeenThoughAGrandchildHoldsStdout(t *testing.T) {
	for name, way := range ways {
		t.Run(name, func(t *testing.T) {
			b := open(t, way)
			if _, err := b.reading(); err != nil {
				t.Fatal(err)
			}
			before := goleak.IgnoreCurrent()
			in, e := launchStub(t, b, "-grandchild", "-ignore-term")
			pid, err := strconv.Atoi(text(t, in, "grandchild", "{}"))
			if err != nil || pid <= 0 {
				t.Fatal(pid, err)
			}
			crash := backends.NewCall()
			crash.Line = callLine(crash.ID, "crash", `{"code":6}`)
			if err := in.Send(crash, false); err != nil {
				t.Fatal(err)
			}
			if exit := await(t, e); exit.Code != 6 {
				t.Errorf("exit %+v", exit)
			}
			if lives := running(pid); lives != way.noReaper {
				t.Errorf("the grandchild lives: %v", lives)
			}
			goleak.VerifyNone(t, before)
			syscall.Kill(pid, syscall.SIGKILL)
		})
	}
}

// C08: the tree that SIGKILL ends; when it comes is a case of the contract.
func TestKillReachesTheWholeGroup(t *testing.T) {
	e := make(ends, 1)
	in := launch(t, open(t, Options{}), e.spec("/bin/sh", "-c", "sleep 600 & echo child $! >&2; wait"))
	var pid int
	for tick := time.NewTicker(5 * time.Millisecond); pid == 0; <-tick.C {
		if tail := in.(*instance).spec.Log.Tail(1); len(tail) == 1 {
			fmt.Sscanf(tail[0].Text, "child %d", &pid)
		}
	}
	in.Kill(backends.ErrUnresponsive)
	await(t, e)
	for end := time.Now().Add(5 * time.Second); running(pid); runtime.Gosched() {
		if time.Now().After(end) {
			t.Fatal("a member of the group lives on")
		}
	}
}

// A child that went to another process group is ended all the same.
func TestKillReachesAChildThatLeftItsGroup(t *testing.T) {
	for name, way := range ways {
		t.Run(name, func(t *testing.T) {
			in, e := launchStub(t, open(t, way), "-join-group", "-ignore-eof", "-ignore-term")
			in.Kill(backends.ErrUnresponsive)
			if exit := await(t, e); exit.Signal != "SIGKILL" {
				t.Errorf("exit %+v, want one by SIGKILL", exit)
			}
		})
	}
}

// running tells whether a process exists and is no zombie.
func running(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	_, rest, _ := strings.Cut(string(stat), ") ")
	return err == nil && !strings.HasPrefix(rest, "Z")
}

func TestClosingTheBackendEndsItsChildren(t *testing.T) {
	for name, way := range ways {
		t.Run(name, func(t *testing.T) {
			way.Owner = reaper.NewOwner()
			way.RunTag = way.Owner.Tag(1)
			b := New(way)
			e := make(ends, 1)
			spec := e.spec()
			spec.Command, spec.Env = stub("-ignore-eof", "-ignore-term", "-grandchild")
			spec.RunTag = way.RunTag
			in := launch(t, b, spec)
			handshake(t, in)
			daemon, err := strconv.Atoi(text(t, in, "grandchild", "{}"))
			if err != nil {
				t.Fatal(err)
			}
			shown := b.Processes()
			if i := slices.IndexFunc(shown, func(p Process) bool { return p.PID == daemon }); i < 0 || shown[i].Server != "s" || shown[i].Epoch != 1 || shown[i].Instance {
				t.Errorf("the grandchild %d is shown as %+v", daemon, shown)
			}
			b.Close()
			if exit := await(t, e); exit.Signal != "SIGKILL" || exit.Asked {
				t.Errorf("exit %+v", exit)
			}
			// Killed it is; a busy host may take a moment to carry that out.
			for deadline := time.Now().Add(time.Minute); running(daemon) && time.Now().Before(deadline); {
				time.Sleep(time.Millisecond)
			}
			if running(daemon) {
				t.Error("its grandchild is left")
			}
			b.Close()
			if _, err := b.Start(t.Context(), spec); !errors.Is(err, errBackendClosed) {
				t.Errorf("a start on a closed backend: %v", err)
			}
		})
	}
}

func TestLostReaperIsNoFaultOfTheServer(t *testing.T) {
	b := open(t, Options{})
	_, e := launchStub(t, b)
	pid := b.spawner.reaperPID()
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if exit := await(t, e); !errors.Is(exit.Err, backends.ErrReaperLost) || !errors.Is(exit.Err, backends.ErrResource) || exit.Normal() {
		t.Errorf("exit %+v, want one by the lost reaper", exit)
	}
	in, _ := launchStub(t, b)
	if got := text(t, in, "echo", `{"text":"again"}`); got != "again" || b.spawner.reaperPID() == pid {
		t.Errorf("got %q from the reaper %d after %d", got, b.spawner.reaperPID(), pid)
	}
}

// C06, beside the backend.
func TestStderrFloodIsDrained(t *testing.T) {
	in, _ := launchStub(t, open(t, Options{}), "-stderr-bytes", strconv.Itoa(32<<20))
	ring := in.(*instance).spec.Log
	for end := time.Now().Add(time.Minute); ring.Dropped() < 300_000; {
		if got := text(t, in, "echo", `{"text":"x"}`); got != "x" {
			t.Errorf("got %q", got)
		}
		if time.Now().After(end) {
			t.Fatalf("only %d lines were drained", ring.Dropped())
		}
	}
	total := 0
	for _, line := range ring.Tail(1 << 20) {
		total += len(line.Text)
	}
	if total > backends.LogBytes {
		t.Errorf("the ring holds %d bytes", total)
	}
}

func TestLongStderrLinesAreCut(t *testing.T) {
	e := make(ends, 1)
	spec := e.spec("/bin/sh", "-c", `head -c 100000 /dev/zero | tr '\0' x >&2; printf '\nshort\r\nbad \377 byte\nno newline' >&2`)
	launch(t, open(t, Options{}), spec)
	await(t, e)
	var got []string
	for _, line := range spec.Log.Tail(10) {
		got = append(got, fmt.Sprint(line.Text, line.Cut))
	}
	want := []string{strings.Repeat("x", backends.LogLineBytes) + "true", "shortfalse", "bad \xff bytefalse", "no newlinefalse"}
	if !slices.Equal(got, want) {
		t.Errorf("got %.300q", got)
	}
}

// C13: what the kernel refuses for its size is refused for good.
func TestArgumentsThatAreTooLongArePermanent(t *testing.T) {
	spec := make(ends, 1).spec("/bin/true")
	for range 100 {
		spec.Command = append(spec.Command, strings.Repeat("x", 64<<10))
	}
	_, err := open(t, Options{}).Start(t.Context(), spec)
	if !errors.Is(err, backends.ErrPermanent) || !errors.Is(err, syscall.E2BIG) || !strings.Contains(err.Error(), "/bin/true") {
		t.Errorf("arguments of 6 MiB: got %.200v", err)
	}
}

func TestClassify(t *testing.T) {
	for err, want := range map[error]error{
		syscall.EAGAIN: backends.ErrResource, syscall.ENOMEM: backends.ErrResource,
		syscall.EMFILE: backends.ErrResource, syscall.ENFILE: backends.ErrResource,
		syscall.ENOENT: backends.ErrPermanent, syscall.EACCES: backends.ErrPermanent,
		syscall.ENOEXEC: backends.ErrPermanent, syscall.E2BIG: backends.ErrPermanent,
	} {
		got := classify(&os.PathError{Op: "fork/exec", Path: "/p", Err: err})
		if !errors.Is(got, want) || !errors.Is(got, err) || !strings.Contains(got.Error(), "/p") {
			t.Errorf("%v became %v", err, got)
		}
	}
	if got := classify(syscall.ETXTBSY); errors.Is(got, backends.ErrPermanent) || errors.Is(got, backends.ErrResource) {
		t.Errorf("a busy program: %v", got)
	}
}
