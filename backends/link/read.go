package link

import (
	"bytes"
	"fmt"
	"sync"

	"github.com/aabb9013/hangar/backends"
	"github.com/aabb9013/hangar/internal/jsonrpc"
)

// A read takes all that a pipe usually holds; once a longer line was seen, the
// pipe is made wider and the buffer with it.
const (
	readSize = 64 << 10
	wideSize = 256 << 10
)

var (
	readBuffers = sync.Pool{New: func() any { b := make([]byte, readSize); return &b }}
	wideBuffers = sync.Pool{New: func() any { b := make([]byte, wideSize); return &b }}
)

// reader takes what the source reads, and holds the unfinished line between
// reads. buf is nil while there is none, so that an idle link holds no buffer.
type reader struct {
	link *Link
	buf  *[]byte
	used int
	seen int  // bytes of the unfinished line already searched for its end
	wide bool // long lines come here
	slow bool // and lines that take long: to scan and copy 16 MiB takes some 50 ms
}

// Space implements rawio.Receiver: the next bytes go behind the unfinished line.
// It never grows past the longest line allowed and one byte, which proves a line
// longer.
func (r *reader) Space() []byte {
	if r.buf == nil {
		r.buf = r.pool().Get().(*[]byte)
	}
	if r.used < len(*r.buf) {
		return (*r.buf)[r.used:]
	}
	full := r.buf
	if !r.wide {
		r.wide = true
		r.link.cfg.Source.Widen()
	}
	// By four: what a line outgrows stays in the heap until it is collected, and
	// with doubling that would be as much again as the longest line.
	if size := 4 * len(*full); size <= wideSize && wideSize <= r.longest() {
		r.buf = wideBuffers.Get().(*[]byte)
	} else {
		if !r.slow {
			r.slow = true
			r.link.cfg.Source.Apart()
		}
		if size >= r.longest() {
			size = r.longest() + 1 // not once more for the last byte
		}
		grown := make([]byte, size)
		r.buf = &grown
	}
	copy(*r.buf, *full)
	giveBack(full)
	return (*r.buf)[r.used:]
}

// longest is the longest line allowed.
func (r *reader) longest() int { return r.link.cfg.MaxMessage }

func (r *reader) pool() *sync.Pool {
	if r.wide && wideSize <= r.longest() {
		return &wideBuffers
	}
	return &readBuffers
}

func giveBack(buf *[]byte) {
	switch len(*buf) {
	case readSize:
		readBuffers.Put(buf)
	case wideSize:
		wideBuffers.Put(buf)
	}
}

// release gives the buffer back when nothing is unfinished.
func (r *reader) release() {
	if r.buf != nil && r.used == 0 {
		giveBack(r.buf)
		r.buf = nil
	}
}

// next cuts the first whole line off; ok is false when there is none.
func (r *reader) next(from int) (line []byte, end int, ok bool) {
	b := (*r.buf)[:r.used]
	i := bytes.IndexByte(b[from+r.seen:], '\n')
	if i < 0 {
		r.seen = r.used - from
		return nil, from, false
	}
	end = from + r.seen + i + 1
	line = b[from : end-1]
	r.seen = 0
	return line, end, true
}

// Received implements rawio.Receiver.
func (r *reader) Received(n int) (goOn bool) {
	l := r.link
	if n > 0 {
		r.used += n
		l.lines(r)
		if r.used > l.cfg.MaxMessage {
			l.tooLarge()
		}
		if l.garbled {
			r.giveUp()
			return false
		}
	}
	r.release()
	return true
}

// Ended implements rawio.Receiver.
func (r *reader) Ended() {
	r.giveUp()
	close(r.link.readDone)
	r.link.cfg.Ended()
}

// giveUp remembers the line that never ended, and lets it go.
func (r *reader) giveUp() {
	if r.buf != nil {
		r.link.noteRest((*r.buf)[:r.used])
		r.used = 0
		r.release()
	}
}

// lines handles every whole line of the buffer and keeps the rest.
func (l *Link) lines(r *reader) {
	done, from := 0, 0
	var last []byte
	for !l.garbled {
		line, end, ok := r.next(from)
		if !ok {
			break
		}
		from, last = end, line
		if l.line(line) {
			done++
		}
	}
	if from > 0 {
		l.noteHead(last)
		r.used = copy(*r.buf, (*r.buf)[from:r.used])
	}
	if done > 0 {
		l.cfg.Observer.CallsDone(l.cfg.Epoch, done)
	}
}

// tooLarge and the noise give the stream up: what may follow is not read, or a
// call would be answered by an instance that is being ended.
func (l *Link) tooLarge() {
	l.garbled = true
	l.fail(fmt.Errorf("%w: a line from the server is over the limit of %d bytes", backends.ErrMessageTooLarge, l.cfg.MaxMessage))
}

// line handles one message; true if it finished a call.
func (l *Link) line(line []byte) bool {
	if len(line) > l.cfg.MaxMessage {
		l.tooLarge()
		l.noteGot(kindOther, 0, len(line))
		return false
	}
	envelope := jsonrpc.Envelope{}
	env := &envelope
	if err := jsonrpc.Scan(line, jsonrpc.Limits{MaxBytes: l.cfg.MaxMessage}, env); err != nil {
		return l.badLine(line, env, err)
	}
	l.noise.inARow = 0
	switch env.Kind {
	case jsonrpc.Response, jsonrpc.ErrorResponse:
		return l.answer(line, env)
	case jsonrpc.Notification:
		l.notification(line, env)
	case jsonrpc.Request:
		l.request(line, env)
	}
	return false
}

func (l *Link) answer(line []byte, env *jsonrpc.Envelope) bool {
	id, ok := jsonrpc.ParseID(env.ID.Of(line))
	kind := kindResponse
	if env.Kind == jsonrpc.ErrorResponse {
		kind = kindError
	}
	l.noteAnswer(kind, id, len(line))
	e, found := entry{}, false
	if ok {
		e, found = l.take(id)
	}
	if !found {
		l.cfg.Streams.DroppedAnswers.Add(1)
		return false
	}
	l.afterWrite(e)
	e.call.SetAnswer(line, env)
	e.call.MarkSent()
	e.call.Finish(nil)
	return !e.control
}

// badLine counts noise. A message whose id could be read fails its call: its
// caller must not wait for an answer that has already been spoilt. True if it
// finished a call.
func (l *Link) badLine(line []byte, env *jsonrpc.Envelope, err error) bool {
	id, ok := jsonrpc.ParseID(env.ID.Of(line))
	l.noteGot(kindNoise, id, len(line))
	if ok {
		if e, ok := l.take(id); ok {
			e.call.MarkSent()
			l.afterWrite(e)
			e.call.Finish(fmt.Errorf("%w: server %q answered no valid JSON-RPC: %v", backends.ErrProtocol, l.cfg.Server, err))
			return !e.control
		}
	}
	l.onNoise(line)
	return false
}

func (l *Link) notification(line []byte, env *jsonrpc.Envelope) {
	method, _ := jsonrpc.Unquote(env.Method.Of(line))
	l.noteGot(kindOf(string(method)), 0, len(line))
	if string(method) != "notifications/progress" {
		l.cfg.Observer.Notified(l.cfg.Epoch, string(method), line)
		return
	}
	id, ok := jsonrpc.ParseID(env.ParamsToken.Of(line))
	if !ok {
		return
	}
	// Under the lock, so that the call cannot end and be reused meanwhile.
	l.calls.Lock()
	defer l.calls.Unlock()
	if e := l.calls.find(id); e != nil && e.call.Progress != nil {
		kept := *env // so that the others' envelopes need no heap
		e.call.Progress(line, &kept)
	}
}

// request answers what a server may ask of the runtime. A shared instance has
// no one client that could be asked: it has no roots, and nothing else.
func (l *Link) request(line []byte, env *jsonrpc.Envelope) {
	method, _ := jsonrpc.Unquote(env.Method.Of(line))
	id := env.ID.Of(line)
	l.noteGot(kindRequest, 0, len(line))
	out := append([]byte(`{"jsonrpc":"2.0","id":`), id...)
	switch string(method) {
	case "ping":
		out = append(out, `,"result":{}}`...)
	case "roots/list":
		out = append(out, `,"result":{"roots":[]}}`...)
	default:
		out = jsonrpc.AppendError(nil, id, -32601, "the client does not offer this method")
	}
	// A server that floods requests while not reading its input hurts only
	// itself: its answers are dropped once the buffer is full.
	_ = l.enqueue(kindResponse, 0, append(out, '\n'))
}
