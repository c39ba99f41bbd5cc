package actors

import (
	"encoding/json"
	"fmt"

	"github.com/aabb9013/hangar/persistence"
	"github.com/aabb9013/hangar/supervisor"
)

// audit judges whether the documents of this package agree with its events:
// what was made by API has a document until it was deleted.
type audit struct {
	made    map[string]lifecycle // by server
	servers map[string]bool      // that have a document
	faults  []persistence.Fault
}

// lifecycle is the last registration or deletion of a server in the log.
type lifecycle struct {
	position uint64
	deleted  bool
	byAPI    bool
}

// NewAudit returns the auditor of the documents that a System keeps.
func NewAudit() persistence.Auditor {
	return &audit{made: make(map[string]lifecycle), servers: make(map[string]bool)}
}

// Event takes one event of the log.
func (a *audit) Event(e persistence.Event) {
	switch supervisor.EventKind(e.Kind) {
	case supervisor.ServerRegistered:
		var data struct {
			Source supervisor.Provenance `json:"source"`
		}
		if err := json.Unmarshal(e.Data, &data); err != nil {
			a.fault(e.Stream, e.Position, "the event %s cannot be read: %v", e.Kind, err)
		}
		a.made[e.Stream] = lifecycle{position: e.Position, byAPI: data.Source == supervisor.FromAPI}
	case supervisor.ServerDeregistered:
		a.made[e.Stream] = lifecycle{position: e.Position, deleted: true}
	}
}

// Document takes one document.
func (a *audit) Document(d persistence.Doc) {
	switch d.Kind {
	case docServer:
		a.servers[d.ID] = true
		var doc serverDoc
		if err := json.Unmarshal(d.Body, &doc); err != nil {
			a.fault(d.ID, 0, "its stored spec cannot be read: %v", err)
		} else if doc.Spec.ID != d.ID {
			a.fault(d.ID, 0, "its stored spec is that of server %q", doc.Spec.ID)
		}
		if last := a.made[d.ID]; last.deleted {
			a.fault(d.ID, last.position, "the log says that it was deleted, and its spec is still there")
		}
	case docState:
		if _, err := decodeState(d); err != nil {
			a.fault(d.ID, 0, "%v", err)
		}
	}
}

// Faults returns what does not agree.
func (a *audit) Faults() []persistence.Fault {
	for id, last := range a.made {
		if last.byAPI && !a.servers[id] {
			a.fault(id, last.position, "the log says that it was made by API, and it has no spec")
		}
	}
	return a.faults
}

func (a *audit) fault(server string, position uint64, format string, args ...any) {
	a.faults = append(a.faults, persistence.Fault{
		Kind: persistence.FaultDocument, Stream: server, Position: position, Text: fmt.Sprintf(format, args...),
	})
}
