package reaper

import (
	"golang.org/x/sys/unix"

	"github.com/aabb9013/hangar/internal/procs"
)

// mark tells whose a process is. It is a soft limit of RLIMIT_RSS: handed down
// by fork and kept by exec, setsid and a change of the environment, readable
// for any process of the same user, and without effect since Linux 2.4.30. Its
// second highest bit makes it more memory than any host has, for programs that
// ask; then come 38 bits of the owner and 24 of the instance's number.
type mark uint64

const (
	markBit      = 1 << 62
	instanceBits = 24
	maxID        = 1<<instanceBits - 1
)

func (o Owner) mark(id uint64) mark {
	owner := uint64(o) >> (64 - 62 + instanceBits) << instanceBits
	return mark(markBit | owner | id&maxID)
}

// id is the instance's.
func (m mark) id() uint64 { return uint64(m) & maxID }

// of tells whether the mark is one of the owner's.
func (m mark) of(o Owner) bool { return m>>instanceBits == o.mark(0)>>instanceBits }

// wear gives the mark to this process and so to its next children. It fails
// where the hard limit was lowered; the environment then has to do.
func (m mark) wear() error {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_RSS, &limit); err != nil {
		return err
	}
	limit.Cur = uint64(m)
	return unix.Setrlimit(unix.RLIMIT_RSS, &limit)
}

// markOf reads the limit of a process; it is a mark only of its owner.
func markOf(pid int) mark {
	var limit unix.Rlimit
	if unix.Prlimit(pid, unix.RLIMIT_RSS, nil, &limit) != nil {
		return 0
	}
	return mark(limit.Cur)
}

// belongs tells whether a process is of any run of the owner.
func (o Owner) belongs(pid int) bool {
	if markOf(pid).of(o) {
		return true
	}
	tag, _ := procs.Env(pid, RunEnv)
	return o.owns(tag)
}

// killIf sends SIGKILL to the process that has this pid while is says yes. The
// pidfd is opened before the question, so that the answer is about the process
// that is killed and never about a later one with its pid. It tells whether
// the signal was sent.
func killIf(pid int, is func() bool) bool {
	fd, err := unix.PidfdOpen(pid, 0)
	if err == unix.ENOSYS { // before Linux 5.3
		return is() && unix.Kill(pid, unix.SIGKILL) == nil
	}
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	return is() && unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0) == nil
}
