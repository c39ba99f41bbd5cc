package subprocess

import (
	"os"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/aabb9013/hangar/backends"
)

// sysProcAttr puts the child into its own group, lets the kernel kill it when
// the spawner's thread ends, and asks for its pidfd.
func sysProcAttr(pidfd *int) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL, PidFD: pidfd}
}

// waiter waits for one child without holding an OS thread.
type waiter struct {
	proc *os.Process
	file *os.File // the pidfd in the poller; nil where the kernel has none
}

func newWaiter(proc *os.Process, pidfd int) *waiter {
	w := &waiter{proc: proc}
	if pidfd >= 0 {
		if unix.SetNonblock(pidfd, true) == nil {
			w.file = os.NewFile(uintptr(pidfd), "pidfd")
		} else {
			unix.Close(pidfd)
		}
	}
	return w
}

// wait returns the child's end; before is called once the child is dead and
// not yet reaped.
func (w *waiter) wait(before func()) backends.Exit {
	if w.file == nil {
		return waitThread(w.proc, before)
	}
	defer w.file.Close()
	if !w.dead() {
		return waitThread(w.proc, before)
	}
	before()
	return reap(w.proc)
}

// dead waits in the poller until the child is a zombie.
func (w *waiter) dead() bool {
	raw, err := w.file.SyscallConn()
	if err != nil {
		return false
	}
	var waitErr error
	err = raw.Read(func(fd uintptr) bool {
		var info unix.Siginfo
		for {
			waitErr = unix.Waitid(unix.P_PIDFD, int(fd), &info, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil)
			if waitErr != unix.EINTR {
				break
			}
		}
		return waitErr != nil || info.Signo != 0
	})
	return err == nil && waitErr == nil
}

// waitThread is the way without a pidfd: it holds a thread until the child
// ended.
func waitThread(proc *os.Process, before func()) backends.Exit {
	var info unix.Siginfo
	for unix.Waitid(unix.P_PID, proc.Pid, &info, unix.WEXITED|unix.WNOWAIT, nil) == unix.EINTR {
	}
	before()
	return reap(proc)
}

// reap collects a child that is known to be dead.
func reap(proc *os.Process) backends.Exit {
	state, err := proc.Wait()
	if err != nil {
		return backends.Exit{Code: -1}
	}
	if status, ok := state.Sys().(syscall.WaitStatus); ok {
		return exitOf(status)
	}
	return backends.Exit{Code: state.ExitCode()}
}

func exitOf(status syscall.WaitStatus) backends.Exit {
	if status.Signaled() {
		return backends.Exit{Code: -1, Signal: unix.SignalName(status.Signal())}
	}
	return backends.Exit{Code: status.ExitStatus()}
}
