package reaper

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// Signal reaches the process group that an instance began with, and its first
// process also where that has gone to another group: nothing else would end it,
// and who waits for its end would wait for ever. The pid must not be reaped yet.
func Signal(pid int, sig syscall.Signal) {
	unix.Kill(-pid, sig)
	if group, err := unix.Getpgid(pid); err == nil && group != pid {
		unix.Kill(pid, sig)
	}
}
