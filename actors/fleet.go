package actors

import (
	"context"
	"runtime"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/aabb9013/hangar/backends"
	"github.com/aabb9013/hangar/persistence"
	"github.com/aabb9013/hangar/supervisor"
)

// DefaultParallelStarts is how many start attempts run at once unless the
// configuration says otherwise.
func DefaultParallelStarts() int { return max(4, 2*runtime.GOMAXPROCS(0)) }

// Views returns every server in order of registration.
func (s *System) Views() []*supervisor.View {
	order := s.fleet.Load().order
	views := make([]*supervisor.View, len(order))
	for i, c := range order {
		views[i] = c.view.Load()
	}
	return views
}

// View returns one server.
func (s *System) View(id string) (*supervisor.View, bool) {
	c := s.fleet.Load().byID[id]
	if c == nil {
		return nil, false
	}
	return c.view.Load(), true
}

// Ref finds a server without allocating.
func (s *System) Ref(id []byte) (Ref, bool) {
	c := s.fleet.Load().byID[string(id)]
	return Ref{c}, c != nil
}

// FleetVersion grows with every change of the servers or their tools.
func (s *System) FleetVersion() uint64 { return s.version.Load() }

// Activity changes with every call and every change of a server.
func (s *System) Activity() uint64 {
	sum := s.changes.Load()
	for _, c := range s.fleet.Load().order {
		sum += uint64(c.counters.Calls.Load())
	}
	return sum
}

// LimitStarts changes how many start attempts may run at once; 0 stands for
// DefaultParallelStarts.
func (s *System) LimitStarts(limit int) {
	if limit <= 0 {
		limit = DefaultParallelStarts()
	}
	s.tell(s.starts, limitStarts{limit})
}

// LimitCalls changes how many calls may be in flight on the node, waiting ones
// included; 0 = no bound. Calls that were taken go on, and while there was no
// bound they were not counted.
func (s *System) LimitCalls(limit int) { s.maxCalls.Store(int64(max(limit, 0))) }

// LimitMemory changes the bytes that all servers together may take; 0 = no
// bound. The next sample decides by it.
func (s *System) LimitMemory(budget int64) { s.tell(s.memory, limitMemory{max(budget, 0)}) }

// Starting is the number of start attempts that run now.
func (s *System) Starting() int { return int(s.starting.Load()) }

// StartsWaiting is the number of start attempts that wait for their turn.
func (s *System) StartsWaiting() int { return int(s.startsWaiting.Load()) }

// EventsLost is how many events and records of calls did not reach the log
// since the start: there was no room for them, or they could not be written.
func (s *System) EventsLost() uint64 { return s.eventsLost.Load() + s.callBuffer.Refused() }

// Closing tells whether Close was called: calls and changes are refused.
func (s *System) Closing() bool { return s.closing.Load() }

// Create registers a server; it is durable and visible when nil is returned.
func (s *System) Create(ctx context.Context, spec supervisor.ServerSpec) error {
	reply := make(chan error, 1)
	return s.ask(ctx, s.registry, createServer{spec, reply}, reply, nil)
}

// Update patches a server's spec; it is durable and visible when nil is
// returned.
func (s *System) Update(ctx context.Context, id string, patch supervisor.Patch) error {
	c := s.fleet.Load().byID[id]
	if c == nil {
		return notFound(id)
	}
	reply := make(chan error, 1)
	return s.ask(ctx, s.registry, updateServer{id, patch, reply}, reply, c)
}

// Delete stops a server and forgets it.
func (s *System) Delete(ctx context.Context, id string) error {
	reply := make(chan error, 1)
	return s.ask(ctx, s.registry, deleteServer{id: id, source: supervisor.FromAPI, reply: reply}, reply, nil)
}

// Start returns when the server is ready or could not be started. An actor that
// was given up is replaced.
func (s *System) Start(ctx context.Context, id string) (*supervisor.View, error) {
	c, err := s.alive(ctx, id)
	if err != nil {
		return nil, err
	}
	reply := make(chan error, 1)
	if err := s.ask(ctx, c.pid, startServer{reply}, reply, c); err != nil {
		return nil, err
	}
	return c.view.Load(), nil
}

// Stop returns when the instance that ran is gone. Calls that wait are refused;
// a later call starts the server again, one that comes during the stop does so
// as soon as the old instance is gone.
func (s *System) Stop(ctx context.Context, id, reason string) error {
	c := s.fleet.Load().byID[id]
	if c == nil {
		return notFound(id)
	}
	reply := make(chan error, 1)
	return s.ask(ctx, c.pid, stopServer{reason, reply}, reply, c)
}

// ask sends a message and waits for its reply from outside of the tree. What
// waits in the mailbox of a server's actor is lost when that stops: of says
// whose actor may have to answer.
func (s *System) ask(ctx context.Context, pid *actor.PID, msg any, reply chan error, of *cell) error {
	if s.closing.Load() {
		return supervisor.ErrClosing
	}
	var gone chan struct{}
	if of != nil {
		gone = of.gone()
	}
	s.tell(pid, msg)
	select {
	case err := <-reply:
		return err
	case <-ctx.Done():
		return ctx.Err()
	case <-gone:
		select {
		case err := <-reply: // it was answered just before
			return err
		default:
			return of.goneError()
		}
	case <-s.living.Done():
		return supervisor.ErrClosing
	}
}

// Logs returns the last n lines of a server's log, oldest first, without the
// secrets that the server was given or that look like one.
func (s *System) Logs(id string, n int) ([]backends.LogLine, error) {
	c := s.fleet.Load().byID[id]
	if c == nil {
		return nil, notFound(id)
	}
	return c.shownLog(n), nil
}

// History returns finished calls of a server, those just answered included.
func (s *System) History(ctx context.Context, id string, from uint64, limit int) ([]persistence.Event, error) {
	if err := s.Flush(ctx); err != nil {
		return nil, err
	}
	return s.opts.Store.History(id, from, limit)
}

// Flush returns when everything emitted and every call answered so far is
// written.
func (s *System) Flush(ctx context.Context) error {
	reply := make(chan error, 1)
	return s.ask(ctx, s.eventlog, flushAll{reply}, reply, nil)
}
