package subprocess

import (
	"context"
	"errors"
	"sync"
	"syscall"
	"time"

	"github.com/aabb9013/hangar/backends"
	"github.com/aabb9013/hangar/backends/link"
	"github.com/aabb9013/hangar/internal/limits"
)

// Grace periods around the end of a process.
const (
	// outputGrace is how long answers that a dead child left in its pipe may
	// be read; a grandchild can hold the pipe open for ever.
	outputGrace = 50 * time.Millisecond
	// exitGrace is how long a child that closed its stdout may take to exit.
	exitGrace = 200 * time.Millisecond
)

// instance is one child process.
type instance struct {
	spec       backends.LaunchSpec
	opts       Options
	pipes      *pipes
	proc       process
	group      *limits.Group
	*link.Link // carries the calls

	mu     sync.Mutex
	asked  bool  // Stop was called
	reason error // why Kill was called
	gone   bool  // the process has ended

	stderr stderrLog

	done chan struct{}
	exit backends.Exit // valid once done is closed
}

var _ backends.Instance = (*instance)(nil)

func (in *instance) Done() <-chan struct{} { return in.done }
func (in *instance) Exit() backends.Exit   { return in.exit }
func (in *instance) PID() int              { return in.proc.PID() }

// Kill ends the process group at once; the first reason stays.
func (in *instance) Kill(reason error) {
	in.mu.Lock()
	if in.reason == nil {
		in.reason = reason
	}
	in.mu.Unlock()
	in.proc.signal(syscall.SIGKILL)
}

// Stop climbs the ladder and returns when the process is gone.
func (in *instance) Stop(ctx context.Context, drain time.Duration) {
	in.mu.Lock()
	first := !in.asked
	in.asked = true
	in.mu.Unlock()
	if !first {
		select {
		case <-in.done:
		case <-ctx.Done():
			in.proc.signal(syscall.SIGKILL)
			<-in.done
		}
		return
	}
	if drain > 0 {
		drained, cancel := context.WithTimeout(ctx, drain)
		in.Link.Drain(drained)
		cancel()
	}
	in.pipes.stdin.Close()
	if in.goneWithin(ctx, in.opts.EOFGrace) {
		return
	}
	in.proc.signal(syscall.SIGTERM)
	if in.goneWithin(ctx, in.opts.TermGrace) {
		return
	}
	in.proc.signal(syscall.SIGKILL)
	<-in.done
}

// goneWithin waits for the end, at most for d and while ctx allows.
func (in *instance) goneWithin(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-in.done:
		return true
	case <-timer.C:
	case <-ctx.Done():
	}
	return false
}

// watch owns the end of the process: once it is gone with all it left, watch
// lets the last answers be read, fails the other calls and reports.
func (in *instance) watch() {
	status := in.proc.wait()
	in.mu.Lock()
	in.gone = true
	in.mu.Unlock()
	in.pipes.stdout.EndIn(outputGrace)
	in.pipes.stderr.EndIn(outputGrace)
	<-in.Link.ReadDone()
	<-in.stderr.ended // its last words belong before the report of its end

	in.mu.Lock()
	status.Asked = in.asked
	if status.Err == nil { // a lost reaper is why, whatever its children showed first
		status.Err = in.reason
	}
	in.mu.Unlock()
	in.group.Explain(&status)
	status.Traffic = in.Link.Close(status)
	in.exit = status
	in.pipes.closeParent()
	in.group.Close()
	close(in.done)
	in.spec.Observer.Ended(in.spec.Epoch, status)
}

// broken is told by the link that it cannot go on. A closed stdin is most often
// the first sign of an exit, which then is the better reason.
func (in *instance) broken(reason error) {
	if errors.Is(reason, backends.ErrStdinClosed) {
		in.expectExit(reason)
		return
	}
	in.Kill(reason)
}

// stdoutEnded ends a child that closed its stdout and lives on: it can never
// answer again.
func (in *instance) stdoutEnded() { in.expectExit(backends.ErrStdoutClosed) }

// expectExit kills the child with reason if it neither exits soon nor was asked
// to stop.
func (in *instance) expectExit(reason error) {
	time.AfterFunc(exitGrace, func() {
		in.mu.Lock()
		expected := in.asked || in.gone
		in.mu.Unlock()
		if !expected {
			in.Kill(reason)
		}
	})
}
