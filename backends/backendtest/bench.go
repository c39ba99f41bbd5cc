package backendtest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aabb9013/hangar/backends"
)

// patience bounds every wait for something that must happen.
const patience = 20 * time.Second

// bench is where one case works.
type bench struct {
	*testing.T
	h    Harness
	tune Tuning
}

// start starts one server; the case is skipped if the backend cannot.
func (b *bench) start(want Behaviour, edit ...func(*backends.LaunchSpec)) *subject {
	b.Helper()
	spec, _, skip := b.h.Spec(b, want)
	if skip != "" {
		b.Skip(skip)
	}
	return b.startOn(b.h.Backend(b, b.tune), spec, edit...)
}

func (b *bench) startOn(backend backends.Backend, spec backends.LaunchSpec, edit ...func(*backends.LaunchSpec)) *subject {
	b.Helper()
	s := &subject{bench: b, spec: spec, rec: &recorder{ended: make(chan struct{})}}
	s.spec.Epoch, s.spec.Observer, s.spec.Log = 42, s.rec, &backends.LogRing{}
	for _, e := range edit {
		e(&s.spec)
	}
	in, err := backend.Start(b.Context(), s.spec)
	if err != nil {
		b.Fatal(err)
	}
	s.Instance = in
	b.Cleanup(func() {
		in.Kill(errors.New("the case is over"))
		s.awaitEnd()
		s.checkEnd()
	})
	return s
}

// ready starts a server and shakes hands.
func (b *bench) ready(want Behaviour, edit ...func(*backends.LaunchSpec)) *subject {
	b.Helper()
	s := b.start(want, edit...)
	s.handshake()
	return s
}

// subject is one instance under test and what it reported.
type subject struct {
	*bench
	backends.Instance
	spec backends.LaunchSpec
	rec  *recorder

	mu   sync.Mutex
	sent int // calls accepted by Send
}

func (s *subject) tryHandshake() (*backends.Catalogue, error) {
	ctx, cancel := context.WithTimeout(s.Context(), patience)
	defer cancel()
	return backends.Handshake(ctx, s.spec.Server, s, backends.ClientInfo{Name: "backendtest", Version: "1"})
}

func (s *subject) handshake() *backends.Catalogue {
	s.Helper()
	cat, err := s.tryHandshake()
	if err != nil {
		s.Fatal(err)
	}
	return cat
}

func newCall(tool string, args any) *backends.Call {
	raw, err := json.Marshal(args)
	if err != nil {
		panic(err)
	}
	c := backends.NewCall()
	c.Tool = tool
	c.Line = fmt.Appendf(c.Line[:0], `{"jsonrpc":"2.0","id":%d,"method":"tools/call","params":{"name":%q,"arguments":%s,"_meta":{"progressToken":%d}}}`+"\n", c.ID, tool, raw, c.ID)
	return c
}

type args map[string]any

// try sends a call and counts it if it was accepted.
func (s *subject) try(c *backends.Call) error {
	err := s.Send(c, false)
	if err == nil {
		s.mu.Lock()
		s.sent++
		s.mu.Unlock()
	}
	return err
}

func (s *subject) send(tool string, a any) *backends.Call {
	s.Helper()
	c := newCall(tool, a)
	if err := s.try(c); err != nil {
		s.Fatalf("Send(%s): %v", tool, err)
	}
	return c
}

// finished waits for the end of a call.
func (s *subject) finished(c *backends.Call) *backends.Call {
	s.Helper()
	await(s.bench, c.Done(), "the end of a call of tool "+c.Tool)
	return c
}

// text calls a tool and returns the text it answered.
func (s *subject) text(tool string, a any) string {
	s.Helper()
	text, err := answerText(s.finished(s.send(tool, a)))
	if err != nil {
		s.Fatalf("tool %s: %v", tool, err)
	}
	return text
}

func answerText(c *backends.Call) (string, error) {
	if c.Err != nil {
		return "", c.Err
	}
	var result struct {
		Content []struct{ Text string }
	}
	if err := json.Unmarshal(c.Env.Result.Of(c.Answer), &result); err != nil || len(result.Content) != 1 {
		return "", fmt.Errorf("unexpected answer %.200s (%v)", c.Answer, err)
	}
	return result.Content[0].Text, nil
}

func (s *subject) awaitEnd() backends.Exit {
	s.Helper()
	await(s.bench, s.Done(), "the end of the instance")
	await(s.bench, s.rec.ended, "the report of the end")
	return s.Exit()
}

// checkEnd holds for every instance that ended.
func (s *subject) checkEnd() {
	s.Helper()
	s.rec.mu.Lock()
	defer s.rec.mu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.rec.ends != 1 {
		s.Errorf("the end was reported %d times", s.rec.ends)
	}
	if s.rec.exit != s.Exit() {
		s.Errorf("reported exit %v, own exit %v", s.rec.exit, s.Exit())
	}
	if s.rec.done != s.sent {
		s.Errorf("CallsDone counted %d calls, %d were sent", s.rec.done, s.sent)
	}
	if s.rec.late != 0 {
		s.Errorf("%d reports came after that of the end", s.rec.late)
	}
	if s.rec.wrongEpoch != 0 {
		s.Errorf("%d reports had another epoch", s.rec.wrongEpoch)
	}
	if n := s.InFlight(); n != 0 {
		s.Errorf("%d calls in flight after the end", n)
	}
	if err := s.Send(newCall("echo", args{"text": "late"}), false); !errors.Is(err, backends.ErrClosed) {
		s.Errorf("Send after the end: %v", err)
	}
	if _, err := s.Request(s.Context(), "ping", nil); !errors.Is(err, backends.ErrClosed) {
		s.Errorf("Request after the end: %v", err)
	}
	if err := s.Notify("notifications/late", nil); !errors.Is(err, backends.ErrClosed) {
		s.Errorf("Notify after the end: %v", err)
	}
}

// recorder is an observer that notes everything.
type recorder struct {
	mu         sync.Mutex
	done       int
	ends       int
	late       int
	wrongEpoch int
	exit       backends.Exit
	methods    []string
	notified   chan string // if set, gets every method
	ended      chan struct{}
	atEnd      func() // if set, runs inside of Ended
}

func (r *recorder) note(epoch uint64) {
	if epoch != 42 {
		r.wrongEpoch++
	}
	if r.ends > 0 {
		r.late++
	}
}

func (r *recorder) CallsDone(epoch uint64, n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.note(epoch)
	r.done += n
}

func (r *recorder) Ended(epoch uint64, exit backends.Exit) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.note(epoch)
	r.ends++
	r.exit = exit
	if r.ends > 1 {
		return
	}
	if r.atEnd != nil {
		r.atEnd()
	}
	close(r.ended)
}

func (r *recorder) Notified(epoch uint64, method string, raw []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.note(epoch)
	if !strings.Contains(string(raw), method) {
		r.wrongEpoch++
	}
	r.methods = append(r.methods, method)
	if r.notified != nil {
		r.notified <- method
	}
}

// await receives from c within patience.
func await[T any](b *bench, c <-chan T, what string) (v T) {
	b.Helper()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case v = <-c:
	case <-timer.C:
		b.Fatalf("waited %v in vain for %s", patience, what)
	}
	return v
}

// within fails unless d is between low and high; a busy host may add to real
// time, never to virtual time.
func (b *bench) within(what string, d, low, high time.Duration) {
	b.Helper()
	if b.h.Virtual() {
		high = min(high, low+time.Millisecond)
	}
	if d < low || d > high {
		b.Errorf("%s took %v, want between %v and %v", what, d, low, high)
	}
}
