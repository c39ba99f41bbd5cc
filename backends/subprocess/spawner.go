package subprocess

import (
	"context"
	"errors"
	"os"
	"syscall"

	"github.com/aabb9013/hangar/backends"
	"github.com/aabb9013/hangar/internal/limits"
)

// spawner starts children. There are two: the reaper process, and a thread of
// this one where there can be no reaper.
type spawner interface {
	// start may block until ctx ends. The files stay the caller's.
	start(ctx context.Context, cmd command) (process, error)
	// close ends every child that is left and returns when the spawner is gone.
	close()
	// reaperPID is 0 where there is none.
	reaperPID() int
	// instanceOf is the pid of the living instance that a process carries the
	// mark of, 0 if there is none.
	instanceOf(pid int) int
}

// command is what a spawner starts, in a process group of its own.
type command struct {
	path      string
	argv, env []string
	dir       string
	name      string // the instance's, as in its environment
	files     [3]*os.File
	into      limits.Entry
}

// process is one child.
type process interface {
	PID() int
	// signal reaches the whole group and never a pid that was reused. It does
	// not block.
	signal(syscall.Signal)
	// wait returns when the child has ended and nothing of its group is left; it
	// is called once.
	wait() backends.Exit
}

var errBackendClosed = errors.New("the backend is closed")
