package link

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aabb9013/hangar/backends"
)

func TestCoalescingKeepsOrderAndWholeLines(t *testing.T) {
	for _, step := range []int{0, 1, 7, 1000} {
		t.Run(fmt.Sprint("step ", step), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { coalesce(t, step) })
		})
	}
}

func coalesce(t *testing.T, step int) {
	r := newRig(t, -1, func(c *Config) { c.Sink.(*drain).step = step })
	var wg sync.WaitGroup
	const senders, each = 8, 100
	for s := range senders {
		wg.Go(func() {
			for i := range each {
				c := call(fmt.Sprintf("%d %d", s, i))
				if err := r.Send(c, false); err != nil {
					t.Error(err)
				}
				if i%3 == 0 {
					r.Notify("notifications/x", []byte(`{}`))
				}
			}
		})
	}
	wg.Wait()
	synctest.Wait()
	var next [senders]int
	notes := 0
	for line := range strings.Lines(r.sink.text()) {
		var m struct {
			Params struct{ Arguments struct{ Text string } }
		}
		if err := json.Unmarshal([]byte(line), &m); err != nil {
			t.Fatalf("broken line %q", line)
		}
		if m.Params.Arguments.Text == "" {
			notes++
			continue
		}
		var s, i int
		fmt.Sscan(m.Params.Arguments.Text, &s, &i)
		if i != next[s] {
			t.Fatalf("sender %d: call %d came when %d was due", s, i, next[s])
		}
		next[s]++
	}
	for s, n := range next {
		if n != each {
			t.Errorf("sender %d: %d calls arrived", s, n)
		}
	}
	if want := senders * ((each + 2) / 3); notes != want {
		t.Errorf("%d notifications arrived, want %d", notes, want)
	}
}

func TestUnsentCallsAreReportedUnsent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 0)
		whole, part, none := call("whole"), call("part"), call("none")
		r.sink.allow(len(whole.Line)+1, nil)
		for _, c := range []*backends.Call{whole, part, none} {
			r.mustSend(t, c)
		}
		synctest.Wait()
		if n := r.InFlight(); n != 3 {
			t.Errorf("%d in flight", n)
		}
		r.Close(backends.Exit{Code: 5})
		for c, sent := range map[*backends.Call]bool{whole: true, part: true, none: false} {
			var crash *backends.CrashError
			if <-c.Done(); !errors.As(c.Err, &crash) || crash.Sent != sent || c.Sent() != sent || crash.Exit.Code != 5 {
				t.Errorf("%v; want sent %v", c.Err, sent)
			}
		}
		if r.obs.count() != 3 || r.InFlight() != 0 {
			t.Errorf("%d done, %d in flight", r.obs.count(), r.InFlight())
		}
		if err := r.Send(call("late"), false); !errors.Is(err, backends.ErrClosed) {
			t.Error(err)
		}
	})
}

// lateSink is a Sink whose writer is not scheduled again at once after its
// bytes have gone out.
type lateSink struct {
	*drain
	gone  chan struct{} // delivers when the bytes of a late write have gone out
	again chan struct{} // closed when the writer may go on
}

func (s *lateSink) TryWrite(p []byte) (int, error) {
	n, err := s.drain.TryWrite(p)
	if n > 0 && s.gone != nil {
		s.gone <- struct{}{}
		<-s.again
	}
	return n, err
}

// A child that read a call and died while the writer was not yet back from its
// write once made the call count as unsent, and so be carried out twice.
func TestCallIsSentThoughTheWriterHasNotSaidSo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		late := &lateSink{}
		r := newRig(t, 0, func(c *Config) {
			late.drain = c.Sink.(*drain)
			c.Sink = late
		})
		first := r.mustSend(t, call("first")) // no room: left to the flushing goroutine
		synctest.Wait()
		c := r.mustSend(t, call("second"))
		late.gone, late.again = make(chan struct{}), make(chan struct{})
		r.sink.allow(-1, nil)
		<-late.gone
		closed := make(chan struct{})
		go func() {
			defer close(closed)
			r.Close(backends.Exit{Code: -1, Signal: "SIGKILL"})
		}()
		synctest.Wait()
		select {
		case <-closed:
			t.Error("Close did not wait for the bytes that are on their way")
		default:
		}
		close(late.again)
		<-closed
		var crash *backends.CrashError
		if <-c.Done(); !errors.As(c.Err, &crash) || !crash.Sent {
			t.Errorf("got %v, want a call that counts as sent", c.Err)
		}
		if got := r.sink.text(); got != string(first.Line)+string(c.Line) {
			t.Errorf("the instance got %q", got)
		}
		late.gone = nil
	})
}

func TestCloseInterruptsAWriteThatWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 0)
		c := r.mustSend(t, call("x"))
		synctest.Wait()
		begin := time.Now()
		r.Close(backends.Exit{Code: 1})
		if d := time.Since(begin); d != 0 {
			t.Errorf("Close waited %v for a full stdin", d)
		}
		var crash *backends.CrashError
		if <-c.Done(); !errors.As(c.Err, &crash) || crash.Sent {
			t.Errorf("got %v, want a call that was not sent", c.Err)
		}
		if len(r.fails) > 0 {
			t.Errorf("the end was reported as a fault: %v", <-r.fails)
		}
	})
}

// A deadline left behind by a wait once failed the first write after it, and
// the call hung.
func TestWritesGoOnAfterAWaitForRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 10, func(c *Config) { c.StdinStall = time.Second })
		first := r.mustSend(t, call("first"))
		time.Sleep(900 * time.Millisecond)
		r.sink.allow(5, nil) // progress, though not all, starts the time anew
		time.Sleep(900 * time.Millisecond)
		r.sink.allow(-1, nil)
		synctest.Wait()
		time.Sleep(time.Hour)
		second := r.mustSend(t, call("second"))
		synctest.Wait()
		if got, want := r.sink.text(), string(first.Line)+string(second.Line); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
		if len(r.fails) > 0 {
			t.Error(<-r.fails)
		}
	})
}

func TestFullStdinStallsTheInstance(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 10)
		begin := time.Now()
		c := r.mustSend(t, call("x"))
		if err := <-r.fails; !errors.Is(err, backends.ErrStdinStalled) {
			t.Error(err)
		}
		if d := time.Since(begin); d != backends.StdinStall {
			t.Errorf("stalled after %v", d)
		}
		if err := r.Send(call("y"), false); !errors.Is(err, backends.ErrClosed) {
			t.Errorf("a send behind the gap: %v", err)
		}
		r.Close(backends.Exit{Code: -1, Err: backends.ErrStdinStalled})
		if <-c.Done(); !errors.Is(c.Err, backends.ErrStdinStalled) {
			t.Error(c.Err)
		}
	})
}

func TestBrokenStdinFailsTheInstanceOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, -1)
		r.sink.allow(-1, syscall.EPIPE)
		c := r.mustSend(t, call("x"))
		if err := <-r.fails; !errors.Is(err, backends.ErrStdinClosed) {
			t.Error(err)
		}
		if err := r.Send(call("y"), false); !errors.Is(err, backends.ErrClosed) {
			t.Error(err)
		}
		r.Close(backends.Exit{Code: 1})
		var crash *backends.CrashError
		if <-c.Done(); !errors.As(c.Err, &crash) || crash.Sent {
			t.Errorf("got %v", c.Err)
		}
		if len(r.fails) > 0 {
			t.Error(<-r.fails)
		}
	})
}

func TestSendIsBusyBeyondTheBound(t *testing.T) {
	if testing.Short() {
		t.Skip("takes 128 MiB")
	}
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 0)
		big := append(make([]byte, 8<<20), '\n')
		accepted := 0
		for ; accepted < 100; accepted++ {
			c := backends.NewCall()
			c.Line = big
			if err := r.Send(c, false); err != nil {
				if !errors.Is(err, backends.ErrBusy) {
					t.Error(err)
				}
				break
			}
		}
		if accepted != 7 { // the eighth would go over by its newline
			t.Errorf("%d calls of 8 MiB were accepted", accepted)
		}
		if n := r.InFlight(); n != accepted {
			t.Errorf("%d in flight", n)
		}
	})
}

func TestCancelTellsTheServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, -1)
		c := r.mustSend(t, call("x"))
		line := string(c.Line)
		cause := errors.New(`the "client" left`)
		if !r.Cancel(c.ID, cause) {
			t.Fatal("no call")
		}
		if <-c.Done(); c.Err != cause {
			t.Error(c.Err)
		}
		want := line + fmt.Sprintf(`{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":%d,"reason":"the \"client\" left"}}`+"\n", c.ID)
		if got := r.sink.text(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
		r.says(`{"jsonrpc":"2.0","id":%d,"result":{}}`, c.ID)
		synctest.Wait()
		if len(c.Done()) != 0 || r.obs.count() != 1 || r.Cancel(c.ID, cause) {
			t.Error("the late answer was taken")
		}
	})
}

func TestRequestEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, -1)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := r.Request(ctx, "ping", nil); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		if r.InFlight() != 0 || r.obs.count() != 0 {
			t.Error("a control request counts as a call")
		}
	})
}

func TestDrainWaitsForCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, -1)
		r.Drain(t.Context())
		c := r.mustSend(t, call("x"))
		drained := make(chan struct{})
		go func() {
			r.Drain(t.Context())
			close(drained)
		}()
		synctest.Wait()
		select {
		case <-drained:
			t.Error("drained with a call in flight")
		default:
		}
		r.says(`{"jsonrpc":"2.0","id":%d,"result":{}}`, c.ID)
		<-drained
	})
}

// Call ids are easy to guess. The memory of a call that was answered before it
// was written is its caller's again, and may hold what is for another server.
func TestAnAnswerBeforeTheWriteWaitsForTheSender(t *testing.T) {
	r := newRig(t, -1)
	for range 300 {
		c, sent := call("x"), make(chan struct{})
		go func() {
			defer close(sent)
			r.Send(c, false)
		}()
		answer := func() { r.says(`{"jsonrpc":"2.0","id":%d,"result":{}}`, c.ID) }
		for answered := false; !answered; {
			select {
			case <-c.Done():
				answered = true
			case <-sent:
				answer()
				<-c.Done()
				answered = true
			default:
				if len(r.src.chunks) < 4 {
					answer()
				}
			}
		}
		for i := range c.Line {
			c.Line[i] = '!'
		}
	}
	if strings.Contains(r.sink.text(), "!") {
		t.Error("a line was written from memory that its caller had back")
	}
}
