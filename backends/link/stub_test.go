package link

import (
	"fmt"
	"io"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/aabb9013/hangar/backends"
	"github.com/aabb9013/hangar/internal/leaktest"
	"github.com/aabb9013/hangar/internal/rawio"
)

// script is a Source that delivers one chunk per read, as much of it as there is
// room for, and ends once it is closed.
type script struct {
	chunks chan []byte
	room   []int // len(Space()) at each read
	aparts int
}

func (s *script) Apart() { s.aparts++ }

func newScript() *script { return &script{chunks: make(chan []byte, 100_000)} }

func (s *script) Start(to rawio.Receiver) {
	go func() {
		defer to.Ended()
		for chunk := range s.chunks {
			for len(chunk) > 0 {
				b := to.Space()
				s.room = append(s.room, len(b))
				n := copy(b, chunk)
				if chunk = chunk[n:]; !to.Received(n) {
					return
				}
			}
		}
	}()
}

// drain is a Sink that takes at most room bytes, and at most step per attempt.
type drain struct {
	mu       sync.Mutex
	cond     sync.Cond
	got      []byte
	room     int // < 0: no limit
	step     int
	err      error
	deadline time.Time
	timer    *time.Timer
}

func newDrain(room int) *drain {
	d := &drain{room: room}
	d.cond.L = &d.mu
	return d
}

func (d *drain) TryWrite(p []byte) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.put(p)
}

func (d *drain) put(p []byte) (int, error) {
	if d.err != nil {
		return 0, d.err
	}
	if !d.deadline.IsZero() && !time.Now().Before(d.deadline) {
		return 0, os.ErrDeadlineExceeded // as an os.File whose deadline has passed
	}
	n := len(p)
	if d.step > 0 {
		n = min(n, d.step)
	}
	if d.room >= 0 {
		n = min(n, d.room)
		d.room -= n
	}
	d.got = append(d.got, p[:n]...)
	return n, nil
}

func (d *drain) Write(p []byte) (written int, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for {
		n, err := d.put(p[written:])
		if written += n; err != nil || written == len(p) {
			return written, err
		}
		if n == 0 {
			d.cond.Wait()
		}
	}
}

func (d *drain) SetWriteDeadline(t time.Time) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.timer != nil {
		d.timer.Stop()
	}
	if d.deadline = t; !t.IsZero() {
		d.timer = time.AfterFunc(time.Until(t), d.wake)
	}
	return nil
}

func (d *drain) wake() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.cond.Broadcast()
}

// allow makes room, or with an error breaks the sink.
func (d *drain) allow(room int, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.room, d.err = room, err
	d.cond.Broadcast()
}

func (d *drain) text() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return string(d.got)
}

// watcher is an Observer.
type watcher struct {
	mu      sync.Mutex
	done    int
	methods []string
}

func (w *watcher) CallsDone(_ uint64, n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.done += n
}

func (w *watcher) Notified(_ uint64, method string, _ []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.methods = append(w.methods, method)
}

func (w *watcher) Ended(uint64, backends.Exit) {}

func (w *watcher) count() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.done
}

// rig is a link with scripted streams.
type rig struct {
	*Link
	src   *script
	sink  *drain
	obs   *watcher
	fails chan error
}

func newRig(t testing.TB, room int, edit ...func(*Config)) *rig {
	r := &rig{src: newScript(), sink: newDrain(room), obs: &watcher{}, fails: make(chan error, 10)}
	cfg := Config{
		Server: "s", Epoch: 1, Sink: r.sink, Source: r.src, Observer: r.obs,
		Fail: func(err error) { r.fails <- err }, Ended: func() {},
	}
	for _, e := range edit {
		e(&cfg)
	}
	r.Link = Open(cfg)
	t.Cleanup(func() {
		r.sink.allow(0, io.ErrClosedPipe)
		close(r.src.chunks)
		<-r.ReadDone()
		r.Close(backends.Exit{})
	})
	return r
}

func call(text string) *backends.Call {
	c := backends.NewCall()
	c.Line = fmt.Appendf(c.Line[:0], `{"jsonrpc":"2.0","id":%d,"method":"tools/call","params":{"name":"echo","arguments":{"text":%q}}}`+"\n", c.ID, text)
	return c
}

func (r *rig) mustSend(t testing.TB, c *backends.Call) *backends.Call {
	t.Helper()
	if err := r.Send(c, false); err != nil {
		t.Fatal(err)
	}
	return c
}

func (r *rig) says(format string, a ...any) { r.src.chunks <- fmt.Appendf(nil, format+"\n", a...) }

func (d *drain) Widen() {}

func (s *script) Widen() {}

func TestMain(m *testing.M) {
	backends.DisablePooling()
	os.Exit(leaktest.Run(m))
}
