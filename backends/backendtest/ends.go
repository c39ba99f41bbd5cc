package backendtest

import (
	"errors"
	"strings"
	"time"

	"github.com/aabb9013/hangar/backends"
)

var endCases = []contractCase{
	{"a crash finishes every call in flight once", endCrash},
	{"a crash at a call reports its code", endCrashAfter},
	{"a clean exit is normal", endClean},
	{"a kill tells its reason", endKill},
	{"a closed stdout ends the instance", endStdoutClosed},
	{"a closed stdin ends the instance", endStdinClosed},
	{"a stdin that is never read ends the instance, not its neighbour", endStalled},
}

func endCrash(b *bench) {
	s := b.ready(Behaviour{})
	var sent []*backends.Call
	for range 50 {
		sent = append(sent, s.send("sleep", args{"ms": 3_600_000}))
	}
	atEnd := 0
	s.rec.mu.Lock()
	s.rec.atEnd = func() {
		for _, c := range sent {
			atEnd += len(c.Done())
		}
		select {
		case <-s.Done():
		default:
			b.Error("Ended came before Done was closed")
		}
	}
	s.rec.mu.Unlock()
	crash := s.send("crash", args{"code": 7})
	exit := s.awaitEnd()
	if exit.Code != 7 || exit.Signal != "" || exit.Err != nil || exit.Asked || exit.Normal() {
		b.Errorf("exit %+v", exit)
	}
	if atEnd != len(sent) {
		b.Errorf("at the report of the end %d of %d calls were finished", atEnd, len(sent))
	}
	for _, c := range append(sent, crash) {
		s.finished(c)
		var err *backends.CrashError
		if !errors.As(c.Err, &err) || !errors.Is(c.Err, backends.ErrCrashed) || err.Exit.Code != 7 || err.Server != s.spec.Server {
			b.Fatalf("a call ended with %v", c.Err)
		}
		if !err.Sent || !c.Sent() {
			b.Errorf("a call that was sent is said not to be: %v", c.Err)
		}
		if len(c.Done()) != 0 {
			b.Error("a call was finished twice")
		}
		if s.Cancel(c.ID, errGaveUp) {
			b.Error("a finished call could be cancelled")
		}
	}
}

func endCrashAfter(b *bench) {
	s := b.ready(Behaviour{CrashAfter: 3})
	for range 2 {
		s.text("echo", args{"text": "x"})
	}
	var err *backends.CrashError
	if c := s.finished(s.send("echo", args{"text": "x"})); !errors.As(c.Err, &err) || err.Exit.Code != 4 {
		b.Errorf("got %v", c.Err)
	}
}

// C07
func endClean(b *bench) {
	zero := 0
	s := b.start(Behaviour{ExitAfterInit: &zero})
	_, err := s.tryHandshake()
	if !errors.Is(err, backends.ErrCrashed) || !strings.Contains(err.Error(), "exit code 0") {
		b.Errorf("handshake: %v", err)
	}
	if exit := s.awaitEnd(); !exit.Normal() || exit.Asked {
		b.Errorf("exit %+v", exit)
	}
}

func endKill(b *bench) {
	s := b.ready(Behaviour{IgnoreEOF: true, IgnoreTerm: true})
	c := s.send("sleep", args{"ms": 3_600_000})
	s.Kill(backends.ErrUnresponsive)
	s.Kill(errors.New("a second reason"))
	if exit := s.awaitEnd(); !errors.Is(exit.Err, backends.ErrUnresponsive) || exit.Asked || exit.Normal() || exit.Code != -1 {
		b.Errorf("exit %+v", exit)
	}
	if s.finished(c); !errors.Is(c.Err, backends.ErrCrashed) || !errors.Is(c.Err, backends.ErrUnresponsive) {
		b.Errorf("the call ended with %v", c.Err)
	}
}

// C07
func endStdoutClosed(b *bench) {
	s := b.start(Behaviour{CloseStdout: true, IgnoreEOF: true})
	s.tryHandshake() // may or may not get that far
	if exit := s.awaitEnd(); !errors.Is(exit.Err, backends.ErrStdoutClosed) {
		b.Errorf("exit %+v", exit)
	}
}

// C07
func endStdinClosed(b *bench) {
	s := b.start(Behaviour{CloseStdin: true})
	if _, err := s.Request(b.Context(), "initialize", []byte(`{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"t","version":"1"}}`)); err != nil {
		b.Fatal(err)
	}
	s.Notify("notifications/initialized", nil)
	// The server closes its stdin at its own pace; only then a write fails.
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	go s.Request(b.Context(), "tools/list", nil)
	for i := 0; ; i++ {
		select {
		case <-s.Done():
			if exit := s.Exit(); !errors.Is(exit.Err, backends.ErrStdinClosed) {
				b.Errorf("exit %+v", exit)
			}
			return
		case <-tick.C:
			s.Notify("notifications/poke", nil)
		}
		if i > 500 {
			b.Fatal("a server with a closed stdin lives on")
		}
	}
}

// C05
func endStalled(b *bench) {
	b.tune.StdinStall = 1500 * time.Millisecond
	good, _, skip := b.h.Spec(b, Behaviour{})
	bad, _, skipBad := b.h.Spec(b, Behaviour{StallAtCall: true})
	if skip+skipBad != "" {
		b.Skip(skip + skipBad)
	}
	backend := b.h.Backend(b, b.tune)
	neighbour, s := b.startOn(backend, good), b.startOn(backend, bad)
	neighbour.handshake()
	s.handshake()
	begin := time.Now()
	text := strings.Repeat("y", 20_000)
	var sent []*backends.Call
	for range 100 { // 2 MB, thirty times what a pipe takes
		sent = append(sent, s.send("echo", args{"text": text}))
	}
	b.within("sending to a full stdin", time.Since(begin), 0, b.tune.StdinStall)
	stalled := make(chan time.Duration, 1)
	go func() {
		<-s.Done()
		stalled <- time.Since(begin)
	}()
	for range 20 {
		if got := neighbour.text("echo", args{"text": "fine"}); got != "fine" {
			b.Errorf("the neighbour answered %q", got)
		}
	}
	exit := s.awaitEnd()
	if !errors.Is(exit.Err, backends.ErrStdinStalled) {
		b.Errorf("exit %+v", exit)
	}
	b.within("the stall", <-stalled, b.tune.StdinStall, b.tune.StdinStall+5*time.Second)
	var first, last *backends.CrashError
	for _, c := range sent {
		s.finished(c)
	}
	if !errors.As(sent[0].Err, &first) || !errors.As(sent[99].Err, &last) || !first.Sent || last.Sent {
		b.Errorf("first call %v, last call %v", sent[0].Err, sent[99].Err)
	}
	if sent[99].Sent() || !sent[0].Sent() {
		b.Error("Sent of the calls does not agree")
	}
	if got := neighbour.text("echo", args{"text": "fine"}); got != "fine" {
		b.Errorf("the neighbour answered %q", got)
	}
}
