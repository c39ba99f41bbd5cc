package subprocess

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/aabb9013/hangar/backends"
	"github.com/aabb9013/hangar/internal/limits"
	"github.com/aabb9013/hangar/internal/testserver"
)

// TestAllocationToTheLimit is C14: a server that takes more memory than it may
// ends, says why where the host can tell, and harms nothing else.
func TestAllocationToTheLimit(t *testing.T) {
	tried := 0
	for _, mechanism := range []limits.Mechanism{limits.CgroupV2, limits.CgroupV1, limits.Rlimit} {
		t.Run(string(mechanism), func(t *testing.T) {
			limit := 48 << 20
			opts := limits.Options{RunTag: fmt.Sprintf("%x.%d", time.Now().UnixNano(), os.Getpid())}
			if mechanism == limits.Rlimit {
				opts.Root = t.TempDir() // a host that shows no cgroup
				limit = 256 << 20       // Go maps its heap in pieces of 64 MiB
			}
			held := limits.Open(opts)
			t.Cleanup(held.Close)
			if r := held.Report(); r.Mechanism != mechanism || !r.Memory {
				t.Skipf("this host uses %s: %s", r.Mechanism, r.Why)
			}
			if mechanism == limits.Rlimit && raceEnabled {
				t.Skip("the race detector's own memory is beyond any limit of a process")
			}
			tried++
			backend := New(Options{Limits: held})
			t.Cleanup(backend.Close)
			ends := make(chan backends.Exit, 1)
			command, env := testserver.Command("-alloc-at-call", strconv.Itoa(2*limit))
			in, err := backend.Start(context.Background(), backends.LaunchSpec{
				Server: "hungry", Epoch: 1, Command: command, Env: env,
				Limits: backends.Limits{Memory: int64(limit)}, Observer: endsOnly(ends), Log: new(backends.LogRing),
			})
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
			defer cancel()
			if _, err := backends.Handshake(ctx, "hungry", in, backends.ClientInfo{Name: "test", Version: "1"}); err != nil {
				t.Fatalf("the limit leaves no room to start: %v", err)
			}
			call := backends.NewCall()
			call.SetToolCall("echo", []byte(`{"text":"x"}`))
			if err := in.Send(call, false); err != nil {
				t.Fatal(err)
			}
			<-call.Done()
			var crash *backends.CrashError
			if !errors.As(call.Err, &crash) || !crash.Sent {
				t.Fatalf("the call ended with %v, want a crash", call.Err)
			}
			exit := <-ends
			if exit.Normal() {
				t.Fatalf("the server ended with %s, want a failure", exit)
			}
			if mechanism == limits.Rlimit {
				return // its own allocator gives up: nobody can prove why
			}
			if text := call.Err.Error(); !exit.OOM || !strings.Contains(text, "oom_killed: memory limit 48 MiB, peak ") {
				t.Errorf("the call's error is %q and the end %+v, want oom_killed with limit and peak", text, exit)
			}
		})
	}
	if tried == 0 {
		t.Fatal("no mechanism could be tried on this host")
	}
}

// endsOnly is an observer that hears of the end.
type endsOnly chan<- backends.Exit

func (endsOnly) CallsDone(uint64, int)                {}
func (endsOnly) Notified(uint64, string, []byte)      {}
func (o endsOnly) Ended(_ uint64, exit backends.Exit) { o <- exit }

// TestChildInheritsNothing: a child has its three streams, no other descriptor,
// and leaves no core dump.
func TestChildInheritsNothing(t *testing.T) {
	backend := New(Options{})
	t.Cleanup(backend.Close)
	var log backends.LogRing
	ends := make(chan backends.Exit, 1)
	in, err := backend.Start(context.Background(), backends.LaunchSpec{
		Server: "bare", Epoch: 1, Log: &log, Observer: endsOnly(ends),
		Command: []string{"/bin/sh", "-c", "read line; exec >&2; echo core $(ulimit -c); echo core $(ulimit -Hc); exec ls /proc/self/fd"},
	})
	if err != nil {
		t.Fatal(err)
	}
	in.Stop(context.Background(), 0)
	<-ends
	var saw []string
	for _, line := range log.Tail(100) {
		saw = append(saw, line.Text)
	}
	if len(saw) < 2 || saw[0] != "core 0" || saw[1] != "core 0" {
		t.Fatalf("the child saw %q, want no core dump", saw)
	}
	for _, text := range saw[2:] {
		fd, err := strconv.Atoi(text)
		// ls reads the directory by a descriptor of its own. What this test was
		// started with itself is the business of its main.
		if err == nil && fd > 3 && !inherited(fd) {
			t.Errorf("the child has descriptor %d besides its streams: %q", fd, saw)
		}
	}
}

func inherited(fd int) bool {
	flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
	return err == nil && flags&unix.FD_CLOEXEC == 0
}
