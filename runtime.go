package hangar

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/aabb9013/hangar/actors"
	"github.com/aabb9013/hangar/backends"
	"github.com/aabb9013/hangar/backends/subprocess"
	"github.com/aabb9013/hangar/httpapi"
	"github.com/aabb9013/hangar/internal/config"
	"github.com/aabb9013/hangar/internal/limits"
	"github.com/aabb9013/hangar/internal/procs"
	"github.com/aabb9013/hangar/internal/reaper"
	"github.com/aabb9013/hangar/persistence"
	"github.com/aabb9013/hangar/supervisor"
)

// Runtime hosts a fleet of servers. Make it with New, run it with Start, end
// it with Close. Its methods are safe for concurrent use.
type Runtime struct {
	opts    Options
	cfg     *config.Config
	logger  *slog.Logger
	runID   uint64
	store   persistence.Store
	backend *subprocess.Backend
	limits  *limits.Manager
	owner   reaper.Owner // of all our processes; set by Start

	backingUp atomic.Bool

	mu      sync.Mutex
	state   runState
	sys     *actors.System
	api     *httpapi.API
	front   *httpapi.Front
	started time.Time
	reload  chan struct{}                     // holds the one reload at a time
	reloads atomic.Int32                      // under way or waiting
	read    atomic.Pointer[[sha256.Size]byte] // digest of the configuration file as it was read last
	watches sync.WaitGroup
	rewatch chan config.ConfigReload // holds the one that the watch has not heard yet
	backups sync.Mutex               // one writes at a time
	closing chan struct{}            // closed when Close begins
	drained chan struct{}            // closed when no call is under way any more
	closed  chan struct{}            // closed when Close is done
	failure error                    // of Close
}

type runState uint8

const (
	isNew runState = iota
	isStarted
	isClosed
)

var errNotStarted = errors.New("the runtime is not started")

// New reads the configuration and opens the state. It starts no server and no
// listener. What it returns must be closed, started or not. Errors: ErrConfig,
// ErrNotBuilt, ErrLocked, ErrUnwritable, ErrForeign, ErrNoSpace, ErrCorrupt,
// and whatever Options.OpenLog returns.
func New(opts Options) (*Runtime, error) {
	if err := opts.Validate(); err != nil {
		return nil, err
	}
	cfg, err := opts.loadConfig()
	if err != nil {
		return nil, err
	}
	logger, err := opts.logger(cfg)
	if err != nil {
		return nil, err
	}
	if err := opts.heed(cfg, logger); err != nil {
		return nil, err
	}
	rt := &Runtime{
		opts: opts, cfg: cfg, logger: logger, reload: make(chan struct{}, 1), rewatch: make(chan config.ConfigReload, 1),
		closing: make(chan struct{}), drained: make(chan struct{}), closed: make(chan struct{}),
	}
	rt.read.Store(&cfg.Digest)
	var random [8]byte
	rand.Read(random[:]) // never fails
	rt.runID = binary.LittleEndian.Uint64(random[:])
	if rt.store, err = rt.openStore(); err != nil {
		return nil, err
	}
	return rt, nil
}

func (rt *Runtime) openStore() (persistence.Store, error) {
	if rt.opts.DataDir == "" || rt.opts.ConfigFile != "" && rt.cfg.EventStore.InMemory() {
		return persistence.NewMemory(), nil
	}
	durability := persistence.Process
	if rt.opts.Durability == DurabilityPower || rt.opts.Durability == "" && rt.cfg.EventStore.Durability == string(DurabilityPower) {
		durability = persistence.Power
	}
	retention := rt.cfg.EventStore.Retention
	return persistence.Open(persistence.Options{
		Dir: rt.opts.DataDir, Durability: durability, MinFreeBytes: rt.opts.MinFreeBytes,
		MaxLogBytes: cmp.Or(rt.opts.MaxLogBytes, uint64(retention.MaxBytes)),
		MaxLogAge:   cmp.Or(rt.opts.MaxLogAge, retention.MaxAge),
		Calls:       retained(rt.opts.CallRetention, retention.Calls),
		Events:      retained(rt.opts.EventRetention, retention.Events),
		Logger:      rt.logger, RunID: rt.runID,
	})
}

func retained(asked Retention, configured config.RetentionShare) Retention {
	return Retention{
		MaxBytes: cmp.Or(asked.MaxBytes, uint64(configured.MaxBytes)),
		MaxAge:   cmp.Or(asked.MaxAge, configured.MaxAge),
	}
}

// Start brings the supervision tree up; all servers are cold and start with
// their first call. ctx bounds nothing beyond Start itself. A runtime is
// started once; after Close it answers ErrClosing.
func (rt *Runtime) Start(ctx context.Context) error {
	rt.mu.Lock()
	defer rt.mu.Unlock()
	switch rt.state {
	case isStarted:
		return errors.New("the runtime was started before")
	case isClosed:
		return ErrClosing
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	budget, err := rt.opts.memoryBudget(rt.cfg)
	if err != nil {
		return err
	}
	claim := rt.claim()
	held := limits.Open(limits.Options{RunTag: claim.tag})
	rt.tellUnheld(held.Report())
	backend := subprocess.New(subprocess.Options{Limits: held, Owner: claim.owner, RunTag: claim.tag, Logger: rt.logger})
	client := backends.ClientInfo{Name: "hangar", Version: Version}
	sys, err := actors.New(actors.Options{
		Store:             rt.store,
		Backends:          map[supervisor.Mode]backends.Backend{supervisor.ModeSubprocess: backend},
		Logger:            rt.logger,
		MaxParallelStarts: firstPositive(rt.opts.MaxParallelStarts, rt.cfg.Execution.MaxParallelStarts),
		MaxCalls:          rt.opts.maxCalls(rt.cfg),
		MemoryBudget:      budget,
		SampleMemory:      procs.Memory,
		RunTag:            claim.tag,
		RunID:             rt.runID,
		Client:            client,
		Specs:             rt.cfg.Servers,
		Groups:            rt.cfg.GroupSpecs,
	})
	if err != nil {
		backend.Close()
		held.Close()
		return errors.Join(err, rt.release()) // nothing is left for the next start to sweep
	}
	rt.limits, rt.backend, rt.sys, rt.started, rt.state = held, backend, sys, time.Now(), isStarted
	edge := edge{rt}
	rt.front = httpapi.NewFront(httpapi.FrontOptions{
		Runtime: edge, Logger: rt.logger, Server: client, CallTimeout: rt.opts.CallTimeout,
		BatchConcurrency:  rt.batchLimit(rt.cfg.Execution.MaxConcurrency),
		ServerConcurrency: rt.batchLimit(rt.cfg.Execution.DefaultServerConcurrency),
	})
	rt.api = httpapi.New(httpapi.Options{
		Runtime: edge, Logger: rt.logger, MCP: rt.front,
		AllowedHosts: rt.opts.AllowedHosts, AllowedOrigins: rt.opts.AllowedOrigins,
	})
	rt.watch(rt.cfg.ConfigReload)
	sys.Emit(supervisor.Event{Kind: supervisor.RuntimeStarted, Data: map[string]any{
		"version": Version, "run_id": strconv.FormatUint(rt.runID, 16), "mcp_servers": len(sys.Views()), "pid": os.Getpid(),
		"unclean_shutdown": claim.unclean, "processes_swept": claim.swept,
	}})
	return nil
}

// unlimitedBatch stands for the 0 of a configuration file, which means no
// limit there. The waiting calls of a server are bounded besides.
const unlimitedBatch = 100000

// batchLimit is what the front understands: 0 chooses its own default.
func (rt *Runtime) batchLimit(configured int) int {
	if rt.opts.ConfigFile != "" && configured == 0 {
		return unlimitedBatch
	}
	return configured
}

func firstPositive(values ...int) int {
	for _, v := range values {
		if v > 0 {
			return v
		}
	}
	return 0
}

// Close ends the runtime: Serve and ServeStdio return, calls are refused,
// those in flight drain, every instance is stopped, the log is written and
// closed. When ctx ends first the instances left are killed. Later calls wait
// for the first, or for their own ctx, and return what it returned.
func (rt *Runtime) Close(ctx context.Context) error {
	rt.mu.Lock()
	was := rt.state
	rt.state = isClosed
	rt.mu.Unlock()
	if was == isClosed {
		select {
		case <-rt.closed:
			return rt.failure
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	close(rt.closing)
	rt.watches.Wait()
	var faults []error
	if was == isStarted {
		rt.front.Close()
		if err := rt.sys.Close(ctx); err != nil {
			faults = append(faults, fmt.Errorf("cannot write the end of the event log: %w", err))
		}
		// Until here whoever calls is told 503, and not left without an answer.
		close(rt.drained)
		rt.backend.Close()
		rt.limits.Close()
		if err := rt.release(rt.stoppedEvent()); err != nil {
			faults = append(faults, fmt.Errorf("cannot write that the runtime ended well: %w", err))
		}
	}
	if err := rt.store.Close(); err != nil {
		faults = append(faults, fmt.Errorf("cannot close the state: %w", err))
	}
	rt.failure = errors.Join(faults...)
	close(rt.closed)
	return rt.failure
}

// stoppedEvent is the last of a run: nothing of it runs any more, and all else
// is on record.
func (rt *Runtime) stoppedEvent() persistence.Event {
	return rt.sys.LastEvent(supervisor.Event{Kind: supervisor.RuntimeStopped, Data: map[string]any{"run_id": strconv.FormatUint(rt.runID, 16)}})
}

// Handler serves the REST API at /api, health under /health and at /healthz,
// and MCP at /mcp. It is nil before Start.
func (rt *Runtime) Handler() Handler {
	rt.mu.Lock()
	defer rt.mu.Unlock()
	if rt.api == nil {
		return nil
	}
	return rt.api.Handler()
}

// Serve answers HTTP on the listener with all the edge's limits set, until
// ctx ends, Close has drained the servers or the listener fails; requests under
// way then get a bounded time to finish. From the beginning of Close new calls
// and changes are answered 503. It closes the listener in any case.
func (rt *Runtime) Serve(ctx context.Context, ln net.Listener) error {
	if _, err := rt.system(); err != nil {
		ln.Close()
		return err
	}
	ctx, cancel := until(ctx, rt.drained)
	defer cancel()
	return httpapi.Serve(ctx, ln, rt.api.Server())
}

// ServeStdio speaks MCP with one client over a pair of streams until in ends,
// ctx does, or Close begins. Only JSON-RPC is written to out. A read of in or a
// write to out that is under way is not interrupted, and it returns only after a
// write: who wants that ended closes them.
func (rt *Runtime) ServeStdio(ctx context.Context, in io.Reader, out io.Writer) error {
	if _, err := rt.system(); err != nil {
		return err
	}
	ctx, cancel := until(ctx, rt.closing)
	defer cancel()
	return rt.front.ServeStdio(ctx, in, out)
}

// until derives a context that also ends when done is closed.
func until(ctx context.Context, done <-chan struct{}) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		select {
		case <-done:
			cancel()
		case <-ctx.Done():
		}
	}()
	return ctx, cancel
}
