package limits

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/aabb9013/hangar/backends"
)

// Entry says how to start a process inside of its limits. It is plain data, so
// that another process can be asked to do it.
type Entry struct {
	Dir   string    // v2: the group to be made in
	Tasks []string  // v1: where the starting thread goes first
	Home  []string  // v1: and where it goes back to
	After []Setting // v1: limits that would hold the starting thread too
	Data  uint64    // without cgroups: RLIMIT_DATA
}

// Setting is the text that a control file takes.
type Setting struct{ File, Text string }

// Starter starts processes inside of their limits. It belongs to one goroutine
// that is locked to its thread and does nothing else: between the two moves of
// a start that thread is in another group than the rest of the program.
type Starter struct {
	away []string // the homes that could not be reached
}

// Start is os.StartProcess inside of e. The process can leave no core dump.
func (s *Starter) Start(e Entry, path string, argv []string, attr *os.ProcAttr) (*os.Process, error) {
	// A thread that did not get home would take the next process along.
	if err := s.goHome(); err != nil {
		return nil, err
	}
	if e.Dir != "" {
		dir, err := os.Open(e.Dir)
		if err != nil {
			return nil, err
		}
		defer dir.Close()
		sys := *attr.Sys
		sys.UseCgroupFD, sys.CgroupFD = true, int(dir.Fd())
		inside := *attr
		inside.Sys, attr = &sys, &inside
	}
	s.away = e.Home
	err := moveThread(e.Tasks)
	var proc *os.Process
	if err == nil {
		proc, err = os.StartProcess(path, argv, attr)
	}
	homeErr := s.goHome()
	if err != nil {
		return nil, errors.Join(err, homeErr)
	}
	if err := errors.Join(homeErr, finish(e, proc.Pid)); err != nil {
		proc.Kill()
		proc.Wait()
		return nil, err
	}
	return proc, nil
}

// finish sets what is set on the running process.
func finish(e Entry, pid int) error {
	for _, s := range e.After {
		if err := write(s.File, s.Text); err != nil {
			return err
		}
	}
	if e.Data > 0 {
		if err := unix.Prlimit(pid, unix.RLIMIT_DATA, &unix.Rlimit{Cur: e.Data, Max: e.Data}, nil); err != nil && err != unix.ESRCH {
			return fmt.Errorf("cannot limit the data of process %d: %w", pid, err)
		}
	}
	// The memory of a server holds secrets, and its dump could fill the disk.
	// Whether a kernel allows it is no reason to run without the server.
	_ = unix.Prlimit(pid, unix.RLIMIT_CORE, &unix.Rlimit{}, nil)
	return nil
}

func (s *Starter) goHome() error {
	if err := moveThread(s.away); err != nil {
		return fmt.Errorf("%w: the starting thread cannot leave the group of the last process: %w", backends.ErrResource, err)
	}
	s.away = nil
	return nil
}

func moveThread(tasks []string) error {
	if len(tasks) == 0 {
		return nil
	}
	id := strconv.Itoa(syscall.Gettid())
	for _, file := range tasks {
		if err := write(file, id); err != nil {
			return err
		}
	}
	return nil
}
