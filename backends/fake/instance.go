package fake

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/aabb9013/hangar/backends"
	"github.com/aabb9013/hangar/backends/link"
)

// exitGrace is how long an instance that closed one of its streams may take to
// exit, as in backends/subprocess.
const exitGrace = 200 * time.Millisecond

// Instance is one scripted server.
type Instance struct {
	backend    *Backend
	spec       backends.LaunchSpec
	server     *server
	*link.Link // carries the calls

	mu     sync.Mutex
	asked  bool
	reason error

	done chan struct{}
	exit backends.Exit // valid once done is closed
}

var _ backends.Instance = (*Instance)(nil)

// Server and Epoch say which start made the instance.
func (in *Instance) Server() string { return in.spec.Server }
func (in *Instance) Epoch() uint64  { return in.spec.Epoch }

// Crash ends the instance as if the server had called exit(code).
func (in *Instance) Crash(code int) {
	in.server.mu.Lock()
	defer in.server.mu.Unlock()
	in.server.die(code, "")
}

// Freeze stops the server without ending it, as SIGSTOP does: it neither reads
// nor answers, and only a kill ends it. Thaw lets it catch up.
func (in *Instance) Freeze() { in.server.freeze(true) }

// Thaw undoes Freeze.
func (in *Instance) Thaw() { in.server.freeze(false) }

func (in *Instance) Done() <-chan struct{} { return in.done }
func (in *Instance) Exit() backends.Exit   { return in.exit }
func (in *Instance) PID() int              { return 0 }

// Kill ends the instance at once; the first reason stays.
func (in *Instance) Kill(reason error) {
	in.mu.Lock()
	if in.reason == nil {
		in.reason = reason
	}
	in.mu.Unlock()
	in.signal("SIGKILL")
}

func (in *Instance) signal(name string) {
	in.server.mu.Lock()
	defer in.server.mu.Unlock()
	in.server.die(-1, name)
}

// Stop climbs the ladder: the end of stdin, SIGTERM, SIGKILL.
func (in *Instance) Stop(ctx context.Context, drain time.Duration) {
	in.mu.Lock()
	first := !in.asked
	in.asked = true
	in.mu.Unlock()
	if !first {
		select {
		case <-in.done:
		case <-ctx.Done():
			in.signal("SIGKILL")
			<-in.done
		}
		return
	}
	if drain > 0 {
		drained, cancel := context.WithTimeout(ctx, drain)
		in.Link.Drain(drained)
		cancel()
	}
	in.server.stdin.close()
	if in.gone(ctx, in.backend.EOFGrace) {
		return
	}
	if script := &in.server.script; !script.IgnoreTerm && !script.IgnoreStop {
		in.server.do(func() { in.server.die(-1, "SIGTERM") })
	}
	if in.gone(ctx, in.backend.TermGrace) {
		return
	}
	in.signal("SIGKILL")
	<-in.done
}

// gone waits for the end, at most for d and while ctx allows.
func (in *Instance) gone(ctx context.Context, d time.Duration) bool {
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

// watch owns the end of the instance.
func (in *Instance) watch() {
	<-in.server.ended
	<-in.Link.ReadDone()
	exit := in.server.exit
	in.mu.Lock()
	exit.Asked, exit.Err = in.asked, in.reason
	in.mu.Unlock()
	exit.Traffic = in.Link.Close(exit)
	in.exit = exit
	in.server.stdin.close()
	in.server.stdout.abandon()
	in.backend.left(in)
	close(in.done)
	in.spec.Observer.Ended(in.spec.Epoch, exit)
}

// broken is told by the link that it cannot go on. A closed stdin is most often
// the first sign of an exit, which then is the better reason.
func (in *Instance) broken(reason error) {
	if errors.Is(reason, backends.ErrStdinClosed) {
		in.expectExit(reason)
		return
	}
	in.Kill(reason)
}

// stdoutEnded ends a server that closed its stdout and lives on.
func (in *Instance) stdoutEnded() { in.expectExit(backends.ErrStdoutClosed) }

// expectExit kills the instance with reason if it neither exits soon nor was
// asked to stop.
func (in *Instance) expectExit(reason error) {
	go func() {
		timer := time.NewTimer(exitGrace)
		defer timer.Stop()
		select {
		case <-in.server.ended:
			return
		case <-timer.C:
		}
		in.mu.Lock()
		asked := in.asked
		in.mu.Unlock()
		if !asked {
			in.Kill(reason)
		}
	}()
}
