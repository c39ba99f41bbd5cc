package subprocess

import (
	"context"
	"os"
	"runtime"
	"sync"
	"syscall"

	"github.com/aabb9013/hangar/backends"
	"github.com/aabb9013/hangar/internal/limits"
	"github.com/aabb9013/hangar/internal/reaper"
)

// threadSpawner starts children from one OS thread that lives as long as the
// backend: the kernel sends a child its parent-death signal when the *thread*
// that made it ends, and Go ends threads as it likes. Whoever left an instance's
// process group is not reached by that, nor by the end of the instance.
type threadSpawner struct {
	jobs    chan spawnJob
	once    sync.Once
	quit    chan struct{}
	pidfds  bool   // wait for children in the poller; else on threads
	atClose func() // once the children are dead or dying
}

type spawnJob struct {
	path string
	argv []string
	attr *os.ProcAttr
	into limits.Entry
	done chan spawned
}

type spawned struct {
	proc *os.Process
	err  error
}

func newThreadSpawner(pidfds bool, atClose func()) *threadSpawner {
	s := &threadSpawner{jobs: make(chan spawnJob), quit: make(chan struct{}), pidfds: pidfds, atClose: atClose}
	go s.run()
	return s
}

func (s *threadSpawner) run() {
	runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
	var starter limits.Starter
	for {
		select {
		case j := <-s.jobs:
			proc, err := starter.Start(j.into, j.path, j.argv, j.attr)
			j.done <- spawned{proc, err}
		case <-s.quit:
			return
		}
	}
}

func (s *threadSpawner) start(_ context.Context, cmd command) (process, error) {
	pidfd := -1
	want := &pidfd
	if !s.pidfds {
		want = nil
	}
	job := spawnJob{cmd.path, cmd.argv, &os.ProcAttr{
		Dir: cmd.dir, Env: cmd.env, Files: cmd.files[:], Sys: sysProcAttr(want),
	}, cmd.into, make(chan spawned, 1)}
	select {
	case s.jobs <- job:
	case <-s.quit:
		return nil, errBackendClosed
	}
	r := <-job.done
	if r.err != nil {
		return nil, r.err
	}
	return &threadChild{proc: r.proc, waiter: newWaiter(r.proc, pidfd)}, nil
}

func (s *threadSpawner) close() {
	s.once.Do(func() {
		close(s.quit)
		s.atClose()
	})
}

func (s *threadSpawner) reaperPID() int { return 0 }

func (s *threadSpawner) instanceOf(int) int { return 0 }

// threadChild is a child of this process.
type threadChild struct {
	proc   *os.Process
	waiter *waiter

	mu     sync.Mutex
	reaped bool // the pid may belong to another process from here on
}

func (c *threadChild) PID() int { return c.proc.Pid }

func (c *threadChild) signal(sig syscall.Signal) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.reaped {
		reaper.Signal(c.proc.Pid, sig)
	}
}

func (c *threadChild) wait() backends.Exit {
	return c.waiter.wait(func() {
		// Before the pid is free for reuse: nothing of the group survives.
		c.mu.Lock()
		syscall.Kill(-c.proc.Pid, syscall.SIGKILL)
		c.reaped = true
		c.mu.Unlock()
	})
}
