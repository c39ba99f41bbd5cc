package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"sync/atomic"

	"github.com/aabb9013/hangar/internal/testserver"
	"golang.org/x/sys/unix"
)

const (
	smallRead = 4 << 10   // per child, held always
	largeRead = 256 << 10 // pooled, held while longer lines arrive
	maxLine   = 32 << 20
	longLine  = 32 << 10  // from here on the pipe is made wider
	pipeSize  = 256 << 10 // a 64 KiB message and its envelope do not fit the 64 KiB that a pipe has at first
)

var errGone = errors.New("the child is gone")

// call is one request on its way. It is pooled with its buffers.
type call struct {
	line  []byte // what is written to the child
	id    []byte // what the caller used as id; the reader puts it into the reply
	reply []byte
	done  chan error
}

var calls = sync.Pool{New: func() any { return &call{done: make(chan error, 1)} }}

var largeBuffers = sync.Pool{New: func() any { b := make([]byte, largeRead); return &b }}

// link is the connection to one child: a mutex, a map of what is pending, one write per call, one reader.
type link struct {
	stdin  *os.File
	stdout *os.File
	exited chan struct{}
	ids    atomic.Uint64
	wide   atomic.Bool // stdin

	mu      sync.Mutex
	pending map[uint64]*call
	gone    bool
}

// startLink starts a child and does the handshake.
func startLink() (*link, error) {
	command, env := testserver.Command()
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Env = os.Environ()
	for key, value := range env {
		cmd.Env = append(cmd.Env, key+"="+value)
	}
	childIn, stdin, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	stdout, childOut, err := os.Pipe()
	if err != nil {
		childIn.Close()
		stdin.Close()
		return nil, err
	}
	cmd.Stdin, cmd.Stdout = childIn, childOut
	err = cmd.Start()
	childIn.Close()
	childOut.Close()
	if err != nil {
		stdin.Close()
		stdout.Close()
		return nil, err
	}
	l := &link{stdin: stdin, stdout: stdout, exited: make(chan struct{}), pending: make(map[uint64]*call)}
	go func() {
		l.read()
		cmd.Wait()
		close(l.exited)
	}()
	if err := l.handshake(); err != nil {
		l.close()
		return nil, err
	}
	return l, nil
}

func (l *link) handshake() error {
	c := calls.Get().(*call)
	defer calls.Put(c)
	n := l.ids.Add(1)
	c.id = append(c.id[:0], '0')
	c.line = fmt.Appendf(c.line[:0], `{"jsonrpc":"2.0","id":%d,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"floor","version":"1"}}}`+"\n", n)
	if err := l.do(n, c); err != nil {
		return err
	}
	_, err := io.WriteString(l.stdin, `{"jsonrpc":"2.0","method":"notifications/initialized"}`+"\n")
	return err
}

// do writes the line of a call that carries id n and waits for the reply.
func (l *link) do(n uint64, c *call) error {
	l.mu.Lock()
	if l.gone {
		l.mu.Unlock()
		return errGone
	}
	l.pending[n] = c
	l.mu.Unlock()
	if len(c.line) > longLine && l.wide.CompareAndSwap(false, true) {
		widen(l.stdin)
	}
	// Writes of whole lines are serialized by the file itself. A child that cannot be written to ends the reader too,
	// which answers everything pending.
	if _, err := l.stdin.Write(c.line); err != nil {
		l.stdout.Close()
	}
	return <-c.done
}

// close ends the child by the end of its input and waits for it.
func (l *link) close() {
	l.stdin.Close()
	<-l.exited
}

// read delivers lines until the child closes its output. Lines that do not fit the small buffer borrow a large one.
func (l *link) read() {
	small := make([]byte, smallRead)
	buf := small
	var large *[]byte
	wide := false
	begin, end, unseen := 0, 0, 0
	for {
		n, err := l.stdout.Read(buf[end:])
		end += n
		for {
			newline := bytes.IndexByte(buf[unseen:end], '\n')
			if newline < 0 {
				unseen = end
				break
			}
			l.deliver(buf[begin : unseen+newline])
			begin = unseen + newline + 1
			unseen = begin
		}
		if err != nil || end-begin > maxLine {
			break
		}
		switch {
		case begin == end:
			begin, end, unseen = 0, 0, 0
			if large != nil {
				*large = buf
				largeBuffers.Put(large)
				large, buf = nil, small
			}
		case end == len(buf) && begin > 0:
			end = copy(buf, buf[begin:end])
			begin, unseen = 0, end
		case end == len(buf) && large == nil:
			large = largeBuffers.Get().(*[]byte)
			copy(*large, buf)
			buf = *large
			if !wide {
				wide = true
				widen(l.stdout)
			}
		case end == len(buf):
			buf = append(buf, make([]byte, len(buf))...)
		}
	}
	l.stdout.Close()
	l.stdin.Close()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.gone = true
	for _, c := range l.pending {
		c.done <- errGone
	}
	clear(l.pending)
}

// widen lets a pipe hold more, which saves switching to and fro while one long line is written: at 64 KiB about a
// quarter of the throughput. It is done only when it pays, and may fail: the sum of all pipes is limited for each user.
func widen(pipe *os.File) {
	conn, err := pipe.SyscallConn()
	if err != nil {
		return
	}
	conn.Control(func(fd uintptr) { unix.FcntlInt(fd, unix.F_SETPIPE_SZ, pipeSize) })
}

// deliver hands a line to the call it answers. The id is found by a byte search: this is the floor, and the child is
// known to write its id first.
func (l *link) deliver(line []byte) {
	const key = `"id":`
	start := bytes.Index(line, []byte(key))
	if start < 0 {
		return
	}
	start += len(key)
	end := start
	var n uint64
	for end < len(line) && line[end] >= '0' && line[end] <= '9' {
		n = n*10 + uint64(line[end]-'0')
		end++
	}
	l.mu.Lock()
	c := l.pending[n]
	delete(l.pending, n)
	l.mu.Unlock()
	if c == nil {
		return
	}
	c.reply = append(c.reply[:0], line[:start]...)
	c.reply = append(c.reply, c.id...)
	c.reply = append(c.reply, line[end:]...)
	c.done <- nil
}

// fleet is the children of one limit, by number.
type fleet []child

type child struct {
	once sync.Once
	link atomic.Pointer[link]
	err  error
}

// get returns the link of a child, which is started by the first caller.
func (f fleet) get(i int) (*link, error) {
	c := &f[i]
	if l := c.link.Load(); l != nil {
		return l, nil
	}
	c.once.Do(func() {
		l, err := startLink()
		c.err = err
		c.link.Store(l)
	})
	return c.link.Load(), c.err
}

// boot starts all children, a few at a time.
func (f fleet) boot() error {
	const parallel = 4
	errs := make([]error, parallel)
	var group sync.WaitGroup
	for p := range parallel {
		group.Go(func() {
			for i := p; i < len(f) && errs[p] == nil; i += parallel {
				_, errs[p] = f.get(i)
			}
		})
	}
	group.Wait()
	return errors.Join(errs...)
}

func (f fleet) close() {
	var group sync.WaitGroup
	for i := range f {
		if l := f[i].link.Load(); l != nil {
			group.Go(l.close)
		}
	}
	group.Wait()
}

// parseServer takes "s12" apart.
func parseServer(name []byte, n int) (int, bool) {
	if len(name) < 2 || name[0] != 's' {
		return 0, false
	}
	i, err := strconv.Atoi(string(name[1:]))
	return i, err == nil && i >= 0 && i < n
}
