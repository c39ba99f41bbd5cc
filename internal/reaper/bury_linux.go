package reaper

import (
	"os"
	"slices"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/aabb9013/hangar/internal/procs"
)

// Bounds of one burial.
const (
	// maxDead is how many dead are reaped before their ends are told.
	maxDead = 256
	// leftoverGrace is how long what dead instances left is looked for and may
	// take to die before the ends are told. What forks for longer than that is
	// met again when the next of it dies.
	leftoverGrace = 50 * time.Millisecond
	leftoverPause = 200 * time.Microsecond
	// youngAge is up to what age a process without a name is looked at again.
	youngAge = time.Second
)

// wait reaps whoever dies, for as long as the reaper lives. Only while there
// is no child at all does it wait for the next one to be born.
func (s *server) wait() {
	for {
		if _, err := deadChild(0); err != nil { // there is no child
			wake(s.died)
			<-s.born
			continue
		}
		s.bury()
	}
}

// bury reaps the dead, kills what instances among them left behind, and then
// tells of their ends: a server that starts again must not meet its old self.
func (s *server) bury() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.ending {
		s.tell() // starts do not wait for a burial
	}
	var ends []notice
	for range maxDead {
		pid, err := deadChild(unix.WNOHANG)
		if err != nil || pid == 0 {
			break
		}
		c := s.children[pid]
		if c != nil {
			unix.Kill(-pid, unix.SIGKILL) // while the pid is still taken
		}
		var status unix.WaitStatus
		for {
			if _, err := unix.Wait4(pid, &status, 0, nil); err != unix.EINTR {
				break
			}
		}
		if c == nil {
			continue // an orphan
		}
		delete(s.children, pid)
		delete(s.living, c.id)
		ends = append(ends, notice{Kind: exited, ID: c.id, PID: pid, Status: uint32(status)})
	}
	if s.ending { // which leaves nothing, and then tells
		s.held = append(s.held, ends...)
		wake(s.died)
		return
	}
	for deadline := time.Now().Add(leftoverGrace); s.killLeftovers() > 0 && time.Now().Before(deadline); {
		time.Sleep(leftoverPause)
	}
	s.tell(ends...)
	wake(s.died)
}

// killLeftovers kills every process whose instance has ended and returns how
// many there were, and how many more may turn out to be such. Only orphans, whom
// we adopted, and those below them can be. A process whose instance is unknown is
// let live: it may be a living one's, and ends with the runtime. But one that is
// young may only be between two programs, when its environment cannot be read.
func (s *server) killLeftovers() (left int) {
	uptime := procs.Uptime()
	for _, p := range procs.Tree(s.orphans()...) {
		if p.Dead() {
			continue
		}
		known := true
		killed := killIf(p.PID, func() (yes bool) {
			yes, known = s.leftover(p.PID)
			return yes
		})
		if killed || !known && p.Age(uptime) < youngAge {
			left++
		}
	}
	return left
}

// orphans are our children that we did not start.
func (s *server) orphans() []int {
	var pids []int
	var err error
	if s.adopted != nil {
		pids, err = s.adopted.PIDs()
	}
	if s.adopted == nil || err != nil {
		pids = procs.Children(os.Getpid())
	}
	return slices.DeleteFunc(pids, func(pid int) bool { return s.children[pid] != nil })
}

// leftover tells whether the process is of an instance that has ended; known is
// false if nothing tells whose it is.
func (s *server) leftover(pid int) (yes, known bool) {
	if m := markOf(pid); m.of(s.owner) {
		return s.living[m.id()] == nil, true
	}
	run, _ := procs.Env(pid, RunEnv)
	name, ok := procs.Env(pid, InstanceEnv)
	if !ok || !s.owner.owns(run) {
		return false, ok
	}
	for _, c := range s.living {
		if c.name == name {
			return false, true
		}
	}
	return true, true
}

// deadChild returns a child that has ended, without reaping it; 0 if it must
// not wait and there is none. The pid of siginfo_t stands in a union of which
// package unix shows no field.
func deadChild(options int) (pid int, err error) {
	var info struct {
		signo, errno, code int32
		child              struct {
			_   [0]uintptr // the union is aligned as a pointer
			pid int32
		}
		_ [128]byte
	}
	for {
		_, _, errno := unix.Syscall6(unix.SYS_WAITID, unix.P_ALL, 0, uintptr(unsafe.Pointer(&info)),
			uintptr(options|unix.WEXITED|unix.WNOWAIT), 0, 0)
		switch errno {
		case 0:
			return int(info.child.pid), nil
		case unix.EINTR:
		default:
			return 0, errno
		}
	}
}
