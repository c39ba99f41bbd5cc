package subprocess

import (
	"context"
	"errors"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/aabb9013/hangar/backends"
	"github.com/aabb9013/hangar/internal/reaper"
)

// reaperSpawner has the reaper start children: none outlives the runtime, and
// what an instance started ends with it, in whatever session it is.
type reaperSpawner struct{ client *reaper.Client }

func (s reaperSpawner) start(ctx context.Context, cmd command) (process, error) {
	child, err := s.client.Start(ctx, reaper.Command{
		Path: cmd.path, Argv: cmd.argv, Env: cmd.env, Dir: cmd.dir, Name: cmd.name, Files: cmd.files, Into: cmd.into,
	})
	switch {
	case errors.Is(err, reaper.ErrClosed):
		return nil, errBackendClosed
	case errors.Is(err, reaper.ErrLost):
		return nil, reaperLost{err}
	case err != nil:
		return nil, err
	}
	return reaped{child}, nil
}

func (s reaperSpawner) close()         { s.client.Close() }
func (s reaperSpawner) reaperPID() int { return s.client.PID() }

func (s reaperSpawner) instanceOf(pid int) int { return s.client.InstanceOf(pid) }

// reaperLost is backends.ErrReaperLost with what is known of the next reaper.
type reaperLost struct{ error }

func (e reaperLost) Unwrap() []error { return []error{backends.ErrReaperLost, e.error} }

// reaped is a child of the reaper.
type reaped struct{ child *reaper.Child }

func (r reaped) PID() int                  { return r.child.PID() }
func (r reaped) signal(sig syscall.Signal) { r.child.Signal(sig) }

func (r reaped) wait() backends.Exit {
	exit := r.child.Wait()
	if exit.Lost {
		return backends.Exit{Code: -1, Signal: unix.SignalName(syscall.SIGKILL), Err: backends.ErrReaperLost}
	}
	return exitOf(exit.Status)
}
