package hangar

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/aabb9013/hangar/actors"
	"github.com/aabb9013/hangar/backends"
	"github.com/aabb9013/hangar/backends/subprocess"
	"github.com/aabb9013/hangar/httpapi"
	"github.com/aabb9013/hangar/internal/config"
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

	mu      sync.Mutex
	state   runState
	sys     *actors.System
	api     *httpapi.API
	front   *httpapi.Front
	started time.Time
	closed  chan struct{} // closed when Close is done
	failure error         // of Close
}

type runState uint8

const (
	isNew runState = iota
	isStarted
	isClosed
)

var errNotStarted = errors.New("the runtime is not started")

// New reads the configuration and opens the state. It starts no server and no
// listener. Errors: ErrConfig, ErrNotBuilt, ErrLocked, ErrUnwritable,
// ErrForeign.
func New(opts Options) (*Runtime, error) {
	if err := opts.Validate(); err != nil {
		return nil, err
	}
	cfg, err := opts.loadConfig()
	if err != nil {
		return nil, err
	}
	rt := &Runtime{opts: opts, cfg: cfg, logger: opts.Logger, closed: make(chan struct{})}
	if rt.logger == nil {
		rt.logger = slog.New(slog.DiscardHandler)
	}
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
	return persistence.Open(persistence.Options{
		Dir: rt.opts.DataDir, Durability: durability, MinFreeBytes: rt.opts.MinFreeBytes,
		MaxLogBytes: rt.opts.MaxLogBytes, Logger: rt.logger, RunID: rt.runID,
	})
}

// Start brings the supervision tree up; all servers are cold and start with
// their first call. ctx bounds nothing beyond Start itself.
func (rt *Runtime) Start(ctx context.Context) error {
	rt.mu.Lock()
	defer rt.mu.Unlock()
	if rt.state != isNew {
		return errors.New("the runtime was started before")
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	backend := subprocess.New(subprocess.Options{})
	client := backends.ClientInfo{Name: "hangar", Version: Version}
	sys, err := actors.New(actors.Options{
		Store:             rt.store,
		Backends:          map[supervisor.Mode]backends.Backend{supervisor.ModeSubprocess: backend},
		Logger:            rt.logger,
		MaxParallelStarts: firstPositive(rt.opts.MaxParallelStarts, rt.cfg.Execution.MaxParallelStarts),
		RunTag:            strconv.FormatUint(rt.runID, 16) + "." + strconv.Itoa(os.Getpid()),
		RunID:             rt.runID,
		Client:            client,
		Specs:             rt.cfg.Servers,
	})
	if err != nil {
		backend.Close()
		return err
	}
	rt.backend, rt.sys, rt.started, rt.state = backend, sys, time.Now(), isStarted
	edge := edge{rt}
	rt.front = httpapi.NewFront(httpapi.FrontOptions{
		Runtime: edge, Logger: rt.logger, Server: client, CallTimeout: rt.opts.CallTimeout,
		BatchConcurrency:  rt.cfg.Execution.MaxConcurrency,
		ServerConcurrency: rt.cfg.Execution.DefaultServerConcurrency,
	})
	rt.api = httpapi.New(httpapi.Options{
		Runtime: edge, Logger: rt.logger, MCP: rt.front.ServeHTTP,
		AllowedHosts: rt.opts.AllowedHosts, AllowedOrigins: rt.opts.AllowedOrigins,
	})
	rt.cfg = &config.Config{} // the file as it was read is not needed any more
	sys.Emit(supervisor.Event{Kind: supervisor.RuntimeStarted, Data: map[string]any{
		"version": Version, "run_id": strconv.FormatUint(rt.runID, 16), "mcp_servers": len(sys.Views()), "pid": os.Getpid(),
	}})
	return nil
}

func firstPositive(values ...int) int {
	for _, v := range values {
		if v > 0 {
			return v
		}
	}
	return 0
}

// Close ends the runtime: calls are refused, those in flight drain, every
// instance is stopped, the log is written and closed. When ctx ends first the
// instances left are killed. Later calls wait for the first.
func (rt *Runtime) Close(ctx context.Context) error {
	rt.mu.Lock()
	was := rt.state
	rt.state = isClosed
	rt.mu.Unlock()
	if was == isClosed {
		<-rt.closed
		return rt.failure
	}
	var faults []error
	if was == isStarted {
		rt.front.Close()
		rt.sys.Emit(supervisor.Event{Kind: supervisor.RuntimeStopped, Data: map[string]any{"run_id": strconv.FormatUint(rt.runID, 16)}})
		if err := rt.sys.Close(ctx); err != nil {
			faults = append(faults, fmt.Errorf("cannot write the end of the event log: %w", err))
		}
		rt.backend.Close()
	}
	if err := rt.store.Close(); err != nil {
		faults = append(faults, fmt.Errorf("cannot close the state: %w", err))
	}
	rt.failure = errors.Join(faults...)
	close(rt.closed)
	return rt.failure
}

// Handler serves the REST API at /api, health at /health and MCP at /mcp. It
// is nil before Start.
func (rt *Runtime) Handler() Handler {
	rt.mu.Lock()
	defer rt.mu.Unlock()
	if rt.api == nil {
		return nil
	}
	return rt.api.Handler()
}

// Serve answers HTTP on the listener with all the edge's limits set, until
// ctx ends or the listener fails; requests under way then get a bounded time
// to finish.
func (rt *Runtime) Serve(ctx context.Context, ln net.Listener) error {
	rt.mu.Lock()
	api := rt.api
	rt.mu.Unlock()
	if api == nil {
		return errNotStarted
	}
	return httpapi.Serve(ctx, ln, api.Server())
}

// ServeStdio speaks MCP with one client over a pair of streams until in ends
// or ctx does. Only JSON-RPC is written to out.
func (rt *Runtime) ServeStdio(ctx context.Context, in io.Reader, out io.Writer) error {
	rt.mu.Lock()
	front := rt.front
	rt.mu.Unlock()
	if front == nil {
		return errNotStarted
	}
	return front.ServeStdio(ctx, in, out)
}
