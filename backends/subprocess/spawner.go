package subprocess

import (
	"errors"
	"os"
	"runtime"
	"sync"

	"github.com/aabb9013/hangar/internal/limits"
)

// spawner starts children from one OS thread that lives as long as the
// backend. The kernel sends a child its parent-death signal when the *thread*
// that made it ends, and Go ends threads as it likes.
type spawner struct {
	jobs chan spawnJob
	once sync.Once
	quit chan struct{}
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

var errBackendClosed = errors.New("the backend is closed")

func newSpawner() *spawner {
	s := &spawner{jobs: make(chan spawnJob), quit: make(chan struct{})}
	go s.run()
	return s
}

func (s *spawner) run() {
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

func (s *spawner) start(into limits.Entry, path string, argv []string, attr *os.ProcAttr) (*os.Process, error) {
	job := spawnJob{path, argv, attr, into, make(chan spawned, 1)}
	select {
	case s.jobs <- job:
		r := <-job.done
		return r.proc, r.err
	case <-s.quit:
		return nil, errBackendClosed
	}
}

func (s *spawner) close() { s.once.Do(func() { close(s.quit) }) }
