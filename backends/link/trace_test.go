package link

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unsafe"

	"github.com/aabb9013/hangar/backends"
)

// finish ends the stream of the instance and then the link.
func (r *rig) finish(exit backends.Exit) *backends.Traffic {
	r.src.chunks <- nil // ends a read that waits, as the end of the stream does
	close(r.src.chunks)
	<-r.ReadDone()
	t := r.Close(exit)
	r.src.chunks = make(chan []byte) // for the rig's own end
	return t
}

func TestTrafficTellsTheLastMessagesAndTheCallsInFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, -1)
		opened := time.Now()
		r.Notify("notifications/initialized", nil)
		var calls []*backends.Call
		for i := range 6 {
			time.Sleep(time.Second)
			c := call(fmt.Sprint("call ", i))
			c.Tool, c.Began = "echo", time.Now()
			calls = append(calls, r.mustSend(t, c))
		}
		r.says(`{"jsonrpc":"2.0","id":%d,"result":{}}`, calls[0].ID)
		<-calls[0].Done()
		time.Sleep(time.Second)
		r.says(`{"jsonrpc":"2.0","method":"notifications/message","params":{}}`)
		synctest.Wait()
		time.Sleep(time.Second)
		r.src.chunks <- []byte("panic: half a li")
		synctest.Wait()
		got := r.finish(backends.Exit{Code: 1})
		var lines []string
		for _, f := range got.Frames {
			if f.At.IsZero() {
				f.At = opened // of an answer it is not kept
			}
			lines = append(lines, fmt.Sprintf("%v %v %s %d whole=%v %.20s", f.Out, f.At.Sub(opened), f.Method, f.Size, f.Whole, f.Head))
		}
		want := []string{
			"true 3s tools/call 99 whole=true " + string(calls[2].Line[:20]),
			"true 4s tools/call 99 whole=true " + string(calls[3].Line[:20]),
			"true 5s tools/call 99 whole=true " + string(calls[4].Line[:20]),
			"true 6s tools/call 99 whole=true " + string(calls[5].Line[:20]),
			"false 0s response 36 whole=false ",
			"false 7s notifications/message 62 whole=false ",
			"false 8s unfinished line 16 whole=true panic: half a li",
		}
		for i := range want { // sizes of lines with ids vary with the number of digits
			want[i] = strings.ReplaceAll(want[i], " 99 ", fmt.Sprintf(" %d ", len(calls[5].Line)))
			want[i] = strings.ReplaceAll(want[i], " 36 ", fmt.Sprintf(" %d ", len(fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"result":{}}`, calls[0].ID))))
		}
		if a, b := strings.Join(lines, "\n"), strings.Join(want, "\n"); a != b {
			t.Errorf("got\n%s\nwant\n%s", a, b)
		}
		if got.InFlight != 5 || len(got.Fates) != 5 {
			t.Fatalf("%d in flight, %d told", got.InFlight, len(got.Fates))
		}
		for i, f := range got.Fates {
			if c := calls[i+1]; f.ID != c.ID || f.Tool != "echo" || !f.Sent || f.Began.Sub(opened) != time.Duration(i+2)*time.Second {
				t.Errorf("call %d: %+v", i+1, f)
			}
		}
	})
}

func TestTrafficIsBoundedAndTellsWhatWasNotSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 0)
		first := r.mustSend(t, call(strings.Repeat("x", 2*headRoom)))
		for range backends.MaxFates + 10 {
			r.mustSend(t, call("y"))
		}
		r.sink.allow(1, nil)
		synctest.Wait()
		got := r.finish(backends.Exit{Code: -1})
		if got.InFlight != backends.MaxFates+11 || len(got.Fates) != backends.MaxFates {
			t.Fatalf("%d in flight, %d told", got.InFlight, len(got.Fates))
		}
		for i, f := range got.Fates {
			if f.Sent != (f.ID == first.ID) || f.Sent != (i == 0) {
				t.Errorf("call %d: %+v", i, f)
			}
		}
	})
}

func TestLongMessagesAreToldByTheirBeginning(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, -1, func(c *Config) { c.MaxMessage = 1 << 20 })
		c := r.mustSend(t, call(strings.Repeat("x", 2*headRoom)))
		r.src.chunks <- []byte("start " + strings.Repeat("z", 2<<20))
		<-r.fails
		got := r.finish(backends.Exit{Code: -1, Err: backends.ErrMessageTooLarge})
		out, in := got.Frames[0], got.Frames[len(got.Frames)-1]
		if len(out.Head) != headRoom || out.Whole || out.Size != len(c.Line) {
			t.Errorf("sent: %d of %d bytes", len(out.Head), out.Size)
		}
		if len(in.Head) != backends.MaxHead || in.Whole || in.Size <= 1<<20 || !strings.HasPrefix(string(in.Head), "start zz") {
			t.Errorf("received: %d of %d bytes, %.10q", len(in.Head), in.Size, in.Head)
		}
	})
}

func TestAskedEndLeavesNoTraffic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, -1)
		r.Notify("notifications/initialized", nil)
		if got := r.finish(backends.Exit{Asked: true}); got != nil {
			t.Errorf("got %+v", got)
		}
	})
}

// Every ready server pays for its link, however idle it is.
func TestLinkIsSmall(t *testing.T) {
	if n := unsafe.Sizeof(Link{}); n > 768 { // a size class of the allocator
		t.Errorf("a link takes %d bytes", n)
	}
}

// BenchmarkTrace is what the trace adds to one call.
func BenchmarkTrace(b *testing.B) {
	l := &Link{opened: time.Now()}
	began := time.Now()
	line := []byte(strings.Repeat("x", backends.MaxHead))
	b.ReportAllocs()
	for id := uint64(0); b.Loop(); id++ {
		l.noteSentLocked(kindCall, id, len(line), began)
		l.noteAnswer(kindResponse, id, len(line))
		l.noteHead(line)
	}
}
