package hangar

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/aabb9013/hangar/actors"
	"github.com/aabb9013/hangar/backends"
	"github.com/aabb9013/hangar/httpapi"
	"github.com/aabb9013/hangar/internal/config"
	"github.com/aabb9013/hangar/persistence"
	"github.com/aabb9013/hangar/supervisor"
)

// edge is the runtime as the HTTP edge sees it.
type edge struct{ rt *Runtime }

var (
	_ httpapi.Runtime = edge{}
	_ httpapi.Target  = actors.Ref{}
	_ httpapi.Target  = actors.GroupRef{}
)

func (e edge) Views() []*supervisor.View                         { return e.rt.sys.Views() }
func (e edge) View(id string) (*supervisor.View, bool)           { return e.rt.sys.View(id) }
func (e edge) FleetVersion() uint64                              { return e.rt.sys.FleetVersion() }
func (e edge) Logs(id string, n int) ([]backends.LogLine, error) { return e.rt.sys.Logs(id, n) }

func (e edge) Target(id []byte) httpapi.Target { return targetOf(e.rt.sys, id) }

// targetOf finds the server or the group with an id; nil if there is none.
func targetOf(sys *actors.System, id []byte) httpapi.Target {
	if ref, ok := sys.Ref(id); ok {
		return ref
	}
	if ref, ok := sys.GroupRef(id); ok {
		return ref
	}
	return nil
}

func (e edge) CreateServer(ctx context.Context, spec supervisor.ServerSpec) error {
	return e.rt.Servers().Create(ctx, spec)
}

func (e edge) UpdateServer(ctx context.Context, id string, patch supervisor.Patch) error {
	return e.rt.sys.Update(ctx, id, patch)
}

func (e edge) DeleteServer(ctx context.Context, id string) error { return e.rt.sys.Delete(ctx, id) }

func (e edge) StartServer(ctx context.Context, id string) (*supervisor.View, error) {
	return e.rt.sys.Start(ctx, id)
}

func (e edge) StopServer(ctx context.Context, id, reason string) error {
	return e.rt.sys.Stop(ctx, id, reason)
}

func (e edge) Crashes(ctx context.Context, id string, limit int) ([]supervisor.Dossier, error) {
	return e.rt.sys.Crashes(ctx, id, limit)
}

func (e edge) StopWithDependents(ctx context.Context, id, reason string) ([]string, error) {
	return e.rt.sys.StopWithDependents(ctx, id, reason)
}

func (e edge) ResetServer(ctx context.Context, id string) (*supervisor.View, error) {
	return e.rt.sys.Reset(ctx, id)
}

func (e edge) TopActors() []httpapi.TopActor {
	tops := e.rt.sys.TopActors()
	all := make([]httpapi.TopActor, len(tops))
	for i, top := range tops {
		all[i] = httpapi.TopActor(top)
	}
	return all
}

// historyTimeout bounds the wait for calls that were just answered to be in
// the log.
const historyTimeout = 5 * time.Second

func (e edge) History(id string, from uint64, limit int) ([]httpapi.HistoryRecord, error) {
	ctx, cancel := context.WithTimeout(context.Background(), historyTimeout)
	defer cancel()
	events, err := e.rt.sys.History(ctx, id, from, limit)
	if err != nil {
		return nil, fmt.Errorf("cannot read the history of server %q: %w", id, err)
	}
	records := make([]httpapi.HistoryRecord, len(events))
	for i, ev := range events {
		records[i] = recordOf(ev)
	}
	return records, nil
}

func recordOf(ev persistence.Event) httpapi.HistoryRecord {
	return httpapi.HistoryRecord{Version: ev.Version, Position: ev.Position, Kind: ev.Kind, At: ev.At, Data: ev.Data}
}

func (e edge) EventPosition() (uint64, error) { return e.rt.sys.EventPosition() }

func (e edge) Subscribe(after uint64) (httpapi.Subscription, error) {
	sub, err := e.rt.sys.Subscribe(after)
	if err != nil {
		return nil, err
	}
	return subscription{sub}, nil
}

// subscription is one as the HTTP edge sees it.
type subscription struct{ *actors.Subscription }

func (s subscription) Next() ([]httpapi.EventRecord, uint64, error) {
	events, dropped, err := s.Subscription.Next()
	records := make([]httpapi.EventRecord, len(events))
	for i, e := range events {
		records[i] = httpapi.EventRecord{HistoryRecord: recordOf(e.Event), Server: e.Server}
	}
	return records, dropped, err
}

func (s subscription) Select(want func(kind, server string) bool) {
	s.Subscription.Select(func(e *actors.LoggedEvent) bool { return want(e.Kind, e.Server) })
}

func (e edge) Backup(ctx context.Context) (httpapi.Backup, error) {
	info, err := e.rt.Backup(ctx)
	return httpapi.Backup{Path: info.Path, Bytes: info.Bytes, Position: info.Position, SHA256: info.SHA256}, err
}

func (e edge) ConfigDocument() (map[string]any, error) { return e.rt.ConfigDocument() }
func (e edge) ExportConfig() (string, []string, error) { return e.rt.ExportConfig() }
func (e edge) BackupConfig() (string, error)           { return e.rt.BackupConfig() }
func (e edge) DiffConfig() (string, error)             { return e.rt.DiffConfig() }

func (e edge) ReloadConfig(ctx context.Context, req httpapi.ReloadRequest) (httpapi.ReloadReport, error) {
	r, err := e.rt.Reload(ctx, ReloadOptions{Path: req.Path, Hasty: req.Hasty, RequestedBy: req.RequestedBy})
	if r == nil {
		r = &ReloadResult{}
	}
	if req.Path != "" && errors.Is(err, config.ErrUnreadable) {
		// Not the reason: it would tell of files that are none of the caller's business.
		err = httpapi.ErrConfigPath
	}
	return httpapi.ReloadReport(*r), err
}

func (e edge) Status() httpapi.Status {
	sys, memory, log := e.rt.sys, e.rt.sys.Memory(), e.rt.store.Stats()
	return httpapi.Status{
		MemoryBytes: memory.Bytes, MemoryBudget: memory.Budget, MemoryPressure: memory.Under, StartsHeld: memory.Held,
		StartsInProgress: sys.Starting(), StartsWaiting: sys.StartsWaiting(),
		EventLogBytes: log.LogBytes, EventLogMaxBytes: log.MaxLogBytes, EventLogPosition: log.LastPosition,
		EventsDropped: sys.EventsLost(),
	}
}

func (e edge) Info() httpapi.Info {
	stats := e.rt.store.Stats()
	goroutines, heap := ownProcess()
	return httpapi.Info{
		Version:   Version,
		StartedAt: e.rt.started,
		Ready:     !e.rt.sys.Closing(),
		ReadOnly:  stats.Reason,
		RunID:     strconv.FormatUint(e.rt.runID, 16),
		Extra: map[string]any{
			"event_log_position": stats.LastPosition,
			"event_log_bytes":    stats.LogBytes,
			"starts_in_progress": e.rt.sys.Starting(),
			"limits":             e.rt.limits.Report(),
			"memory":             memoryFacts(e.rt.sys.Memory()),
			"goroutines":         goroutines,
			"heap_bytes":         heap,
		},
	}
}
