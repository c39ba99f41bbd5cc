package link

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/aabb9013/hangar/backends"
)

// trace remembers the last messages for the report of the instance's end. It
// lies on the path of every call: it allocates nothing, reads no clock there,
// and copies only the beginning of a burst's last line.
type trace struct {
	out, in       [backends.MaxFrames]header // rings
	sent, got     uint32                     // how many there were
	head          [backends.MaxHead]byte     // of the last message received
	headed, whole uint32                     // bytes of head, and of that message
}

// header is what is kept of each message.
type header struct {
	id   uint64
	at   time.Duration // since the link was opened; 0 is unknown
	size uint32
	kind frameKind
}

// frameKind is a method, or what else a message is: a name would take three
// times the room.
type frameKind uint8

const (
	kindOther frameKind = iota
	kindCall
	kindInitialize
	kindInitialized
	kindList
	kindListChanged
	kindPing
	kindCancelled
	kindProgress
	kindMessage
	kindRequest
	kindResponse
	kindError
	kindNoise
	kindUnfinished
)

var kindNames = [...]string{
	kindOther: "other", kindCall: "tools/call", kindInitialize: "initialize", kindInitialized: "notifications/initialized",
	kindList: "tools/list", kindListChanged: "notifications/tools/list_changed", kindPing: "ping",
	kindCancelled: "notifications/cancelled", kindProgress: "notifications/progress", kindMessage: "notifications/message",
	kindRequest: "request", kindResponse: "response", kindError: "error", kindNoise: "no JSON-RPC", kindUnfinished: "unfinished line",
}

func kindOf(method string) frameKind {
	switch method {
	case "initialize":
		return kindInitialize
	case "notifications/initialized":
		return kindInitialized
	case "tools/list":
		return kindList
	case "notifications/tools/list_changed":
		return kindListChanged
	case "ping":
		return kindPing
	case "notifications/progress":
		return kindProgress
	case "notifications/message":
		return kindMessage
	}
	return kindOther
}

// noteSentLocked remembers a message to the instance. A call brings the time at
// which it began, so that no clock is read for it.
func (l *Link) noteSentLocked(kind frameKind, id uint64, size int, began time.Time) {
	at := time.Duration(0)
	switch {
	case !began.IsZero():
		at = began.Sub(l.opened)
	case kind != kindCall:
		at = time.Since(l.opened)
	}
	l.trace.out[l.trace.sent%backends.MaxFrames] = header{id: id, at: at, size: uint32(size), kind: kind}
	l.trace.sent++
}

// noteAnswer remembers an answer of the instance; the reader's alone, as all
// that follows. Who waits for it knows when it came.
func (l *Link) noteAnswer(kind frameKind, id uint64, size int) {
	l.trace.in[l.trace.got%backends.MaxFrames] = header{id: id, size: uint32(size), kind: kind}
	l.trace.got++
}

// noteGot remembers another message of the instance.
func (l *Link) noteGot(kind frameKind, id uint64, size int) {
	l.trace.in[l.trace.got%backends.MaxFrames] = header{id: id, at: time.Since(l.opened), size: uint32(size), kind: kind}
	l.trace.got++
}

// noteHead keeps the beginning of the last message.
func (l *Link) noteHead(last []byte) {
	l.trace.headed = uint32(copy(l.trace.head[:], last))
	l.trace.whole = uint32(len(last))
}

// noteRest remembers a line that never ended.
func (l *Link) noteRest(rest []byte) {
	if len(rest) > 0 {
		l.noteGot(kindUnfinished, 0, len(rest))
		l.noteHead(rest)
	}
}

// headRoom is how much of a call's line is told: more than is shown, so that a
// secret is hidden as a whole before the line is cut.
const headRoom = 16 * backends.MaxHead

// traffic tells what passed before the end. pending are the calls in flight,
// not yet finished; bytes before written may have reached the instance.
func (l *Link) traffic(pending table, written uint64) *backends.Traffic {
	t := &backends.Traffic{}
	l.out.Lock()
	sent, out := l.trace.sent, l.trace.out
	l.out.Unlock()
	for n := sent - min(sent, backends.MaxFrames); n < sent; n++ {
		f := l.frame(out[n%backends.MaxFrames])
		f.Out = true
		if e := pending.find(f.ID); e != nil && (f.Method == kindNames[kindCall] || e.control) {
			f.Head = slices.Clone(e.call.Line[:min(len(e.call.Line), headRoom)])
			f.Whole = len(f.Head) == len(e.call.Line)
		}
		t.Frames = append(t.Frames, f)
	}
	t.Frames = append(t.Frames, l.received()...)
	var calls []entry
	for _, e := range pending.entries {
		if !e.control {
			calls = append(calls, e)
		}
	}
	slices.SortFunc(calls, func(a, b entry) int { return cmp.Compare(a.start, b.start) })
	t.InFlight = len(calls)
	for _, e := range calls[:min(len(calls), backends.MaxFates)] {
		t.Fates = append(t.Fates, backends.Fate{
			ID: e.call.ID, Tool: strings.Clone(e.call.Tool), Began: e.call.Began, Sent: e.start < written,
		})
	}
	return t
}

// received tells the last messages of the instance, none while it may still
// send some.
func (l *Link) received() (frames []backends.Frame) {
	select {
	case <-l.readDone:
	default:
		return nil
	}
	got := l.trace.got
	for n := got - min(got, backends.MaxFrames); n < got; n++ {
		f := l.frame(l.trace.in[n%backends.MaxFrames])
		if n == got-1 {
			f.Head = slices.Clone(l.trace.head[:l.trace.headed])
			f.Whole = l.trace.headed == l.trace.whole
		}
		frames = append(frames, f)
	}
	return frames
}

func (l *Link) frame(h header) backends.Frame {
	f := backends.Frame{ID: h.id, Method: kindNames[h.kind], Size: int(h.size)}
	if h.at > 0 {
		f.At = l.opened.Add(h.at)
	}
	return f
}
