package persistence

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"
)

// Event is one record of the log.
type Event struct {
	Position uint64          // global, from 1, without gaps; assigned by the store
	Version  uint64          // within Stream, from 1, without gaps; assigned by the store
	Stream   string          // server id; "" is the node
	Kind     string          // event type
	At       time.Time       // when it happened, UTC; Commit sets a zero At to now
	Data     json.RawMessage // flat object of the event's own fields; nil is stored as {}
}

// Doc is one document: the latest state of a thing such as a server spec or a
// tool catalogue. In a batch a nil Body deletes, an empty one is stored.
type Doc struct {
	Kind, ID string
	Body     []byte
}

// Batch is applied all or nothing. Position and Version of its events are
// assigned by Commit; what the caller put there is ignored.
type Batch struct {
	Docs   []Doc
	Events []Event
}

// Kinds that the store itself writes or looks for.
const (
	// KindCallCompleted is the event of a call that ended with a result.
	KindCallCompleted = "ToolInvocationCompleted"
	// KindCallFailed is the event of a call that ended with an error.
	KindCallFailed = "ToolInvocationFailed"
	// KindEventsDropped says, in the node's stream, how many call records were
	// lost because the buffer in front of the log was full: {"count":n}.
	KindEventsDropped = "EventsDropped"
	// KindUnknown stands for a record that a newer version wrote and this one
	// cannot read; it keeps its position. Data is {"record_type":n}.
	KindUnknown = "UnknownRecord"
)

// DefaultLimit is the number of events a read returns when its limit is 0 or less.
const DefaultLimit = 1000

// Sizes that Commit accepts. They keep one transaction inside one memtable.
const (
	// MaxName bounds Stream, Kind and ID, in bytes.
	MaxName = 1024
	// MaxEventData bounds the Data of one event, in bytes.
	MaxEventData = 32 << 10
	// MaxDocBody bounds the body of one document, in bytes.
	MaxDocBody = 8 << 20
)

// Store is the event log and the documents of one node. All methods are safe
// for concurrent use; writes are serialised, so that one goroutine that groups
// the batches of many callers into one Commit is the fast way to write.
// After Close every method fails with ErrClosed.
type Store interface {
	// Commit applies the batches in order, as many as fit in one transaction
	// at a time and never part of one. When it returns nil all of them are
	// stored as Options.Durability says. ErrTooLarge, ErrInvalid and
	// ErrNoSpace mean that nothing was written; a *PartialError says how
	// many of the batches were.
	Commit(batches ...Batch) error
	// AppendCalls stores packed call records as drained from a CallBuffer, in
	// their order, as blocks of at most 256 KiB. With lost > 0 it adds an
	// EventsDropped event to the node's stream. After an error a leading part
	// of the records may be stored; ErrNoSpace means that none is.
	AppendCalls(records []byte, lost uint64) error
	// CallBuffer is the buffer in front of this log, the same at every call. A
	// Badger's survives kill -9: what was recorded is in the log at the next
	// Open. It refuses records after Close.
	CallBuffer() *CallBuffer
	// FlushCalls is AppendCalls of all that the CallBuffer holds, and of an
	// EventsDropped event for the records that it had to refuse and for lost
	// others. After an error the records stay in the buffer for the next try.
	FlushCalls(lost uint64) error
	// Docs returns all documents of a kind in the order of their ids.
	Docs(kind string) ([]Doc, error)
	// Doc returns one document; false when there is none.
	Doc(kind, id string) (Doc, bool, error)
	// History returns the finished calls of a stream (ToolInvocationCompleted and
	// ToolInvocationFailed) with a version >= fromVersion, oldest first, at
	// most limit (DefaultLimit if <= 0). Continue with the last version + 1.
	// Versions that are missing were dropped by retention, or are no calls.
	History(stream string, fromVersion uint64, limit int) ([]Event, error)
	// Events returns the events of the whole log with a position >=
	// fromPosition, oldest first, at most limit. Continue with the last position
	// + 1. Positions that are missing, before the first event or between two, were
	// dropped by retention: nothing else leaves a position out. With a
	// *CorruptError it returns what stands before the damaged block.
	Events(fromPosition uint64, limit int) ([]Event, error)
	// ControlEvents is Events without the finished calls, whose blocks it passes
	// over unread: a look at what calls wrote costs no more than their checksums.
	ControlEvents(fromPosition uint64, limit int) ([]Event, error)
	// StreamEvents is Events for one stream and its versions.
	StreamEvents(stream string, fromVersion uint64, limit int) ([]Event, error)
	// LastPosition is the position of the newest event, 0 in an empty log. It
	// costs one atomic load.
	LastPosition() uint64
	// Stats returns the state of the store as of now.
	Stats() Stats
	// Close flushes and releases the directory. Closing again returns nil.
	Close() error
}

// Stats is what readiness, metrics and the console show of a store.
type Stats struct {
	FirstPosition uint64 // oldest retained event, 0 in an empty log
	LastPosition  uint64
	LogBytes      uint64 // blocks and index entries that are retained
	MaxLogBytes   uint64
	Calls, Events LogShare // of both
	MaxDiskBytes  uint64   // what the directory takes at most, documents and backups aside
	DiskBytes     uint64   // what badger says its files take; up to a minute old
	FreeBytes     uint64   // free for us on the volume
	MinFreeBytes  uint64   // below it the store is read-only
	ReadOnly      bool
	Reason        string // why it is read-only, else ""
	Commits       uint64 // transactions since open
	DroppedBlocks uint64 // by retention, since open
	Damaged       uint64 // damaged blocks met since open
}

// LogShare is what calls, or all other events, take of the log.
type LogShare struct{ Bytes, MaxBytes uint64 }

// Durability is what an acknowledged write survives.
type Durability uint8

const (
	// Process (the default): kill -9 of the process, not the loss of power.
	Process Durability = iota
	// Power: also the loss of power, for one fsync per Commit and AppendCalls.
	Power
)

// String returns the word of the configuration file.
func (d Durability) String() string {
	switch d {
	case Process:
		return "process"
	case Power:
		return "power"
	}
	return fmt.Sprintf("Durability(%d)", uint8(d))
}

// DefaultMaxLogBytes holds some three million calls beside the other events; a
// volume under 2 GiB gets an eighth of its size instead.
const DefaultMaxLogBytes = 256 << 20

// Retention bounds what stays of the calls, or of all other events.
type Retention struct {
	// MaxBytes: the oldest go. 0 means what the other has not of
	// Options.MaxLogBytes; if neither has its own, a quarter is for events and
	// the rest for calls.
	MaxBytes uint64
	MaxAge   time.Duration // older ones go; 0 means Options.MaxLogAge
}

// Options of Open. Only Dir is required.
type Options struct {
	Dir        string // created with mode 0700 if missing
	Durability Durability
	// MinFreeBytes is the floor of free space. 0 means 5 % of the volume, at
	// least 256 MiB and at most 4 GiB, but never more than a quarter of the
	// volume. A floor below six memtables (96 MiB; 12 MiB on a volume under
	// 512 MiB) is raised to that.
	MinFreeBytes uint64
	MaxLogBytes  uint64        // 0 means DefaultMaxLogBytes
	MaxLogAge    time.Duration // older events go; 0 means never for their age
	// Calls and Events are retained apart: calls never push out other events. Only
	// what came through the CallBuffer or AppendCalls counts as a call here.
	Calls, Events Retention

	Logger *slog.Logger     // nil discards
	Now    func() time.Time // nil means time.Now; only stamps events
	// RunID names this run of the runtime in the correlation ids of its calls.
	RunID uint64

	statfs func(string) (free, total uint64, err error) // tests
}

func (o Options) withDefaults() Options {
	if o.Logger == nil {
		o.Logger = slog.New(slog.NewTextHandler(io.Discard, nil))
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.statfs == nil {
		o.statfs = statfs
	}
	return o
}

// Validate reports every fault of the options at once.
func (o Options) Validate() error {
	var errs []error
	if o.Dir == "" {
		errs = append(errs, errors.New("persistence: no directory given"))
	}
	for _, age := range []time.Duration{o.MaxLogAge, o.Calls.MaxAge, o.Events.MaxAge} {
		if age < 0 {
			errs = append(errs, fmt.Errorf("persistence: negative age %s of the log", age))
		}
	}
	calls, events, whole := o.Calls.MaxBytes, o.Events.MaxBytes, o.MaxLogBytes
	if whole > 0 && calls|events > 0 && (calls >= whole || max(events, 1) > whole-max(calls, 1)) {
		errs = append(errs, fmt.Errorf("persistence: %d bytes of calls and %d of other events do not fit in the %d of the whole log",
			calls, events, whole))
	}
	if o.Durability > Power {
		errs = append(errs, fmt.Errorf("persistence: unknown durability %d", o.Durability))
	}
	return errors.Join(errs...)
}

// shares says how many bytes each class may take; whole is what both take if no
// option says so.
func (o Options) shares(whole uint64) [classCount]uint64 {
	whole = cmp.Or(o.MaxLogBytes, whole)
	calls, events := o.Calls.MaxBytes, o.Events.MaxBytes
	switch quarter := whole / 4; {
	case calls > 0 && events > 0:
	case calls > 0 && calls < whole:
		events = whole - calls
	case events > 0 && events < whole:
		calls = whole - events
	default:
		calls, events = cmp.Or(calls, whole-quarter), cmp.Or(events, quarter)
	}
	return [classCount]uint64{classCalls: calls, classEvents: events}
}

func (o Options) maxAge(c class) time.Duration {
	return cmp.Or([classCount]time.Duration{classCalls: o.Calls.MaxAge, classEvents: o.Events.MaxAge}[c], o.MaxLogAge)
}
