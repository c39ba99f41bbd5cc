package actors

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aabb9013/hangar/backends"
	"github.com/aabb9013/hangar/backends/fake"
	"github.com/aabb9013/hangar/persistence"
	"github.com/aabb9013/hangar/supervisor"
)

type script = func(server string, epoch uint64) fake.Script

// always is the script of servers that all behave alike.
func always(s fake.Script) script { return func(string, uint64) fake.Script { return s } }

// testSystem is a tree over scripted servers.
type testSystem struct {
	*System
	t       testing.TB
	backend *fake.Backend
	store   persistence.Store
}

// bubble runs a test in virtual time.
func bubble(t *testing.T, f func(t *testing.T)) { t.Helper(); synctest.Test(t, f) }

// newTestSystem runs a tree for the length of a test, inside a bubble.
func newTestSystem(t *testing.T, s script, specs ...supervisor.ServerSpec) *testSystem {
	t.Helper()
	return newTestSystemWith(t, s, func(o *Options) { o.Specs = specs })
}

func newTestSystemWith(t *testing.T, s script, edit func(*Options)) *testSystem {
	t.Helper()
	b := fake.New(s)
	o := Options{
		Store:    persistence.NewMemory(),
		Backends: map[supervisor.Mode]backends.Backend{supervisor.ModeSubprocess: b},
		Client:   backends.ClientInfo{Name: "test", Version: "1"},
		// The tests of the tree provoke errors; HANGAR_TEST_LOG shows them.
		Logger: slog.New(slog.DiscardHandler),
	}
	if os.Getenv("HANGAR_TEST_LOG") != "" {
		o.Logger = slog.New(slog.NewTextHandler(os.Stderr, nil))
	}
	edit(&o)
	sys, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	ts := &testSystem{System: sys, t: t, backend: b, store: o.Store}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		_ = sys.Close(ctx)
		if n := b.Live(); n != 0 {
			t.Errorf("%d instances live after Close", n)
		}
		for _, v := range sys.Views() {
			if v.Counters.Waiting.Load() != 0 {
				t.Errorf("server %s: %d calls wait after Close", v.Spec.ID, v.Counters.Waiting.Load())
			}
		}
		time.Sleep(2 * time.Second) // a dead letter keeps a goroutine for a while
	})
	return ts
}

// spec is a server with the defaults, but without jitter, so that tests know
// when things happen; edits change it.
func spec(id string, edits ...func(*supervisor.ServerSpec)) supervisor.ServerSpec {
	s := supervisor.ServerSpec{ID: id, Mode: supervisor.ModeSubprocess, Command: []string{"fake"}}.WithDefaults()
	s.Backoff.Jitter = 0
	for _, edit := range edits {
		edit(&s)
	}
	return s.WithDefaults()
}

func specs(n int, edits ...func(*supervisor.ServerSpec)) []supervisor.ServerSpec {
	var all []supervisor.ServerSpec
	for i := range n {
		all = append(all, spec(fmt.Sprint("s", i), edits...))
	}
	return all
}

func jittered(s *supervisor.ServerSpec) { s.Backoff.Jitter = supervisor.DefaultJitter }

func concurrency(n int) func(*supervisor.ServerSpec) {
	return func(s *supervisor.ServerSpec) { s.MaxConcurrency = n }
}

// pending is a call on its way.
type pending struct {
	call *backends.Call
	done chan struct{}
	err  error
	text string
	took time.Duration
}

// wait returns how the call ended.
func (p *pending) wait() error { <-p.done; return p.err }

func (p *pending) isDone() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// callOf is one call before it is made.
type callOf struct {
	server, tool, args string
	session            uint64
	timeout            time.Duration
}

// begin makes a call without waiting for its end.
func (s *testSystem) begin(o callOf) *pending {
	s.t.Helper()
	ref, ok := s.Ref([]byte(o.server))
	if !ok {
		s.t.Fatalf("no server %q", o.server)
	}
	return begin(ref, o)
}

func begin(ref interface {
	Do(*backends.Call, time.Duration) error
}, o callOf) *pending {
	if o.args == "" {
		o.args = "{}"
	}
	if o.timeout == 0 {
		o.timeout = time.Minute
	}
	c := backends.NewCall()
	c.Tool, c.Session = o.tool, o.session
	c.Line = fmt.Appendf(c.Line, `{"jsonrpc":"2.0","id":%d,"method":"tools/call","params":{"name":%q,"arguments":%s}}`+"\n", c.ID, o.tool, o.args)
	p := &pending{call: c, done: make(chan struct{})}
	began := time.Now()
	go func() {
		defer close(p.done)
		p.err = ref.Do(c, o.timeout)
		p.took = time.Since(began)
		if p.err == nil {
			p.text = string(c.Answer)
		}
		// c is not released: a late second Finish would then show.
	}()
	return p
}

func (s *testSystem) echo(server string) error {
	s.t.Helper()
	return s.begin(callOf{server: server, tool: "echo", args: `{"text":"hi"}`}).wait()
}

func (s *testSystem) mustEcho(server string) {
	s.t.Helper()
	if err := s.echo(server); err != nil {
		s.t.Fatalf("call of %s: %v", server, err)
	}
}

func (s *testSystem) view(server string) *supervisor.View {
	s.t.Helper()
	v, ok := s.View(server)
	if !ok {
		s.t.Fatalf("no server %q", server)
	}
	return v
}

// awaitChecks waits in virtual time for so many health checks.
func (s *testSystem) awaitChecks(server string, n int) {
	s.t.Helper()
	for range 1000 {
		if len(s.view(server).Checks) >= n {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	s.t.Fatalf("server %s has %d health checks, want %d", server, len(s.view(server).Checks), n)
}

func (s *testSystem) wantState(server string, want supervisor.State, phase supervisor.Phase) {
	s.t.Helper()
	synctest.Wait()
	if v := s.view(server); v.State != want || v.Phase != phase {
		s.t.Fatalf("server %s is %v %v, want %v %v", server, v.State, v.Phase, want, phase)
	}
}

// logged is one event as read back from the store.
type logged struct {
	kind supervisor.EventKind
	data map[string]any
}

// events returns a stream of the log without finished calls.
func (s *testSystem) events(stream string) []logged {
	s.t.Helper()
	if err := s.Flush(context.Background()); err != nil && !errors.Is(err, supervisor.ErrClosing) {
		s.t.Fatal(err)
	}
	return eventsOf(s.t, s.store, stream)
}

func eventsOf(t testing.TB, store persistence.Store, stream string) []logged {
	t.Helper()
	raw, err := store.StreamEvents(stream, 1, 100000)
	if err != nil {
		t.Fatal(err)
	}
	var all []logged
	for _, e := range raw {
		l := logged{kind: supervisor.EventKind(e.Kind)}
		if err := json.Unmarshal(e.Data, &l.data); err != nil {
			t.Fatal(err)
		}
		if l.kind != supervisor.InvocationCompleted && l.kind != supervisor.InvocationFailed {
			all = append(all, l)
		}
	}
	return all
}

func kinds(events []logged) []supervisor.EventKind {
	var all []supervisor.EventKind
	for _, e := range events {
		all = append(all, e.kind)
	}
	return all
}

func (s *testSystem) count(stream string, kind supervisor.EventKind) int {
	s.t.Helper()
	n := 0
	for _, k := range kinds(s.events(stream)) {
		if k == kind {
			n++
		}
	}
	return n
}

func wantErr(t testing.TB, got error, want ...error) {
	t.Helper()
	if !slices.ContainsFunc(want, func(w error) bool { return errors.Is(got, w) }) {
		t.Fatalf("got error %v, want %v", got, want)
	}
}

// rigged wraps the instances of a backend, to panic where a test wants it.
type rigged struct {
	backends.Backend
	onStart  func()
	onSend   func(c *backends.Call)
	onCancel func()
	onPID    func()
	mu       sync.Mutex
	most     int // in flight at one time, over all instances
}

type riggedInstance struct {
	backends.Instance
	rig *rigged
}

func (r *rigged) Start(ctx context.Context, spec backends.LaunchSpec) (backends.Instance, error) {
	if r.onStart != nil {
		r.onStart()
	}
	in, err := r.Backend.Start(ctx, spec)
	if err != nil {
		return nil, err
	}
	return &riggedInstance{in, r}, nil
}

func (i *riggedInstance) Send(c *backends.Call, more bool) error {
	if i.rig.onSend != nil {
		i.rig.onSend(c)
	}
	err := i.Instance.Send(c, more)
	i.rig.mu.Lock()
	defer i.rig.mu.Unlock()
	i.rig.most = max(i.rig.most, i.Instance.InFlight())
	return err
}

func (r *rigged) mostInFlight() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.most
}

func (i *riggedInstance) Cancel(id uint64, cause error) bool {
	if i.rig.onCancel != nil {
		i.rig.onCancel()
	}
	return i.Instance.Cancel(id, cause)
}

func (i *riggedInstance) PID() int {
	if i.rig.onPID != nil {
		i.rig.onPID()
	}
	return i.Instance.PID()
}

// newRiggedSystem is newTestSystem with a rig around its instances.
func newRiggedSystem(t *testing.T, s script, rig *rigged, edit func(*Options)) *testSystem {
	t.Helper()
	return newTestSystemWith(t, s, func(o *Options) {
		rig.Backend = o.Backends[supervisor.ModeSubprocess]
		o.Backends = map[supervisor.Mode]backends.Backend{supervisor.ModeSubprocess: rig}
		edit(o)
	})
}

// envRig tells the environment of every start.
type envRig struct {
	backends.Backend
	envs chan map[string]string
}

func (r *envRig) Start(ctx context.Context, spec backends.LaunchSpec) (backends.Instance, error) {
	r.envs <- spec.Env
	return r.Backend.Start(ctx, spec)
}

// realSystemOf is a tree in real time; the test closes it.
func realSystemOf(t testing.TB, b backends.Backend, all ...supervisor.ServerSpec) *System {
	t.Helper()
	sys, err := New(Options{
		Store:    persistence.NewMemory(),
		Backends: map[supervisor.Mode]backends.Backend{supervisor.ModeSubprocess: b},
		Specs:    all,
	})
	if err != nil {
		t.Fatal(err)
	}
	return sys
}
