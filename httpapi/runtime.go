package httpapi

import (
	"context"
	"time"

	"github.com/aabb9013/hangar/backends"
	"github.com/aabb9013/hangar/supervisor"
)

// Runtime is what the HTTP edge needs of the runtime. All methods are safe
// for concurrent use; ids that name no server answer
// supervisor.ErrServerNotFound. Changes are durable when they return nil.
type Runtime interface {
	Configuration
	// Views returns every server in order of registration, View one of them.
	Views() []*supervisor.View
	View(id string) (*supervisor.View, bool)
	// Target finds a server or a group for calls without allocating; nil if
	// unknown.
	Target(id []byte) Target
	Groups

	// CreateServer registers a server in state cold; ErrServerExists,
	// ErrInvalidSpec, ErrNotBuilt, ErrReadOnly.
	CreateServer(ctx context.Context, spec supervisor.ServerSpec) error
	UpdateServer(ctx context.Context, id string, patch supervisor.Patch) error
	// DeleteServer stops the server and forgets it; ErrInUse while others
	// depend on it.
	DeleteServer(ctx context.Context, id string) error
	// StartServer returns when the server is ready or its start failed;
	// ErrStartFailed, ErrCannotStart. A ready server is left alone.
	StartServer(ctx context.Context, id string) (*supervisor.View, error)
	// StopServer returns when no instance runs any more.
	StopServer(ctx context.Context, id, reason string) error
	// StopWithDependents stops what depends on the server, directly or not, in
	// reverse start order, and then the server. It returns what it stopped.
	StopWithDependents(ctx context.Context, id, reason string) ([]string, error)
	// ResetServer forgets failures, restart budget, backoff and give-up.
	ResetServer(ctx context.Context, id string) (*supervisor.View, error)
	// TopActors returns the actors at the top of the supervision tree.
	TopActors() []TopActor

	// Logs returns the last n lines of stderr, oldest first.
	Logs(id string, n int) ([]backends.LogLine, error)
	// Crashes returns the last dossiers of a server, newest first, at most limit.
	Crashes(ctx context.Context, id string, limit int) ([]supervisor.Dossier, error)
	// History returns up to limit calls of a server with version >= from,
	// oldest first.
	History(id string, from uint64, limit int) ([]HistoryRecord, error)
	// EventPosition is the position of the newest event that Subscribe shows;
	// ErrClosing.
	EventPosition() (uint64, error)
	// Subscribe reads the event log behind a position, and then what is added
	// to it; ErrClosing. The caller closes the subscription.
	Subscribe(after uint64) (Subscription, error)
	// Backup writes the whole state to a file of its own data directory;
	// ErrInMemory, ErrReadOnly, ErrOverloaded while another one runs.
	Backup(ctx context.Context) (Backup, error)
	// Processes returns every process of the runtime's, parents before
	// children. It may take milliseconds.
	Processes() []Process
	// Info describes the runtime itself.
	Info() Info
	// Status is what metrics tell of the node. It is cheap and blocks nobody.
	Status() Status
	// FleetVersion grows with every change of the servers or their tools.
	FleetVersion() uint64
}

// Groups is the part of the runtime that is about groups; ids that name none
// answer supervisor.ErrGroupNotFound.
type Groups interface {
	// Groups returns every group in order of registration, Group one of them.
	Groups() []*supervisor.GroupView
	Group(id string) (*supervisor.GroupView, bool)

	// CreateGroup registers a group; ErrGroupExists, ErrServerExists,
	// ErrInvalidSpec, ErrReadOnly.
	CreateGroup(ctx context.Context, spec supervisor.GroupSpec) error
	UpdateGroup(ctx context.Context, id string, patch supervisor.GroupPatch) error
	// DeleteGroup forgets the group, with the servers it owns.
	DeleteGroup(ctx context.Context, id string) error
	// AddMember does not wait for the server's start; ErrServerNotFound.
	AddMember(ctx context.Context, id string, member supervisor.GroupMember) error
	RemoveMember(ctx context.Context, id, member string) error
	Rebalance(ctx context.Context, id string) error
	// StartGroup starts all members and returns how many are ready, with an
	// error when none is.
	StartGroup(ctx context.Context, id string) (ready int, err error)
	// StopGroup returns when no member has an instance any more.
	StopGroup(ctx context.Context, id, reason string) error
}

// Target is one server, or one group, seen from the call path.
type Target interface {
	ID() string
	// View of a group has its id and the tools of its members.
	View() *supervisor.View
	// Do sends the call and waits for its answer at most timeout. Afterwards
	// the call may be released, except after ErrInternal, when it must be
	// forgotten. Its other errors are those of backends.Call.Err.
	Do(c *backends.Call, timeout time.Duration) error
	// Cancel ends the call with this id: its Do returns cause, also a Do that
	// comes a moment later.
	Cancel(id uint64, cause error)
}

// Subscription is one reader of the event log. It belongs to one goroutine.
type Subscription interface {
	// Ready has a value when Next should be called.
	Ready() <-chan struct{}
	// Next returns committed events that are wanted, each once and in order of
	// position, and how many were left out before them. It does not wait for
	// events. ErrClosing is the end; any other error too.
	Next() (events []EventRecord, dropped uint64, err error)
	// Select says which events are wanted from now on. It is asked from other
	// goroutines, by one at a time, and must not block.
	Select(want func(kind, server string) bool)
	// Seek goes on behind another position of the log.
	Seek(after uint64)
	Close()
}

// EventRecord is one event of the log, of whatever kind.
type EventRecord struct {
	HistoryRecord
	Server string // mcp_server_id, "" if the event is about none
}

// HistoryRecord is one event, such as a finished call, as the log keeps it.
type HistoryRecord struct {
	Version  uint64
	Position uint64
	Kind     string
	At       time.Time
	Data     []byte // flat JSON object of the event's own fields
}

// Backup describes a finished backup.
type Backup struct {
	Path     string // on the runtime's host
	Bytes    int64
	Position uint64 // of the newest event in it
	SHA256   string
}

// Info describes the runtime.
type Info struct {
	Version   string
	StartedAt time.Time
	Ready     bool   // start-up is complete and calls are served
	ReadOnly  string // why changes are refused; empty when they are not
	RunID     string
	Extra     map[string]any // further facts for GET /api/system
}
