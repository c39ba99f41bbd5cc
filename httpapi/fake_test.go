package httpapi

import (
	"context"
	"encoding/json"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/aabb9013/hangar/backends"
	"github.com/aabb9013/hangar/supervisor"
)

// fakeRuntime answers what a test tells it to; what it is not told works. It
// counts the changes it was asked for.
type fakeRuntime struct {
	views   []*supervisor.View
	create  func(supervisor.ServerSpec) error
	update  func(id string, patch supervisor.Patch) error
	remove  func(id string) error
	start   func(ctx context.Context, id string) (*supervisor.View, error)
	stop    func(id, reason string) error
	logs    func(id string, n int) ([]backends.LogLine, error)
	crashes func(id string, limit int) ([]supervisor.Dossier, error)
	history func(id string, from uint64, limit int) ([]HistoryRecord, error)
	do      func(c *backends.Call, timeout time.Duration) error
	config  fakeConfig
	info    Info
	status  Status
	backup  func() (Backup, error)
	events  fakeEvents
	changes atomic.Int64

	groups  []*supervisor.GroupView
	change  func(what string) error
	created supervisor.GroupSpec
	patched supervisor.GroupPatch
	added   supervisor.GroupMember
}

var _ Runtime = (*fakeRuntime)(nil)

func (f *fakeRuntime) Views() []*supervisor.View { return f.views }

func (f *fakeRuntime) Backup(context.Context) (Backup, error) {
	if f.backup == nil {
		return Backup{Path: "/data/backups/b", Bytes: 1, Position: 1, SHA256: "00"}, nil
	}
	return f.backup()
}

func (f *fakeRuntime) View(id string) (*supervisor.View, bool) {
	for _, v := range f.views {
		if v.Spec.ID == id {
			return v, true
		}
	}
	return nil, false
}

func (f *fakeRuntime) Target(id []byte) Target {
	if v, ok := f.View(string(id)); ok {
		return &fakeTarget{runtime: f, view: v}
	}
	return f.groupTarget(string(id))
}

func (f *fakeRuntime) CreateServer(_ context.Context, spec supervisor.ServerSpec) error {
	f.changes.Add(1)
	if f.create == nil {
		return nil
	}
	return f.create(spec)
}

func (f *fakeRuntime) UpdateServer(_ context.Context, id string, patch supervisor.Patch) error {
	f.changes.Add(1)
	if f.update == nil {
		return nil
	}
	return f.update(id, patch)
}

func (f *fakeRuntime) DeleteServer(_ context.Context, id string) error {
	f.changes.Add(1)
	if f.remove != nil {
		return f.remove(id)
	}
	return f.missing(id)
}

func (f *fakeRuntime) StartServer(ctx context.Context, id string) (*supervisor.View, error) {
	f.changes.Add(1)
	if f.start != nil {
		return f.start(ctx, id)
	}
	v, _ := f.View(id)
	return v, f.missing(id)
}

func (f *fakeRuntime) StopServer(_ context.Context, id, reason string) error {
	f.changes.Add(1)
	if f.stop != nil {
		return f.stop(id, reason)
	}
	return f.missing(id)
}

func (f *fakeRuntime) StopWithDependents(ctx context.Context, id, reason string) ([]string, error) {
	return []string{"above", id}, f.StopServer(ctx, id, reason)
}

func (f *fakeRuntime) ResetServer(_ context.Context, id string) (*supervisor.View, error) {
	f.changes.Add(1)
	v, _ := f.View(id)
	return v, f.missing(id)
}

func (f *fakeRuntime) TopActors() []TopActor {
	return []TopActor{{Name: "eventlog"}, {Name: "servers", Failures: 2, Children: len(f.views)}}
}

func (f *fakeRuntime) Logs(id string, n int) ([]backends.LogLine, error) {
	if f.logs != nil {
		return f.logs(id, n)
	}
	return nil, f.missing(id)
}

func (f *fakeRuntime) Crashes(_ context.Context, id string, limit int) ([]supervisor.Dossier, error) {
	if f.crashes != nil {
		return f.crashes(id, limit)
	}
	return nil, f.missing(id)
}

func (f *fakeRuntime) History(id string, from uint64, limit int) ([]HistoryRecord, error) {
	if f.history != nil {
		return f.history(id, from, limit)
	}
	return nil, f.missing(id)
}

func (f *fakeRuntime) Processes() []Process {
	return []Process{
		{PID: 100, PPID: 1, Role: RoleRuntime, Command: "hangar", Age: time.Hour, RSS: 30 << 20, State: 'S'},
		{PID: 101, PPID: 100, Role: RoleReaper, Command: "hangar-reaper", Age: time.Hour, RSS: 4 << 20, State: 'S'},
		{PID: 4711, PPID: 101, Role: RoleInstance, Server: "math", Epoch: 3, Command: "python3", Age: 90 * time.Second, RSS: 50 << 20, State: 'R'},
		{PID: 4712, PPID: 4711, Role: RoleDescendant, Server: "math", Epoch: 3, Command: "a\n\xff", Age: 1500 * time.Millisecond, State: 'Z'},
		{PID: 4800, PPID: 101, Role: RoleStray, Command: "daemon", State: 'D'},
	}
}

func (f *fakeRuntime) Info() Info           { return f.info }
func (f *fakeRuntime) Status() Status       { return f.status }
func (f *fakeRuntime) FleetVersion() uint64 { return 1 }

func (f *fakeRuntime) missing(id string) error {
	if _, ok := f.View(id); !ok {
		return fmt.Errorf("%w: %s", supervisor.ErrServerNotFound, id)
	}
	return nil
}

type fakeTarget struct {
	runtime *fakeRuntime
	view    *supervisor.View
}

func (t *fakeTarget) ID() string             { return t.view.Spec.ID }
func (t *fakeTarget) View() *supervisor.View { return t.view }
func (t *fakeTarget) Do(c *backends.Call, timeout time.Duration) error {
	t.runtime.changes.Add(1)
	if t.runtime.do == nil {
		c.Answer = fmt.Appendf(c.Answer[:0], `{"jsonrpc":"2.0","id":%d,"result":{"content":[]}}`, c.ID)
		return nil
	}
	return t.runtime.do(c, timeout)
}

// testFleet has a server in each situation that looks different from outside.
func testFleet() *fakeRuntime {
	at := func(s float64) time.Time { return testNow.Add(time.Duration(s * float64(time.Second))) }
	tool := func(name, raw string) backends.Tool { return backends.Tool{Name: name, Raw: json.RawMessage(raw)} }

	math := &supervisor.View{
		Spec: supervisor.ServerSpec{
			ID: "math", Mode: supervisor.ModeSubprocess,
			Command:     []string{"/usr/bin/math", "--api-key", "hunter2", "--token=hunter2", "--level=3", "https://u:hunter2@host/x?k=hunter2"},
			Env:         map[string]string{"PATH": "/bin", "MATH_KEY": "hunter2"},
			Description: "Math computation mcp_server", ReadOnly: true, Provenance: supervisor.FromConfig,
		}.WithDefaults(),
		State: supervisor.Ready, Epoch: 3, TotalFailures: 2, ReadySince: at(-60), PID: 4711, RestartTimes: []time.Time{at(-70), at(-30)},
		LastSuccessAt: at(-1.5), LastFailureAt: at(-90),
		Checks: []supervisor.Check{
			{At: at(-70), OK: false, Duration: 5 * time.Second, Error: "no answer to ping"},
			{At: at(-10.25), OK: true, Duration: 1234 * time.Microsecond},
		},
		Catalogue: &backends.Catalogue{
			ProtocolVersion: "2025-06-18",
			Initialize:      json.RawMessage(`{"protocolVersion":"2025-06-18","serverInfo":{"name":"math","version":"1"}}`),
			Tools: []backends.Tool{
				tool("add", `{"name":"add","title":"Add","description":"Add two numbers","inputSchema":{"type":"object","properties":{"a":{"type":"number"}}},"annotations":{"readOnlyHint":true},"_meta":{"x":1}}`),
				tool("bare", `{"name":"bare"}`),
			},
		},
		Counters: &supervisor.Counters{},
	}
	math.Counters.Calls.Store(42)
	math.Counters.Failed.Store(2)
	math.Counters.LastUsed.Store(at(-2).UnixNano())

	flaky := &supervisor.View{
		Spec:  supervisor.ServerSpec{ID: "flaky", Mode: supervisor.ModeSubprocess, Command: []string{"flaky"}, ReadOnly: true}.WithDefaults(),
		State: supervisor.Degraded, Phase: supervisor.PhaseBackoff, Epoch: 9, Failures: 3, TotalFailures: 7, RestartTimes: []time.Time{at(-50), at(-20), at(-10)}, Streak: 4, RetryDelay: 5 * time.Second, ActorRestarts: 1,
		NextRetryAt: at(4.5), LastError: "exit code 1\nlast line", LastFailureAt: at(-1),
		Catalogue: &backends.Catalogue{Tools: []backends.Tool{tool("old", `{"name":"old","description":null}`)}}, ToolsStale: true,
		Counters: &supervisor.Counters{},
	}
	flaky.Spec.DependsOn, flaky.Spec.Strategy = []string{"math"}, supervisor.RestForOne
	planned := &supervisor.View{
		Spec:  supervisor.ServerSpec{ID: "planned", Mode: supervisor.ModeDocker, Image: "planned:1", Volumes: []string{"/data:/data:ro"}}.WithDefaults(),
		State: supervisor.Cold, ToolsPredefined: true,
		Catalogue: &backends.Catalogue{Tools: []backends.Tool{tool("later", `{"name":"later","description":"Later","inputSchema":{"type":"object"}}`)}},
		Counters:  &supervisor.Counters{},
	}
	lost := &supervisor.View{
		Spec:  supervisor.ServerSpec{ID: "lost", Mode: supervisor.ModeRemote, Endpoint: "https://u:hunter2@example.com/mcp?key=hunter2"}.WithDefaults(),
		State: supervisor.Dead, Phase: supervisor.PhaseGaveUp, Failures: 5, LastError: "connection refused",
	}
	return &fakeRuntime{
		views: []*supervisor.View{math, flaky, planned, lost},
		info: Info{
			Version: "0.1.0", StartedAt: at(-3600.5), Ready: true, RunID: "run-1",
			Extra: map[string]any{"node": "n1", "version": "must not win"},
		},
	}
}

// changed counts the changes that the runtime was asked for.
func (f *fakeRuntime) changed() int64 { return f.changes.Load() }

func (t *fakeTarget) Cancel(uint64, error) {}
