package actors

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/aabb9013/hangar/backends"
	"github.com/aabb9013/hangar/persistence"
	"github.com/aabb9013/hangar/supervisor"
)

// Kinds of documents in the store.
const (
	docServer = "server" // a spec made by API
	docTools  = "tools"  // the last catalogue of a server
)

// Options of a System. Store and Backends are required.
type Options struct {
	Store    persistence.Store
	Backends map[supervisor.Mode]backends.Backend
	Logger   *slog.Logger
	// MaxParallelStarts bounds the start attempts that run at once.
	MaxParallelStarts int
	// MaxCalls bounds the calls in flight on the node, waiting ones included;
	// one more is refused with supervisor.ErrOverloaded. 0 = no bound. LimitCalls
	// changes it.
	MaxCalls int
	// SampleMemory measures the servers; nil leaves them unmeasured and
	// MemoryBudget without effect.
	SampleMemory MemorySampler
	MemoryBudget int64 // bytes of all servers together; 0 = no bound; LimitMemory changes it
	RunTag       string
	RunID        uint64
	Client       backends.ClientInfo
	// Specs are the servers of the configuration file; they win over servers
	// made by API with the same id.
	Specs []supervisor.ServerSpec
	// Groups are those of the configuration file; their members are in Specs.
	Groups []supervisor.GroupSpec
}

// System is the running supervision tree. Its methods are safe for concurrent
// use.
type System struct {
	opts       Options
	maxCalls   atomic.Int64 // 0 = no bound; read by every call, so it stands among what rarely changes
	logger     *slog.Logger
	engine     *engine
	callBuffer *persistence.CallBuffer
	flushTimer *time.Timer
	keeper     *keeper
	feed       *feed

	eventlog, registry, starts, servers, groups, dependencies, memory *actor.PID

	tops map[string]*atomic.Int64 // failures of the actors at the top, by name

	fleet    atomic.Pointer[fleet]
	version  atomic.Uint64 // of the fleet: servers and tools
	changes  atomic.Uint64 // of any server's view
	starting atomic.Int64
	// startsWaiting and eventsLost are for readers, as starting is.
	startsWaiting atomic.Int64
	eventsLost    atomic.Uint64
	probes        probePace
	began         time.Time

	memoryStatus atomic.Pointer[MemoryStatus]

	logOnce atomic.Int64 // unix s of the last complaint about that

	closing atomic.Bool
	closed  chan struct{}   // closed when Close is done
	failure error           // of Close
	living  context.Context // ends when the system is closed
	die     context.CancelFunc
	killing context.Context // ends when stops must not wait any more
	kill    context.CancelFunc
	goes    sync.WaitGroup // goroutines that work for actors

	// Every call writes to it: the fields beside it must not share its line of
	// the processor's cache.
	_        [64]byte
	inFlight atomic.Int64 // calls, if they are bounded
	_        [64]byte
}

// fleet is the registry's snapshot for readers; it is immutable.
type fleet struct {
	byID       map[string]*cell
	order      []*cell
	groups     map[string]*group
	groupOrder []*group
	graph      *supervisor.Graph // nil: nobody depends on anybody
}

// New restores the servers of the store, registers those of the
// configuration, and starts the tree. All servers are cold.
func New(opts Options) (*System, error) {
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	if opts.MaxParallelStarts <= 0 {
		opts.MaxParallelStarts = DefaultParallelStarts()
	}
	s := &System{opts: opts, logger: opts.Logger, callBuffer: opts.Store.CallBuffer(), closed: make(chan struct{}), began: time.Now()}
	s.LimitCalls(opts.MaxCalls)
	s.living, s.die = context.WithCancel(context.Background())
	s.killing, s.kill = context.WithCancel(context.Background())
	s.fleet.Store(&fleet{byID: map[string]*cell{}})
	s.keeper = newKeeper(s)
	s.feed = newFeed(s, opts.Store)
	orphans := orphans{}
	restored, err := s.restore(orphans)
	if err != nil {
		return nil, err
	}
	if err := s.restoreStates(restored, orphans); err != nil {
		return nil, err
	}
	groups, err := s.restoreGroups(restored)
	if err != nil {
		return nil, err
	}
	s.engine = newEngine(opts.Logger, s.actorFailed)
	s.spawnTree()
	s.flushTimer = time.AfterFunc(time.Hour, func() { s.tell(s.eventlog, flushCalls{}) })
	s.flushTimer.Stop()
	go s.keeper.run()
	s.goes.Add(1)
	go s.feed.run()
	reply := make(chan error, 1)
	s.tell(s.registry, loadServers{restored, orphans, reply})
	err = <-reply
	if err == nil {
		applied := make(chan error, len(groups))
		s.tell(s.registry, loadGroups{groups, applied, reply})
		err = <-reply
		for i := 0; err == nil && i < len(groups); i++ {
			<-applied // what panics there is logged, and keeps nobody else from the start
		}
	}
	if err != nil {
		s.closing.Store(true)
		s.abandon()
		close(s.closed)
		return nil, fmt.Errorf("cannot start the fleet: %w", err)
	}
	s.keeper.loaded.Store(true)
	s.keeper.tell(true)
	return s, nil
}

func (s *System) spawnTree() {
	s.tops = make(map[string]*atomic.Int64)
	for _, name := range topActors {
		s.tops[name] = new(atomic.Int64)
	}
	log := &eventLog{sys: s, store: s.opts.Store}
	reg := newRegistry(s)
	st := newStarts(s, s.opts.MaxParallelStarts)
	s.eventlog = s.engine.spawnTop("eventlog", log)
	s.starts = s.engine.spawnTop("starts", st)
	s.servers = s.engine.spawnTop("servers", newNursery(s))
	s.groups = s.engine.spawnTop("groups", &groupNursery{s})
	s.dependencies = s.engine.spawnTop("dependencies", newDependencies(s))
	s.registry = s.engine.spawnTop("registry", reg)
	s.memory = s.engine.spawnTop("memory", newMemory(s))
}

// restore reads the specs made by API, every known tool catalogue and the
// number of crash dossiers.
func (s *System) restore(orphans orphans) ([]*cell, error) {
	docs, err := s.opts.Store.Docs(docServer)
	if err != nil {
		return nil, fmt.Errorf("cannot read the servers from the store: %w", err)
	}
	catalogues, err := s.restoreCatalogues(orphans)
	if err != nil {
		return nil, err
	}
	crashes, err := s.restoreCrashes(orphans)
	if err != nil {
		return nil, err
	}
	configured := make(map[string]bool, len(s.opts.Specs))
	var cells []*cell
	for _, spec := range s.opts.Specs {
		configured[spec.ID] = true
		cells = append(cells, newCell(s, uint64(len(cells)+1), spec, catalogues[spec.ID]))
	}
	for _, spec := range s.opts.Groups { // servers and groups share their ids
		configured[spec.ID] = true
	}
	stored := make([]serverDoc, 0, len(docs))
	for _, d := range docs {
		var doc serverDoc
		if err := json.Unmarshal(d.Body, &doc); err != nil {
			return nil, fmt.Errorf("cannot read server %q from the store: %w", d.ID, err)
		}
		stored = append(stored, doc)
	}
	sortBySeq(stored)
	for _, doc := range stored {
		if configured[doc.Spec.ID] {
			s.logger.Warn("the configuration file replaces a server made by API", "server", doc.Spec.ID)
			continue
		}
		seq := max(doc.Seq, uint64(len(cells)+1))
		if n := len(cells); n > 0 {
			seq = max(seq, cells[n-1].seq+1)
		}
		c := newCell(s, seq, doc.Spec.WithDefaults(), catalogues[doc.Spec.ID])
		c.made = doc.Seq // the file may have grown, and its servers come first
		cells = append(cells, c)
	}
	for _, c := range cells {
		c.crashes = crashes[c.id]
		delete(orphans, c.id)
	}
	return cells, nil
}

func (s *System) restoreCatalogues(found orphans) (map[string]*backends.Catalogue, error) {
	docs, err := s.opts.Store.Docs(docTools)
	if err != nil {
		return nil, fmt.Errorf("cannot read the tool lists from the store: %w", err)
	}
	catalogues := make(map[string]*backends.Catalogue, len(docs))
	for _, d := range docs {
		found.add(d.ID)
		var cat backends.Catalogue
		if err := json.Unmarshal(d.Body, &cat); err != nil {
			// A list is only a cache: the server tells it again at its start.
			s.logger.Warn("a kept tool list is unreadable", "server", d.ID, "err", err)
			continue
		}
		catalogues[d.ID] = &cat
	}
	return catalogues, nil
}

func (s *System) tell(pid *actor.PID, msg any) { s.engine.root.Send(pid, msg) }

func (s *System) jitter() float64 { return rand.Float64() }

func (s *System) fleetChanged() { s.version.Add(1) }
