package subprocess

import (
	"os"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// exits watches all children of a backend with one goroutine: their pidfds
// are in an epoll set of its own, which itself waits in Go's poller. A
// goroutine for each child would cost a stack for each.
type exits struct {
	set     *os.File
	raw     syscall.RawConn
	mu      sync.Mutex
	waiting map[int32]func() // by pidfd
}

// newExits returns nil where the kernel does not have what it needs; each
// child then holds a thread.
func newExits() *exits {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil
	}
	// The flag means nothing to epoll; it tells os.NewFile to use the poller.
	if err := unix.SetNonblock(fd, true); err != nil {
		unix.Close(fd)
		return nil
	}
	x := &exits{set: os.NewFile(uintptr(fd), "pidfds"), waiting: make(map[int32]func())}
	if x.raw, err = x.set.SyscallConn(); err != nil {
		x.set.Close()
		return nil
	}
	go x.run()
	return x
}

// close ends the goroutine; children still watched are never reported.
func (x *exits) close() { x.set.Close() }

// watch calls ended in a goroutine of its own once the child is dead, and
// closes its pidfd; false if it cannot.
func (x *exits) watch(pidfd int, ended func()) bool {
	x.mu.Lock()
	x.waiting[int32(pidfd)] = ended
	x.mu.Unlock()
	var err error
	rawErr := x.raw.Control(func(set uintptr) {
		err = unix.EpollCtl(int(set), unix.EPOLL_CTL_ADD, pidfd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(pidfd)})
	})
	if rawErr == nil && err == nil {
		return true
	}
	x.mu.Lock()
	delete(x.waiting, int32(pidfd))
	x.mu.Unlock()
	return false
}

func (x *exits) run() {
	events := make([]unix.EpollEvent, 64)
	for {
		n := 0
		err := x.raw.Read(func(set uintptr) bool {
			var err error
			for {
				if n, err = unix.EpollWait(int(set), events, 0); err != unix.EINTR {
					break
				}
			}
			return n != 0 || err != nil
		})
		if err != nil || n < 0 {
			return // closed
		}
		for _, e := range events[:n] {
			x.mu.Lock()
			ended := x.waiting[e.Fd]
			delete(x.waiting, e.Fd)
			x.mu.Unlock()
			// Closing the descriptor takes it out of the set.
			unix.Close(int(e.Fd))
			if ended != nil {
				go ended()
			}
		}
	}
}
