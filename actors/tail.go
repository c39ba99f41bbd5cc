package actors

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/aabb9013/hangar/persistence"
	"github.com/aabb9013/hangar/supervisor"
)

// fieldChange is the field of an event's data with the change that its step
// made of the server's machine.
const fieldChange = "change"

// The document that says how far the stored states account for the log.
const (
	docSaved   = "saved"
	docSavedID = "states"
)

// savedDoc: every change of a server that an event up to Position tells is in
// that server's stored state.
type savedDoc struct {
	Position uint64 `json:"position"`
}

func savedTo(position uint64) (persistence.Doc, error) {
	body, err := json.Marshal(savedDoc{position})
	return persistence.Doc{Kind: docSaved, ID: docSavedID, Body: body}, err
}

// tail is what the log tells of servers beyond their stored states, by server,
// oldest first. It is read once, at the start, and holds no more than the keeper
// may leave unsaved: what happened within some saveIntervals.
type tail map[string][]supervisor.Change

// tailPage bounds the events that are read at once.
const tailPage = 1000

// readTail reads the events behind what the states account for. A directory
// that never said how far that is has no tail, and a damaged log one up to the
// damage.
func (s *System) readTail() (tail, error) {
	store := s.opts.Store
	doc, found, err := store.Doc(docSaved, docSavedID)
	var saved savedDoc
	if err == nil && found {
		err = json.Unmarshal(doc.Body, &saved)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read how far the servers' state is stored: %w", err)
	}
	if !found {
		return nil, nil
	}
	t := make(tail)
	gone := make(map[string]bool) // deleted, and not made again so far
	for from := saved.Position + 1; ; {
		events, err := store.ControlEvents(from, tailPage)
		for _, e := range events {
			t.add(e, gone)
		}
		if errors.Is(err, persistence.ErrCorrupt) {
			s.logger.Warn("the log is damaged, servers go on from what stands before that", "err", err)
			return t, nil
		}
		if err != nil {
			return nil, fmt.Errorf("cannot read what the log tells of the servers since their state was stored: %w", err)
		}
		if len(events) == 0 {
			return t, nil
		}
		from = events[len(events)-1].Position + 1
	}
}

// add takes one event. What a deleted server does until it is gone is not of
// the next one of its name.
func (t tail) add(e persistence.Event, gone map[string]bool) {
	switch supervisor.EventKind(e.Kind) {
	case supervisor.ServerDeregistered:
		delete(t, e.Stream)
		gone[e.Stream] = true
		return
	case supervisor.ServerRegistered:
		delete(gone, e.Stream)
		return
	}
	change, err := changeOf(e)
	if err != nil || change == nil || gone[e.Stream] {
		return // hangar verify tells of what cannot be read
	}
	t[e.Stream] = append(t[e.Stream], *change)
}

// changeOf is what an event tells of its server's machine; nil for one that tells
// nothing.
func changeOf(e persistence.Event) (*supervisor.Change, error) {
	var data struct {
		Change *supervisor.Change `json:"change"`
	}
	if !bytes.Contains(e.Data, []byte(`"`+fieldChange+`":`)) {
		return nil, nil
	}
	err := json.Unmarshal(e.Data, &data)
	return data.Change, err
}

// replay adds what the log tells of a server to its snapshot, and reports whether
// that was anything.
func (t tail) replay(server string, s *supervisor.Snapshot) (changed bool) {
	before := s.Revision
	for _, c := range t[server] {
		*s = s.Replay(c)
	}
	return s.Revision != before
}
