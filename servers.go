package hangar

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/aabb9013/hangar/actors"
	"github.com/aabb9013/hangar/backends"
	"github.com/aabb9013/hangar/httpapi"
	"github.com/aabb9013/hangar/internal/jsonrpc"
	"github.com/aabb9013/hangar/supervisor"
)

// Servers manages the servers of a runtime. Its methods are safe for
// concurrent use; changes are durable when they return nil.
type Servers struct{ rt *Runtime }

// Servers returns the manager of the runtime's servers.
func (rt *Runtime) Servers() *Servers { return &Servers{rt} }

// system is the tree, or why there is none.
func (rt *Runtime) system() (*actors.System, error) {
	rt.mu.Lock()
	defer rt.mu.Unlock()
	switch {
	case rt.state == isClosed:
		return nil, ErrClosing
	case rt.sys == nil:
		return nil, errNotStarted
	}
	return rt.sys, nil
}

// Create registers a server, cold. Unset fields take their defaults; the
// owner is always the API. With a data directory the server is there again
// after a restart. A permanent one starts at once. ErrInvalidSpec (also for an
// unknown or circular dependency), ErrServerExists, ErrNotBuilt, ErrReadOnly.
func (s *Servers) Create(ctx context.Context, spec ServerSpec) error {
	sys, err := s.rt.system()
	if err != nil {
		return err
	}
	if spec.Mode == "" {
		spec.Mode = supervisor.ModeSubprocess
	}
	// Nobody but the file makes what a reload of the file may change.
	spec.Provenance = supervisor.FromAPI
	spec = spec.WithDefaults()
	if err := spec.Validate(); err != nil {
		return err
	}
	if spec.Mode != supervisor.ModeSubprocess {
		return fmt.Errorf("mode %s is %w", spec.Mode, ErrNotBuilt)
	}
	return sys.Create(ctx, spec)
}

// Get returns one server; ErrServerNotFound.
func (s *Servers) Get(id string) (*View, error) {
	sys, err := s.rt.system()
	if err != nil {
		return nil, err
	}
	if v, ok := sys.View(id); ok {
		return v, nil
	}
	return nil, fmt.Errorf("%w: %q", ErrServerNotFound, id)
}

// List returns every server in order of registration.
func (s *Servers) List() []*View {
	sys, err := s.rt.system()
	if err != nil {
		return nil
	}
	return sys.Views()
}

// Update patches a server's spec; ErrServerNotFound, ErrInvalidSpec, ErrReadOnly.
func (s *Servers) Update(ctx context.Context, id string, patch Patch) error {
	sys, err := s.rt.system()
	if err != nil {
		return err
	}
	return sys.Update(ctx, id, patch)
}

// Delete stops a server and forgets it; ErrServerNotFound, ErrReadOnly, ErrInUse
// while other servers depend on it.
func (s *Servers) Delete(ctx context.Context, id string) error {
	sys, err := s.rt.system()
	if err != nil {
		return err
	}
	return sys.Delete(ctx, id)
}

// Start returns when the server is ready; ErrServerNotFound, ErrStartFailed,
// ErrCannotStart. An end of ctx ends the wait, not the start.
func (s *Servers) Start(ctx context.Context, id string) (*View, error) {
	sys, err := s.rt.system()
	if err != nil {
		return nil, err
	}
	return sys.Start(ctx, id)
}

// Stop returns when no instance of the server runs; ErrServerNotFound. The
// next call starts it again. Servers that depend on it go on.
func (s *Servers) Stop(ctx context.Context, id, reason string) error {
	sys, err := s.rt.system()
	if err != nil {
		return err
	}
	return sys.Stop(ctx, id, reason)
}

// Crashes tells why instances of the server ended without anybody wanting it:
// the last dossiers, newest first, at most limit and supervisor.MaxDossiers.
// With a data directory they survive restarts. ErrServerNotFound.
func (s *Servers) Crashes(ctx context.Context, id string, limit int) ([]Dossier, error) {
	sys, err := s.rt.system()
	if err != nil {
		return nil, err
	}
	return sys.Crashes(ctx, id, limit)
}

// StopWithDependents stops every server that depends on this one, directly or
// not, in reverse start order, and then the server itself; ErrServerNotFound.
// It returns the ids of what it stopped, also when it fails half way.
func (s *Servers) StopWithDependents(ctx context.Context, id, reason string) ([]string, error) {
	sys, err := s.rt.system()
	if err != nil {
		return nil, err
	}
	return sys.StopWithDependents(ctx, id, reason)
}

// Reset forgets a server's failures, restart budget, backoff and give-up;
// ErrServerNotFound. A running instance goes on; without one the server is cold
// afterwards, or starting if it is permanent.
func (s *Servers) Reset(ctx context.Context, id string) (*View, error) {
	sys, err := s.rt.system()
	if err != nil {
		return nil, err
	}
	return sys.Reset(ctx, id)
}

// Activity is a number that changes with every call and every change of a
// server: while it stands still the runtime is idle. It costs a look at every
// server.
func (rt *Runtime) Activity() uint64 {
	sys, err := rt.system()
	if err != nil {
		return 0
	}
	return sys.Activity()
}

// Result is a tool's answer. IsError says that the tool itself reported a
// failure; Raw is the whole tools/call result.
type Result struct {
	Raw     json.RawMessage
	IsError bool
}

// RPCError is a server's JSON-RPC error answer to a call.
type RPCError = backends.RPCError

// Call calls a tool of a server, or of a member of a group, starting the server
// if need be, and waits for the answer until ctx ends, at most 60 s when it has no deadline. A call
// that is given up is cancelled at the server. args is marshalled to the
// arguments, which must be a JSON object; nil stands for none. Options say who
// calls (AsPrincipal) and in which session (InSession). Errors:
// ErrServerNotFound, ErrStartFailed, ErrCannotStart, ErrOverloaded,
// ErrGroupUnavailable, ErrCallTimeout (also context.DeadlineExceeded if the deadline was of ctx),
// the cause of ctx when it was cancelled, ErrClosing, *RPCError, or one that
// tells of the server's crash and whether the call had been sent to it.
func (rt *Runtime) Call(ctx context.Context, server, tool string, args any, opts ...CallOption) (*Result, error) {
	sys, err := rt.system()
	if err != nil {
		return nil, err
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	target := targetOf(sys, []byte(server))
	if target == nil {
		return nil, fmt.Errorf("%w: %q", ErrServerNotFound, server)
	}
	body, err := argumentsOf(args)
	if err != nil {
		return nil, fmt.Errorf("cannot call tool %q of server %q: %w", tool, server, err)
	}
	c := backends.NewCall()
	c.SetToolCall(tool, body)
	for _, say := range opts {
		say(c)
	}
	if err := do(ctx, target, c); err != nil {
		if !errors.Is(err, supervisor.ErrInternal) {
			c.Release()
		}
		return nil, err
	}
	defer c.Release()
	if c.Env.Kind == jsonrpc.ErrorResponse {
		return nil, backends.ParseRPCError(c.Env.Error.Of(c.Answer))
	}
	return &Result{
		Raw:     append(json.RawMessage(nil), c.Env.Result.Of(c.Answer)...),
		IsError: c.Env.IsError,
	}, nil
}

// argumentsOf marshals the arguments object.
func argumentsOf(args any) ([]byte, error) {
	if args == nil {
		return []byte("{}"), nil
	}
	body, err := json.Marshal(args)
	switch {
	case err != nil:
		return nil, fmt.Errorf("cannot marshal the arguments: %w", err)
	case string(body) == "null": // a nil map or pointer
		return []byte("{}"), nil
	case body[0] != '{':
		return nil, fmt.Errorf("the arguments must be a JSON object, %T is none", args)
	}
	return body, nil
}

// do waits for the answer while ctx allows.
func do(ctx context.Context, target httpapi.Target, c *backends.Call) error {
	timeout := supervisor.DefaultCallTimeout
	deadline, bounded := ctx.Deadline()
	if bounded {
		timeout = max(0, time.Until(deadline))
	}
	if ctx.Done() == nil {
		return target.Do(c, timeout)
	}
	id := c.ID
	stop := context.AfterFunc(ctx, func() {
		if !errors.Is(ctx.Err(), context.DeadlineExceeded) { // the call has the same deadline
			target.Cancel(id, context.Cause(ctx))
		}
	})
	err := target.Do(c, timeout)
	stop()
	if bounded && errors.Is(err, ErrCallTimeout) {
		return fmt.Errorf("%w: %w", err, context.DeadlineExceeded)
	}
	return err
}
