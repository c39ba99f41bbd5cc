package fake_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aabb9013/hangar/backends"
	"github.com/aabb9013/hangar/backends/fake"
)

// observer notes what an instance reports.
type observer struct {
	done  chan int
	ended chan backends.Exit
}

func newObserver() *observer {
	return &observer{done: make(chan int, 1000), ended: make(chan backends.Exit, 10)}
}

func (o *observer) CallsDone(_ uint64, n int)               { o.done <- n }
func (o *observer) Ended(_ uint64, exit backends.Exit)      { o.ended <- exit }
func (o *observer) Notified(_ uint64, _ string, raw []byte) {}

func start(t *testing.T, script fake.Script) (*fake.Backend, *fake.Instance, *observer) {
	t.Helper()
	b := fake.New(func(string, uint64) fake.Script { return script })
	o := newObserver()
	_, err := b.Start(t.Context(), backends.LaunchSpec{Server: "s", Epoch: 1, Observer: o})
	if err != nil {
		t.Fatal(err)
	}
	return b, b.Last("s"), o
}

func handshake(t *testing.T, in backends.Instance) *backends.Catalogue {
	t.Helper()
	cat, err := backends.Handshake(t.Context(), "s", in, backends.ClientInfo{Name: "test", Version: "1"})
	if err != nil {
		t.Fatal(err)
	}
	return cat
}

func send(t *testing.T, in backends.Instance, tool, args string) *backends.Call {
	t.Helper()
	c := backends.NewCall()
	c.Line = fmt.Appendf(c.Line, `{"jsonrpc":"2.0","id":%d,"method":"tools/call","params":{"name":%q,"arguments":%s}}`+"\n", c.ID, tool, args)
	if err := in.Send(c, false); err != nil {
		t.Fatal(err)
	}
	return c
}

func TestFakeWaitsInVirtualTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		b, in, o := start(t, fake.Script{StartDelay: time.Minute, InitDelay: time.Hour, CallDelay: time.Second, IgnoreStop: true})
		handshake(t, in)
		c := send(t, in, "sleep", `{"ms":500}`)
		<-c.Done()
		if c.Err != nil {
			t.Error(c.Err)
		}
		c.Release()
		if got, want := time.Since(begin), time.Hour+time.Minute+1500*time.Millisecond; got != want {
			t.Errorf("took %v, want %v", got, want)
		}
		begin = time.Now()
		in.Stop(t.Context(), time.Second)
		if got, want := time.Since(begin), 7*time.Second; got != want {
			t.Errorf("stop took %v, want %v", got, want)
		}
		if exit := <-o.ended; exit.Signal != "SIGKILL" || !exit.Asked || exit.Err != nil {
			t.Errorf("exit %+v", exit)
		}
		if b.Live() != 0 || b.Starts() != 1 || b.MaxLive() != 1 || b.MaxStarting() != 1 {
			t.Errorf("counts: live %d starts %d most %d starting %d", b.Live(), b.Starts(), b.MaxLive(), b.MaxStarting())
		}
	})
}

func TestFakeFreezesAndThaws(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, in, _ := start(t, fake.Script{})
		handshake(t, in)
		in.Freeze()
		c := send(t, in, "echo", `{"text":"hi"}`)
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		if _, err := in.Request(ctx, "ping", nil); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("ping of a frozen server: %v", err)
		}
		select {
		case <-c.Done():
			t.Error("a frozen server answered")
		default:
		}
		in.Thaw()
		<-c.Done()
		if _, err := in.Request(t.Context(), "ping", nil); err != nil {
			t.Error(err)
		}
		in.Stop(t.Context(), 0)
		if exit := in.Exit(); !exit.Normal() {
			t.Errorf("exit %v", exit)
		}
	})
}

func TestFakeCrashes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, in, o := start(t, fake.Script{RunFor: time.Minute, ExitCode: 9})
		handshake(t, in)
		c := send(t, in, "sleep", `{"ms":3600000}`)
		begin := time.Now()
		<-c.Done()
		var crash *backends.CrashError
		if !errors.As(c.Err, &crash) || crash.Exit.Code != 9 || !crash.Sent || time.Since(begin) > time.Minute {
			t.Errorf("got %v after %v", c.Err, time.Since(begin))
		}
		if exit := <-o.ended; exit.Code != 9 || exit.Asked {
			t.Errorf("exit %+v", exit)
		}
	})
}
