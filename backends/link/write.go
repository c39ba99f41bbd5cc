package link

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/aabb9013/hangar/backends"
)

// maxPooled bounds the write buffers that are kept for the next burst of any
// link; a link with nothing to write holds none.
const maxPooled = 8 << 20

var writeBuffers = sync.Pool{New: func() any { b := make([]byte, 0, 4<<10); return &b }}

// longLine is the size from which a line may not fit a pipe as it is made.
const longLine = 32 << 10

// afterWrite waits until the sender is done with the call's memory, which
// whoever gets the answer may give away: an answer can overtake the return of
// the write that sent its call, and a server that guesses ids can answer a
// call before it is written.
func (l *Link) afterWrite(e entry) {
	if l.taken.Load() <= e.start {
		l.out.Lock()
		//lint:ignore SA2001 to have waited for the sender is the point
		l.out.Unlock()
	}
}

// acceptLocked tells whether n more bytes may be queued.
func (l *Link) acceptLocked(n int) error {
	if l.out.closed {
		return backends.ErrClosed
	}
	waiting := l.out.queued - l.out.written
	if waiting > 0 && waiting+uint64(n) > backends.MaxOutgoing {
		return fmt.Errorf("%w: %d bytes wait for server %q", backends.ErrBusy, waiting, l.cfg.Server)
	}
	return nil
}

// enqueue writes one line that is no call; id is that of the call or request it
// is about, 0 if none.
func (l *Link) enqueue(kind frameKind, id uint64, line []byte) error {
	l.out.Lock()
	defer l.out.Unlock()
	if err := l.acceptLocked(len(line)); err != nil {
		return err
	}
	l.noteSentLocked(kind, id, len(line), time.Time{})
	l.writeLocked(line, false)
	return nil
}

// writeLocked writes the line at once if nothing waits before it, or with
// what waits for the end of a burst; what is left over is queued. With more
// set a short line waits for its successors. It does not keep line.
func (l *Link) writeLocked(line []byte, more bool) {
	l.out.queued += uint64(len(line))
	if len(line) > longLine && !l.out.wide {
		l.out.wide = true
		l.cfg.Sink.Widen()
	}
	if l.out.buf == nil && l.out.flushing == nil && len(line) > corkLine {
		line = l.tryLocked(line)
		if len(line) == 0 {
			l.taken.Store(l.out.queued)
			return
		}
		more = false
	}
	if l.out.buf == nil {
		l.out.buf = writeBuffers.Get().(*[]byte)
		*l.out.buf = (*l.out.buf)[:0]
	}
	*l.out.buf = append(*l.out.buf, line...)
	l.taken.Store(l.out.queued)
	if l.out.flushing == nil && (!more || len(line) > corkLine || len(*l.out.buf) > corkBytes) {
		l.uncorkLocked()
	}
}

// tryLocked writes what the sink takes and returns the rest.
func (l *Link) tryLocked(p []byte) []byte {
	n, err := l.cfg.Sink.TryWrite(p)
	l.out.written += uint64(n)
	if err != nil {
		l.breakLocked(err)
		return nil
	}
	return p[n:]
}

// uncorkLocked writes what waits; what the sink does not take now is left to
// a goroutine that lives as long as there are bytes.
func (l *Link) uncorkLocked() {
	buf := l.out.buf
	rest := l.tryLocked(*buf)
	if len(rest) == 0 {
		l.out.buf = nil
		recycle(buf)
		return
	}
	*buf = append((*buf)[:0], rest...)
	l.out.flushing = make(chan struct{})
	go l.flush(l.out.flushing)
}

func recycle(buf *[]byte) {
	if cap(*buf) <= maxPooled {
		writeBuffers.Put(buf)
	}
}

// breakLocked gives stdin up after a failed write: the stream has a gap, so
// nothing may follow. The calls in flight end with the instance.
func (l *Link) breakLocked(err error) {
	l.out.closed = true
	l.out.buf = nil
	if errors.Is(err, os.ErrDeadlineExceeded) {
		err = fmt.Errorf("%w: the server did not read for %s", backends.ErrStdinStalled, l.cfg.StdinStall)
	} else {
		err = fmt.Errorf("%w: %v", backends.ErrStdinClosed, err)
	}
	l.fail(err)
}

// flush writes everything that waits and ends; the goroutine lives only as
// long as there are bytes.
func (l *Link) flush(over chan struct{}) {
	defer close(over)
	for {
		l.out.Lock()
		burst := l.out.buf
		if burst == nil || l.out.closed {
			l.out.flushing = nil
			l.out.Unlock()
			return
		}
		l.out.buf = nil
		l.out.Unlock()
		if err := l.writeBurst(*burst); err != nil {
			l.out.Lock()
			l.out.flushing = nil
			if !l.out.closed {
				l.breakLocked(err)
			}
			l.out.Unlock()
			return
		}
		recycle(burst)
	}
}

// writeBurst writes all bytes; the deadline moves on with every progress.
func (l *Link) writeBurst(burst []byte) error {
	for len(burst) > 0 {
		n, err := l.cfg.Sink.TryWrite(burst)
		if n == 0 && err == nil {
			n, err = l.waitAndWrite(burst)
		}
		if l.wrote(n) {
			return backends.ErrClosed
		}
		burst = burst[n:]
		if err != nil && !(n > 0 && errors.Is(err, os.ErrDeadlineExceeded)) {
			return err
		}
	}
	return nil
}

// waitAndWrite waits for room, unless the link was closed: endWrites moves the
// deadline of a write that it finds under way, and one that is only about to
// begin sees the link closed.
func (l *Link) waitAndWrite(burst []byte) (n int, err error) {
	l.cfg.Sink.SetWriteDeadline(time.Now().Add(l.cfg.StdinStall))
	if !l.wrote(0) {
		// In pieces, so that progress is seen before all is written.
		n, err = l.cfg.Sink.Write(burst[:min(len(burst), 64<<10)])
	}
	// A deadline that stays would fail every write after it.
	l.cfg.Sink.SetWriteDeadline(time.Time{})
	return n, err
}

// wrote counts n bytes as written and tells whether the link is closed.
func (l *Link) wrote(n int) (closed bool) {
	l.out.Lock()
	defer l.out.Unlock()
	l.out.written += uint64(n)
	return l.out.closed
}

// endWrites closes the outgoing side and returns the stream position after
// everything that the instance may have read. A goroutine that has just written
// has perhaps not said so yet: without waiting for it a call that the instance
// carried out would count as never sent, and be sent again.
func (l *Link) endWrites() (written uint64) {
	l.out.Lock()
	l.out.closed = true
	l.out.buf = nil
	flushing := l.out.flushing
	l.out.Unlock()
	if flushing != nil {
		l.cfg.Sink.SetWriteDeadline(time.Unix(1, 0)) // long past
		<-flushing
	}
	l.out.Lock()
	defer l.out.Unlock()
	return l.out.written
}

func itoa(id uint64) []byte { return strconv.AppendUint(nil, id, 10) }

// appendMessage appends a request (with id) or a notification (without).
func appendMessage(dst, id []byte, method string, params []byte) []byte {
	dst = append(dst, `{"jsonrpc":"2.0",`...)
	if id != nil {
		dst = append(dst, `"id":`...)
		dst = append(dst, id...)
		dst = append(dst, ',')
	}
	dst = append(dst, `"method":"`...)
	dst = append(dst, method...)
	dst = append(dst, '"')
	if params != nil {
		dst = append(dst, `,"params":`...)
		dst = append(dst, params...)
	}
	return append(dst, "}\n"...)
}
