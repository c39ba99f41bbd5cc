package fake

import (
	"io"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/aabb9013/hangar/internal/rawio"
)

// pipeSize is the capacity of a stdin, that of a pipe of the kernel.
const pipeSize = 64 << 10

// pipe is a byte stream in memory. Everything that waits waits on cond.
type pipe struct {
	mu       sync.Mutex
	cond     sync.Cond
	buf      []byte
	head     int // bytes of buf already read
	limit    int // bytes it takes before it is full; 0 = all
	chunk    int // bytes one read takes at most; 0 = all
	frozen   bool
	ended    bool // by the writer: reads get the rest, then io.EOF
	broken   bool // by the reader: writes fail with EPIPE
	closed   bool // by the writer: its own writes fail with os.ErrClosed
	deadline *time.Timer
	expired  bool
}

func newPipe(limit, chunk int) *pipe {
	p := &pipe{limit: limit, chunk: chunk}
	p.cond.L = &p.mu
	return p
}

// TryWrite implements link.Sink.
func (p *pipe) TryWrite(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.put(b)
}

// put takes what fits.
func (p *pipe) put(b []byte) (int, error) {
	switch {
	case p.closed:
		return 0, os.ErrClosed
	case p.broken:
		return 0, syscall.EPIPE
	}
	n := len(b)
	if p.limit > 0 {
		n = min(n, p.limit-p.len())
	}
	if p.head > pipeSize && p.head > len(p.buf)/2 {
		p.buf, p.head = p.buf[:copy(p.buf, p.buf[p.head:])], 0
	}
	p.buf = append(p.buf, b[:n]...)
	if n > 0 {
		p.cond.Broadcast()
	}
	return n, nil
}

// Write implements link.Sink.
func (p *pipe) Write(b []byte) (written int, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for {
		n, err := p.put(b[written:])
		written += n
		switch {
		case err != nil || written == len(b):
			return written, err
		case p.expired:
			return written, os.ErrDeadlineExceeded
		}
		p.cond.Wait()
	}
}

// SetWriteDeadline implements link.Sink.
func (p *pipe) SetWriteDeadline(t time.Time) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.deadline != nil {
		p.deadline.Stop()
		p.deadline = nil
	}
	p.expired = false
	if t.IsZero() || p.closed {
		return nil
	}
	var timer *time.Timer
	timer = time.AfterFunc(time.Until(t), func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.deadline == timer {
			p.expired = true
			p.cond.Broadcast()
		}
	})
	p.deadline = timer
	return nil
}

// Start implements link.Source, by a goroutine that ends with the stream.
func (p *pipe) Start(to rawio.Receiver) {
	go func() {
		for p.await() == nil && to.Received(p.take(to.Space())) {
		}
		to.Ended()
	}()
}

// Read implements io.Reader for the other end.
func (p *pipe) Read(b []byte) (int, error) {
	if err := p.await(); err != nil {
		return 0, err
	}
	return p.take(b), nil
}

// await waits until there is something to read, for the one who reads.
func (p *pipe) await() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.len() == 0 || p.frozen {
		switch {
		case p.broken:
			return os.ErrClosed
		case p.ended && !p.frozen:
			return io.EOF
		}
		p.cond.Wait()
	}
	return nil
}

// take reads what there is.
func (p *pipe) take(b []byte) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.chunk > 0 {
		b = b[:min(len(b), p.chunk)]
	}
	n := copy(b, p.buf[p.head:])
	if p.head += n; p.len() == 0 {
		p.buf, p.head = nil, 0 // thousands of idle instances hold no buffers
	}
	p.cond.Broadcast()
	return n
}

func (p *pipe) len() int { return len(p.buf) - p.head }

// set changes a flag and wakes all who wait.
func (p *pipe) set(change func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change()
	p.cond.Broadcast()
}

// close is the writer's end of the stream.
func (p *pipe) close() {
	p.SetWriteDeadline(time.Time{})
	p.set(func() { p.ended, p.closed = true, true })
}

// abandon is the reader's end of the stream.
func (p *pipe) abandon() { p.set(func() { p.broken, p.frozen, p.buf, p.head = true, false, nil, 0 }) }

// Widen implements both ends of a link; a pipe in memory stays as it is.
func (p *pipe) Widen() {}

// Apart implements link.Source: nobody waits for this reader.
func (p *pipe) Apart() {}
