package reaper

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/aabb9013/hangar/internal/procs"
)

// maxQueued bounds the signals that wait to be written: three of every server
// of a full fleet. A reaper that leaves more unread is taken for hung.
const maxQueued = 30_000

// Errors of a start that has no reaper.
var (
	ErrLost   = errors.New("no reaper process is running")
	ErrClosed = errors.New("the reaper is closed")
)

// Why a reaper is killed.
var (
	errStopped = errors.New("it was stopped by a signal and was killed")
	errHung    = errors.New("it hung and was killed")
)

// conn is one reaper process and the life-line to it. Three goroutines serve
// it until it ends: the keeper's, which reads, one that writes signals, so that
// who sends one never waits for the reaper, and one that waits for its exit.
type conn struct {
	opts    Options
	process *os.Process
	line    *net.UnixConn
	wake    chan struct{}
	quit    chan struct{}         // closed when reading ended
	written chan struct{}         // closed when the writer ended
	reaped  chan struct{}         // closed when the process was waited for
	well    bool                  // it ended by itself, with nothing left; valid once reaped is closed
	fault   atomic.Pointer[error] // why we killed it; nil if we did not

	answered atomic.Uint64 // requests

	sending sync.Mutex // one request after the other
	shut    bool       // nothing more is sent; guarded by sending

	mu       sync.Mutex
	asked    uint64   // requests
	queue    [][]byte // signals
	leaving  bool
	lost     bool
	waiting  map[uint64]chan outcome // starts, until they are answered
	children map[uint64]*Child
}

// outcome is that of a start.
type outcome struct {
	child *Child
	err   error
}

// open runs the program again as the reaper and waits for its hello.
func open(opts Options) (*conn, error) {
	ours, theirs, err := socketPair()
	if err != nil {
		return nil, err
	}
	defer theirs.Close()
	line, err := net.FileConn(ours)
	ours.Close()
	if err != nil {
		return nil, err
	}
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		line.Close()
		return nil, err
	}
	defer null.Close()
	stderr := os.Stderr // only a panic of the reaper is ever written to it
	if _, err := stderr.Stat(); err != nil {
		stderr = null
	}
	process, err := os.StartProcess("/proc/self/exe", []string{comm}, &os.ProcAttr{
		Env:   environ(opts),
		Files: []*os.File{null, null, stderr, theirs},
		// A group of its own, so that no Ctrl-C reaches it, and no session: the
		// scheduler keeps sessions apart (autogroup), and a server that is woken at
		// once for each call takes a fifth of the throughput.
		Sys: &syscall.SysProcAttr{Setpgid: true},
	})
	if err != nil {
		line.Close()
		return nil, fmt.Errorf("cannot run this program again: %w", err)
	}
	c := &conn{
		opts: opts, process: process, line: line.(*net.UnixConn), wake: make(chan struct{}, 1), quit: make(chan struct{}),
		written: make(chan struct{}), reaped: make(chan struct{}),
		waiting: make(map[uint64]chan outcome), children: make(map[uint64]*Child),
	}
	go func() {
		state, err := process.Wait()
		c.well = err == nil && state.Success()
		close(c.reaped)
	}()
	var up notice
	line.SetReadDeadline(time.Now().Add(helloWithin))
	err = readMessage(line, &up)
	line.SetReadDeadline(time.Time{})
	if err == nil && up.Kind == hello && up.Errno == 0 {
		go c.write()
		return c, nil
	}
	process.Kill()
	line.Close()
	<-c.reaped
	switch {
	case err != nil:
		return nil, fmt.Errorf("no sign of life from it: %w", err)
	case up.Kind == hello:
		return nil, fmt.Errorf("it cannot adopt processes: %w", syscall.Errno(up.Errno))
	}
	return nil, errors.New("what answers is no reaper")
}

// environ is the runtime's own, so that the program takes the same way again,
// with what keeps the reaper small and tells whose it is. None of it is handed
// on to the children. With one processor Go's monitor thread would take it from
// the reaper in every system call and wake it for that each 20 µs; two spare a
// fifth of the CPU of a start.
func environ(opts Options) []string {
	own := []string{
		envKey + "=" + opts.Owner.String(), RunEnv + "=" + opts.RunTag,
		"GOMAXPROCS=2", "GOGC=25", "GOMEMLIMIT=8MiB", "GORACE=atexit_sleep_ms=0",
	}
	env := slices.DeleteFunc(os.Environ(), func(kv string) bool {
		name, _, _ := strings.Cut(kv, "=")
		return slices.ContainsFunc(own, func(o string) bool { return strings.HasPrefix(o, name+"=") })
	})
	return append(env, own...)
}

func socketPair() (ours, theirs *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, os.NewSyscallError("socketpair", err)
	}
	return os.NewFile(uintptr(fds[0]), "life-line"), os.NewFile(uintptr(fds[1]), "life-line"), nil
}

// start asks for a child and waits for the answer.
func (c *conn) start(lastID *atomic.Uint64, cmd Command) (*Child, error) {
	answer := make(chan outcome, 1)
	id := c.reserve(lastID, answer)
	message, err := frame(make([]byte, 0, frameHint), &request{ID: id, Start: launch{
		Path: cmd.Path, Dir: cmd.Dir, Name: cmd.Name, Argv: cmd.Argv, Env: cmd.Env, Into: cmd.Into,
	}})
	if err != nil {
		err = fmt.Errorf("%w: %w", syscall.E2BIG, err)
	} else {
		var fds [len(cmd.Files)]int
		for i, f := range cmd.Files {
			fds[i] = int(f.Fd()) // which also makes it blocking, as children expect
		}
		if !c.expect() || !c.send(message, unix.UnixRights(fds[:]...)) {
			err = ErrLost
		}
	}
	if err != nil {
		c.mu.Lock()
		delete(c.waiting, id)
		c.mu.Unlock()
		return nil, err
	}
	o := <-answer
	return o.child, o.err
}

// reserve finds the next id that no living instance has: there are only so
// many in a mark.
func (c *conn) reserve(lastID *atomic.Uint64, answer chan outcome) uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		id := lastID.Add(1) & maxID
		if id != 0 && c.children[id] == nil && c.waiting[id] == nil {
			c.waiting[id] = answer
			return id
		}
	}
}

func (c *conn) signal(id uint64, sig syscall.Signal) {
	message, err := frame(nil, &request{ID: id, Signal: int(sig)})
	if err != nil || sig == 0 || !c.expect() { // 0 would be read as a start; it does nothing anyhow
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.queue) >= maxQueued {
		c.kill(errHung)
		return
	}
	c.queue = append(c.queue, message)
	wake(c.wake)
}

// expect watches that the request which follows is answered. False if the
// reaper is lost or leaving.
func (c *conn) expect() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.lost || c.leaving {
		return false
	}
	c.asked++
	number := c.asked
	c.await(c.opts.Hang, false, func() bool { return c.answered.Load() >= number })
	return true
}

// await kills the reaper unless it has done something in time. How long a start
// takes is for the host to say, its load and its disks, so that time is long. A
// reaper that is stopped, at two looks in a row, would not do it however long it
// had.
func (c *conn) await(left time.Duration, stopped bool, done func() bool) {
	pause := min(lookAgain, left)
	time.AfterFunc(pause, func() {
		if done() {
			return
		}
		info, err := procs.Read(c.process.Pid)
		again := err == nil && info.Stopped()
		switch {
		case stopped && again:
			c.kill(errStopped)
			return
		case left <= pause:
			c.kill(errHung)
			return
		}
		c.await(left-pause, again, done)
	})
}

// kill ends a reaper that is of no use any more; the first reason stays.
func (c *conn) kill(why error) {
	c.fault.CompareAndSwap(nil, &why)
	c.process.Kill() // nothing if it is gone
}

// send writes one request; it waits while the reaper does not read. False if
// the line ended, and then nothing more can be sent.
func (c *conn) send(message, rights []byte) bool {
	c.sending.Lock()
	defer c.sending.Unlock()
	if c.shut {
		return false
	}
	n, _, err := c.line.WriteMsgUnix(message, rights, nil)
	if err == nil && n < len(message) {
		_, err = c.line.Write(message[n:])
	}
	if err != nil {
		c.process.Kill() // half a message makes the line useless
	}
	return err == nil
}

// write sends the queued signals until the line ends.
func (c *conn) write() {
	defer close(c.written)
	for {
		select {
		case <-c.wake:
		case <-c.quit:
			return
		}
		c.mu.Lock()
		queue, leaving := c.queue, c.leaving
		c.queue = nil
		c.mu.Unlock()
		for _, message := range queue {
			if !c.send(message, nil) {
				return
			}
		}
		if leaving {
			c.sending.Lock()
			c.shut = true
			c.line.CloseWrite()
			c.sending.Unlock()
			return
		}
	}
}

// leave lets the reaper see the end of the life-line. It then ends everything,
// and is killed itself if that takes too long.
func (c *conn) leave() {
	c.mu.Lock()
	c.leaving = true
	c.mu.Unlock()
	wake(c.wake)
	c.await(closeWithin, false, func() bool {
		select {
		case <-c.reaped:
			return true
		default:
			return false
		}
	})
}

// serve reads what the reaper tells until the line ends, and returns when the
// process is gone; nil if it left as it was told.
func (c *conn) serve() error {
	var err error
	in := bufio.NewReader(c.line) // several notices in one read, when there are
	for err == nil {
		var n notice
		if err = readMessage(in, &n); err == nil {
			c.noticed(n)
		}
	}
	c.mu.Lock()
	c.lost = true
	leaving := c.leaving
	c.mu.Unlock()
	c.process.Kill()
	close(c.quit)
	c.line.Close()
	<-c.written
	<-c.reaped
	if leaving && c.well { // one that was killed in its end may not have come to it
		return nil
	}
	if why := c.fault.Load(); why != nil {
		return *why
	}
	return err
}

func (c *conn) noticed(n notice) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch n.Kind {
	case started:
		c.answered.Add(1)
		answer := c.waiting[n.ID]
		delete(c.waiting, n.ID)
		if n.Errno != 0 {
			answer <- outcome{err: &startError{n.Text, syscall.Errno(n.Errno), n.Short}}
			return
		}
		child := &Child{id: n.ID, pid: n.PID, conn: c, exit: make(chan Exit, 1)}
		c.children[n.ID] = child
		answer <- outcome{child: child}
	case signalled:
		c.answered.Add(1)
	case exited:
		if child := c.children[n.ID]; child != nil {
			delete(c.children, n.ID)
			child.exit <- Exit{Status: syscall.WaitStatus(n.Status)}
		}
	}
}

// endAll ends every child of a reaper that is gone, and every start.
func (c *conn) endAll() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, child := range c.children {
		child.exit <- Exit{Lost: true}
	}
	for _, answer := range c.waiting {
		answer <- outcome{err: ErrLost}
	}
	clear(c.children)
	clear(c.waiting)
	c.queue = nil
}
