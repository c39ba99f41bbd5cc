package actors

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"time"

	"github.com/aabb9013/hangar/persistence"
	"github.com/aabb9013/hangar/supervisor"
)

// record is the store's form of an event.
func (s *System) record(e supervisor.Event) persistence.Event {
	data := make(map[string]any, len(e.Data)+2)
	for k, v := range e.Data {
		data[k] = v
	}
	if e.Server != "" {
		data["mcp_server_id"] = e.Server
	}
	stream := e.Server
	if e.Group != "" {
		stream = e.Group
		data["group_id"] = e.Group
	}
	if e.Epoch != 0 {
		data["epoch"] = e.Epoch
	}
	if e.Change != nil && !s.closing.Load() { // what stops while the runtime closes is to go on as before; see keep
		data[fieldChange] = e.Change
	}
	body, err := json.Marshal(data)
	if err != nil {
		body = []byte(`{}`)
		s.logger.Error("event without data", "kind", e.Kind, "err", err)
	}
	if e.At.IsZero() {
		e.At = time.Now()
	}
	return persistence.Event{Stream: stream, Kind: string(e.Kind), At: e.At, Data: body}
}

// Emit sends an event about the node to the log.
func (s *System) Emit(e supervisor.Event) { s.emit(e) }

// LastEvent tells the operator of an event that comes after Close, when nothing
// of the tree is left to write it, and returns it for the store.
func (s *System) LastEvent(e supervisor.Event) persistence.Event {
	s.announce(e)
	return s.record(e)
}

// emit sends an event to the log, with the documents that belong to it, and
// tells the operator.
func (s *System) emit(e supervisor.Event, docs ...persistence.Doc) {
	s.announce(e)
	s.tell(s.eventlog, commit{batch: persistence.Batch{Docs: docs, Events: []persistence.Event{s.record(e)}}})
}

func (s *System) announce(e supervisor.Event) {
	s.logger.Log(context.Background(), eventLevel(e.Kind), string(e.Kind), "server", e.Server, "group", e.Group, "epoch", e.Epoch, "data", e.Data)
}

func eventLevel(kind supervisor.EventKind) slog.Level {
	switch kind {
	case supervisor.ServerCrashed, supervisor.ServerStartFailed, supervisor.ServerDegraded, supervisor.HealthCheckFailed,
		supervisor.MemoryPressured, supervisor.GroupCircuitOpened:
		return slog.LevelWarn
	case supervisor.ReloadFailed:
		return slog.LevelError
	case supervisor.ServerGaveUp, supervisor.SupervisionEscalated, supervisor.ActorRestarted:
		return slog.LevelError
	case supervisor.HealthCheckPassed, supervisor.ServerStateChanged:
		return slog.LevelDebug
	}
	return slog.LevelInfo
}

// actorFailed is told of every panic of an actor.
func (s *System) actorFailed(id string, reason any, gaveUp bool) {
	s.countActorFailure(id)
	s.emit(supervisor.Event{Kind: supervisor.ActorRestarted, Data: map[string]any{
		"actor": id, "reason": fmt.Sprint(reason), "gave_up": gaveUp,
	}})
}

// callLogFailed complains at most once in ten seconds.
func (s *System) callLogFailed(err error) {
	now := time.Now().Unix()
	last := s.logOnce.Load()
	if now-last >= 10 && s.logOnce.CompareAndSwap(last, now) {
		s.logger.Error("call records not written", "err", err)
	}
}
