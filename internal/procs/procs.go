// Package procs reads what the kernel tells of processes: one of them, the
// children of one, a whole tree and its memory. It reads a few lines of /proc by hand, keeps
// nothing, and never reads a command line, which may hold secrets. Outside of
// Linux it finds nothing. DropFilePages keeps a process small that started
// from a large program.
package procs

import (
	"errors"
	"time"
)

// MaxProcesses bounds what Tree and All return; what is beyond it is left out.
// It is the kernel's default for pid_max.
const MaxProcesses = 32768

// ErrUnknown: there is no such process, or it may not be looked at.
var ErrUnknown = errors.New("no such process")

// Info is one process at one moment. PID and Start together name it for ever:
// a later process with the same pid has another start.
type Info struct {
	PID, PPID int
	Group     int    // process group
	Start     uint64 // clock ticks of 10 ms from boot to its start
	Comm      string // name of its program, at most 15 bytes
	State     byte   // the kernel's letter: R, S, D, T, Z, …
	RSS       uint64 // resident bytes
}

// tick is the unit of Info.Start: USER_HZ is 100 on every architecture of Go.
const tick = 10 * time.Millisecond

// Dead tells whether the process has ended and only waits to be reaped.
func (i Info) Dead() bool { return i.State == 'Z' || i.State == 'X' }

// Stopped tells whether a signal stopped the process: it does nothing until
// another one lets it go on. What a debugger holds is not meant.
func (i Info) Stopped() bool { return i.State == 'T' }

// Age is the time since the process started, when uptime is Uptime().
func (i Info) Age(uptime time.Duration) time.Duration {
	return max(uptime-time.Duration(i.Start)*tick, 0)
}
