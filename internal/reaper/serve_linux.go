package reaper

import (
	"errors"
	"io"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/aabb9013/hangar/backends"
	"github.com/aabb9013/hangar/internal/limits"
	"github.com/aabb9013/hangar/internal/procs"
)

const (
	// lifelineFD is where the reaper finds its end of the life-line.
	lifelineFD = 3
	// endWithin bounds the end of the reaper: what was killed and is not gone by
	// then waits for a device, and goes when that lets it.
	endWithin = 10 * time.Second
	// idlePause is how long nothing was asked before memory is given back.
	idlePause = time.Second
	// maxHeld is how many starts are answered together while more are asked for:
	// each answer alone wakes the runtime, which takes a storm's CPU.
	maxHeld = 4
	// comm is the reaper's name for ps, so that who kills the runtime by name
	// spares it.
	comm = "hangar-reaper"
)

// ExecIfRequested becomes the reaper and exits with it when the process was
// started as one, and returns otherwise. Call it first in main.
func ExecIfRequested() {
	owner, asked := os.LookupEnv(envKey)
	if !asked {
		offered.Store(true)
		return
	}
	os.Exit(serve(owner))
}

// server is the reaper. Its main goroutine reads requests and makes children,
// on one thread, because the parent-death signal comes with the thread's end;
// another goroutine waits for the dead.
type server struct {
	owner Owner
	born  chan struct{} // wakes the waiter after the first child
	died  chan struct{} // wakes end

	starter limits.Starter // of the main goroutine

	mu       sync.Mutex
	children map[int]*child    // by pid; not yet reaped
	living   map[uint64]*child // the same, by id
	adopted  *procs.ChildList  // nil where the kernel has no such list
	held     []notice          // not yet told
	ending   bool              // everything is being killed
}

// child is one instance.
type child struct {
	id   uint64
	pid  int
	name string
}

func serve(owner string) int {
	runtime.LockOSThread() // never unlocked
	unix.CloseOnExec(lifelineFD)
	os.WriteFile("/proc/self/comm", []byte(comm), 0) // only for the eye
	// Taken and dropped: ignored ones would stay ignored in every child.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT,
		syscall.SIGPIPE, syscall.SIGUSR1, syscall.SIGUSR2)
	s := &server{
		born: make(chan struct{}, 1), died: make(chan struct{}, 1),
		children: make(map[int]*child), living: make(map[uint64]*child),
	}
	var err error
	if s.owner, err = ParseOwner(owner); err == nil {
		err = unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
	}
	s.adopted, _ = procs.OpenChildren()
	s.tell(notice{Kind: hello, Errno: errnoOf(err)})
	if err != nil {
		return 1
	}
	go s.wait()
	// What starting this program and using it touched is given back when nothing
	// was asked for a while.
	idle := time.AfterFunc(idlePause, giveBack)
	for {
		var r request
		files, err := s.receive(&r)
		if err != nil {
			break // the runtime is gone, or nothing it says can be understood any more
		}
		if r.Signal == 0 {
			s.start(r.ID, &r.Start, files)
		} else {
			s.signal(r.ID, syscall.Signal(r.Signal))
		}
		for _, f := range files {
			f.Close()
		}
		idle.Reset(idlePause)
	}
	s.end()
	return 0
}

func giveBack() {
	debug.FreeOSMemory()
	procs.DropFilePages()
}

// start makes a child. Nobody may reap it before it is known, so the lock is
// held over the fork.
func (s *server) start(id uint64, l *launch, files []*os.File) {
	s.mu.Lock()
	defer s.mu.Unlock()
	answer := notice{Kind: started, ID: id}
	defer func() {
		if s.held = append(s.held, answer); len(s.held) >= maxHeld {
			s.tell()
		}
	}()
	if len(files) != 3 {
		answer.Errno, answer.Text = int(syscall.EMFILE), "the reaper has no descriptors left"
		return
	}
	s.owner.mark(id).wear() // without a mark the environment has to do
	process, err := s.starter.Start(l.Into, l.Path, l.Argv, &os.ProcAttr{
		Dir: l.Dir, Env: l.Env, Files: files,
		Sys: &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL},
	})
	if err != nil {
		answer.Errno, answer.Text, answer.Short = errnoOf(err), err.Error(), errors.Is(err, backends.ErrResource)
		return
	}
	pid := process.Pid
	process.Release() // bury reaps it
	answer.PID = pid
	c := &child{id, pid, strings.Clone(l.Name)} // without the rest of the message
	s.children[pid], s.living[id] = c, c
	wake(s.born)
}

// signal reaches an instance. Its pid cannot be another's: who is in living was
// not reaped.
func (s *server) signal(id uint64, sig syscall.Signal) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c := s.living[id]; c != nil {
		Signal(c.pid, sig)
	}
	s.tell(notice{Kind: signalled, ID: id})
}

// end kills every descendant and returns when none is left. Who was killed has
// no more children, and those it had become ours, so that each look finds only
// what was started while the one before was under way.
func (s *server) end() {
	s.mu.Lock()
	s.ending = true
	s.mu.Unlock()
	defer func() {
		s.mu.Lock() // for good: what follows is the exit
		s.tell()
	}()
	self := os.Getpid()
	for deadline := time.Now().Add(endWithin); time.Now().Before(deadline); {
		s.mu.Lock()
		for pid := range s.children {
			unix.Kill(-pid, unix.SIGKILL)
		}
		s.mu.Unlock()
		left := 0
		for _, p := range procs.Tree(self) {
			if p.PID == self {
				continue
			}
			left++
			if !p.Dead() {
				killIf(p.PID, func() bool {
					now, err := procs.Read(p.PID)
					return err == nil && now.Start == p.Start
				})
			}
		}
		if left == 0 {
			return
		}
		select {
		case <-s.died:
		case <-time.After(sweepPause):
		}
	}
}

// tell writes what was held and then these to the runtime. When that is gone
// there is nobody to tell, and the reader sees it too.
func (s *server) tell(notices ...notice) {
	var all []byte
	for _, n := range append(s.held, notices...) {
		all, _ = frame(all, &n) // none is too long
	}
	s.held = s.held[:0]
	for len(all) > 0 {
		sent, err := unix.SendmsgN(lifelineFD, all, nil, nil, unix.MSG_NOSIGNAL)
		if err != nil && err != unix.EINTR {
			return
		}
		all = all[max(sent, 0):]
	}
}

// receive reads one request with the files that came with its first byte.
// Before it waits for one, nothing is held any more.
func (s *server) receive(r *request) (files []*os.File, err error) {
	var header [headerSize]byte
	oob := make([]byte, unix.CmsgSpace(3*4))
	var n, oobn int
	for wait := unix.MSG_DONTWAIT; ; {
		n, oobn, _, _, err = unix.Recvmsg(lifelineFD, header[:], oob, unix.MSG_CMSG_CLOEXEC|wait)
		if err == unix.EAGAIN {
			s.mu.Lock()
			s.tell()
			s.mu.Unlock()
			wait = 0
		} else if err != unix.EINTR {
			break
		}
	}
	if err == nil && n == 0 {
		err = io.EOF
	}
	if err != nil {
		return nil, err
	}
	if messages, err := unix.ParseSocketControlMessage(oob[:oobn]); err == nil && len(messages) > 0 {
		fds, _ := unix.ParseUnixRights(&messages[0])
		for _, fd := range fds {
			files = append(files, os.NewFile(uintptr(fd), "stream"))
		}
	}
	in := lifeline{}
	if _, err := io.ReadFull(in, header[n:]); err != nil {
		return files, err
	}
	return files, readBody(in, header[:], r)
}

// lifeline reads on the socket without a poller: the thread has nothing else
// to do.
type lifeline struct{}

func (lifeline) Read(p []byte) (int, error) {
	for {
		n, err := unix.Read(lifelineFD, p)
		switch {
		case err == unix.EINTR:
		case err == nil && n == 0:
			return 0, io.EOF
		default:
			return max(n, 0), err
		}
	}
}

func errnoOf(err error) int {
	var errno syscall.Errno
	switch {
	case err == nil:
		return 0
	case errors.As(err, &errno):
		return int(errno)
	}
	return int(syscall.EINVAL)
}

// wake never waits: one waiting word is as good as two.
func wake(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
