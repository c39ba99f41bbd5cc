package httpapi

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/aabb9013/hangar/internal/jsonrpc"
	"github.com/aabb9013/hangar/supervisor"
)

// Bounds of the sessions of the MCP front.
const (
	// MaxSessions bounds the sessions of one node; when full the one that was
	// idle longest goes, unless all were used within minSessionIdle.
	MaxSessions = 10000
	// SessionIdle ends a session that was not used for so long.
	SessionIdle    = 30 * time.Minute
	minSessionIdle = time.Minute
	// maxSessionCalls bounds the requests one session may have in flight.
	maxSessionCalls = 1000
)

var errSessionsFull = errors.New("too many sessions")

// session is one MCP client of the revisions with sessions.
type session struct {
	id       string
	key      uint64 // of fair queueing
	version  string // negotiated revision
	lastUsed atomic.Int64
	stream   atomic.Pointer[standing]
	told     atomic.Uint64 // the fleet version that the client has heard of
	ended    chan struct{}
	// quiet: a cancelled request gets no answer, as MCP wants it. Over HTTP it
	// gets one all the same, since the POST has to end somehow.
	quiet bool

	mu sync.Mutex
	// calls are in no order. They are looked through: a client has few at once,
	// and a map would cost three hashes a call.
	calls []flight
}

// standing is the open GET stream of a session.
type standing struct{ replaced chan struct{} }

// callID is a client's request id: a small integer, or else its raw token.
type callID struct {
	number uint64
	token  string
}

// flight is a request of a session that has no answer yet. One that calls a
// server has a target, one that runs on its own a stop.
type flight struct {
	key       callID
	target    Target
	id        uint64
	stop      context.CancelCauseFunc
	cancelled bool // before it had either of them
}

func (f flight) cancel(cause error) {
	switch {
	case f.target != nil:
		f.target.Cancel(f.id, cause)
	case f.stop != nil:
		f.stop(cause)
	}
}

// clientID makes a map key of a raw id; the usual small integers cost no
// allocation.
func clientID(token []byte) callID {
	if len(token) > 0 && token[0] != '"' {
		if n, ok := jsonrpc.ParseID(token); ok {
			return callID{number: n}
		}
	}
	return callID{token: string(token)}
}

var (
	errDuplicateID = errors.New("the id is in use by another request of this session")
	errSessionBusy = errors.New("the session has too many requests in flight")
	errCancelled   = errors.New("cancelled by the client")
)

// begin notes a request in flight; end forgets it.
func (s *session) begin(id callID) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.findLocked(id) != nil {
		return errDuplicateID
	}
	if len(s.calls) >= maxSessionCalls {
		return errSessionBusy
	}
	s.calls = append(s.calls, flight{key: id})
	return nil
}

// findLocked returns the request in flight with this id; it is valid until the
// lock is given up.
func (s *session) findLocked(id callID) *flight {
	for i := range s.calls {
		if s.calls[i].key == id {
			return &s.calls[i]
		}
	}
	return nil
}

// attach says how the request is cancelled from now on; false when it was
// cancelled already and must not be carried out.
func (s *session) attach(id callID, f flight) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	at := s.findLocked(id)
	if at == nil || at.cancelled {
		return false
	}
	f.key = id
	*at = f
	return true
}

func (s *session) end(id callID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	at := s.findLocked(id)
	if at == nil {
		return
	}
	last := len(s.calls) - 1
	*at = s.calls[last]
	s.calls[last] = flight{}
	s.calls = s.calls[:last]
}

// cancel ends the session's request with this id, if it is in flight.
func (s *session) cancel(id callID) {
	s.mu.Lock()
	var f flight
	if at := s.findLocked(id); at != nil {
		at.cancelled = true
		f = *at
	}
	s.mu.Unlock()
	f.cancel(errCancelled)
}

// cancelAll ends every request that is in flight.
func (s *session) cancelAll(cause error) {
	s.mu.Lock()
	flights := make([]flight, 0, len(s.calls))
	for i := range s.calls {
		s.calls[i].cancelled = true
		flights = append(flights, s.calls[i])
	}
	s.mu.Unlock()
	for _, f := range flights {
		f.cancel(cause)
	}
}

// sessions is the table of open sessions.
type sessions struct {
	now     func() time.Time
	mu      sync.RWMutex
	byID    map[string]*session
	lastKey uint64
	closed  bool // no session is opened any more
}

func newSessions(now func() time.Time) *sessions {
	return &sessions{now: now, byID: make(map[string]*session)}
}

// open makes a session with an id of 128 random bits.
func (t *sessions) open(version string) (*session, error) {
	var random [16]byte
	rand.Read(random[:]) // never fails
	s := &session{id: hex.EncodeToString(random[:]), version: version, ended: make(chan struct{})}
	now := t.now()
	s.lastUsed.Store(now.UnixNano())
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return nil, supervisor.ErrClosing
	}
	if len(t.byID) >= MaxSessions && !t.makeRoomLocked(now) {
		return nil, errSessionsFull
	}
	t.lastKey++
	s.key = t.lastKey
	t.byID[s.id] = s
	return s, nil
}

// makeRoomLocked ends every expired session, or else the one that was idle
// longest.
func (t *sessions) makeRoomLocked(now time.Time) bool {
	var oldest *session
	for _, s := range t.byID {
		if now.Sub(time.Unix(0, s.lastUsed.Load())) > SessionIdle {
			t.dropLocked(s)
		} else if oldest == nil || s.lastUsed.Load() < oldest.lastUsed.Load() {
			oldest = s
		}
	}
	if len(t.byID) < MaxSessions {
		return true
	}
	if oldest == nil || now.Sub(time.Unix(0, oldest.lastUsed.Load())) < minSessionIdle {
		return false
	}
	t.dropLocked(oldest)
	return true
}

func (t *sessions) dropLocked(s *session) {
	delete(t.byID, s.id)
	close(s.ended)
}

// find returns an open session and marks it used; nil if there is none.
func (t *sessions) find(id []byte, now time.Time) *session {
	t.mu.RLock()
	s := t.byID[string(id)]
	t.mu.RUnlock()
	if s == nil {
		return nil
	}
	if now.UnixNano()-s.lastUsed.Load() > int64(SessionIdle) {
		t.close(id)
		return nil
	}
	s.lastUsed.Store(now.UnixNano())
	return s
}

// close ends a session; false if there is none of this id.
func (t *sessions) close(id []byte) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.byID[string(id)]
	if s == nil {
		return false
	}
	t.dropLocked(s)
	return true
}

// closeAll ends every session, so that their streams end, and opens no more.
func (t *sessions) closeAll() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.closed = true
	for _, s := range t.byID {
		t.dropLocked(s)
	}
}

func (t *sessions) count() int {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return len(t.byID)
}
