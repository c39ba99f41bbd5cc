package actors

import (
	"encoding/json"
	"fmt"

	"github.com/aabb9013/hangar/persistence"
	"github.com/aabb9013/hangar/supervisor"
)

// audit judges whether the documents of this package agree with its events:
// what was made by API has a document until it was deleted, and a stored state
// accounts for what the log tells of its server up to where the states go.
type audit struct {
	made      map[string]lifecycle // by server
	servers   map[string]bool      // that have a document
	changed   map[string][]revised // by server, since it was last made
	revisions map[string]uint64    // of stored states
	saved     savedDoc
	faults    []persistence.Fault
}

// revised is a change of a server's machine in the log.
type revised struct{ position, revision uint64 }

// lifecycle is the last registration or deletion of a server in the log.
type lifecycle struct {
	position uint64
	gone     bool // it left the fleet
	deleted  bool // with its spec
	byAPI    bool
}

// NewAudit returns the auditor of the documents that a System keeps.
func NewAudit() persistence.Auditor {
	return &audit{
		made: make(map[string]lifecycle), servers: make(map[string]bool),
		changed: make(map[string][]revised), revisions: make(map[string]uint64),
	}
}

// Event takes one event of the log.
func (a *audit) Event(e persistence.Event) {
	switch supervisor.EventKind(e.Kind) {
	case supervisor.ServerRegistered:
		a.made[e.Stream] = lifecycle{position: e.Position, byAPI: a.source(e) == supervisor.FromAPI}
	case supervisor.ServerDeregistered:
		last := lifecycle{position: e.Position, gone: true, deleted: true}
		if a.source(e) == supervisor.FromConfig { // what the API has stored stays: see registry.delete
			last.deleted, last.byAPI = false, a.made[e.Stream].byAPI
		}
		a.made[e.Stream] = last
		delete(a.changed, e.Stream)
	default:
		change, err := changeOf(e)
		if err != nil {
			a.fault(e.Stream, e.Position, "the change in the event %s cannot be read: %v", e.Kind, err)
		} else if change != nil && !a.made[e.Stream].gone {
			a.changed[e.Stream] = append(a.changed[e.Stream], revised{e.Position, change.After.Revision})
		}
	}
}

// source is who registered or deleted a server.
func (a *audit) source(e persistence.Event) supervisor.Provenance {
	var data struct {
		Source supervisor.Provenance `json:"source"`
	}
	if err := json.Unmarshal(e.Data, &data); err != nil {
		a.fault(e.Stream, e.Position, "the event %s cannot be read: %v", e.Kind, err)
	}
	return data.Source
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
		state, err := decodeState(d)
		if err != nil {
			a.fault(d.ID, 0, "%v", err)
			return
		}
		a.revisions[d.ID] = state.Machine.Revision
	case docSaved:
		if err := json.Unmarshal(d.Body, &a.saved); err != nil {
			a.fault("", 0, "how far the states are stored cannot be read: %v", err)
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
	for id, revision := range a.revisions {
		var told revised // the last one: a server that left the file and came back has begun anew
		for _, c := range a.changed[id] {
			if c.position <= a.saved.Position {
				told = c
			}
		}
		if told.revision > revision {
			a.fault(id, told.position, "its stored state is of revision %d, the log tells of %d", revision, told.revision)
		}
	}
	return a.faults
}

func (a *audit) fault(server string, position uint64, format string, args ...any) {
	a.faults = append(a.faults, persistence.Fault{
		Kind: persistence.FaultDocument, Stream: server, Position: position, Text: fmt.Sprintf(format, args...),
	})
}
