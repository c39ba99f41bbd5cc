package actors

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/aabb9013/hangar/supervisor"
)

const (
	// closeGrace is kept back from the deadline of Close, at most a tenth of
	// it: killed instances need a moment to end, and the log to be written.
	closeGrace = time.Second
	// callersGrace is how long Close waits for callers that were answered to
	// put their calls on record.
	callersGrace = time.Second
	callersPause = 5 * time.Millisecond
)

// Close ends the fleet: new calls are refused, calls in flight drain, every
// instance is stopped, all at once, and the log is written out. What does not
// stop by ctx's deadline is killed. The store stays open; it is the caller's.
// Later calls wait for the first.
func (s *System) Close(ctx context.Context) error {
	if !s.closing.CompareAndSwap(false, true) {
		<-s.closed
		return s.failure
	}
	defer close(s.closed)
	defer context.AfterFunc(ctx, s.kill)()
	if at, ok := ctx.Deadline(); ok {
		left := time.Until(at)
		early := time.AfterFunc(left-min(closeGrace, left/10), s.kill)
		defer early.Stop()
	}
	if names := s.stopFleet(); len(names) > 0 {
		s.logger.Error("servers did not stop", "servers", strings.Join(names, " "))
	}
	s.awaitCallers()
	s.failure = s.abandon()
	return s.failure
}

// stopFleet stops every server and names those that are not down a moment
// after they should have been killed. Servers made after this find the system
// closing and are never started.
func (s *System) stopFleet() (left []string) {
	order := s.fleet.Load().order
	replies := make([]chan error, len(order))
	for i, c := range order {
		replies[i] = make(chan error, 1)
		s.tell(c.pid, stopServer{"shutdown", replies[i]})
	}
	overdue := make(chan struct{})
	defer context.AfterFunc(s.killing, func() { time.AfterFunc(closeGrace, func() { close(overdue) }) })()
	for i, c := range order {
		select {
		case <-replies[i]:
		case <-c.gone():
		case <-overdue:
			left = append(left, c.id)
		}
	}
	return left
}

// awaitCallers waits until every Do has returned: a call that was answered is
// on record only then.
func (s *System) awaitCallers() {
	for end := time.Now().Add(callersGrace); time.Now().Before(end); time.Sleep(callersPause) {
		busy := false
		for _, c := range s.fleet.Load().order {
			busy = busy || c.active.Load() > 0
		}
		if !busy {
			return
		}
	}
}

// abandon stops the actors, writes the log out and ends every goroutine.
func (s *System) abandon() error {
	s.kill()
	s.keeper.close()
	s.die()
	s.stopActors(s.memory, s.registry, s.groups, s.servers, s.dependencies, s.starts)
	s.flushTimer.Stop()
	reply := make(chan error, 1)
	s.tell(s.eventlog, flushAll{reply})
	err := fmt.Errorf("%w: the event log was not written out in time", supervisor.ErrInternal)
	select {
	case err = <-reply:
	case <-time.After(lastGrace):
	}
	s.stopActors(s.eventlog)
	s.feed.close()
	// No actor lives that could add to the group.
	ended := make(chan struct{})
	go func() { s.goes.Wait(); close(ended) }()
	select {
	case <-ended:
	case <-time.After(lastGrace): // a store or a backend hangs: nothing more can be done
		s.logger.Error("goroutines are left behind")
	}
	s.engine.system.Shutdown()
	return err
}

// lastGrace bounds the last write of the log, and then the wait for goroutines
// that were told to end.
const lastGrace = 5 * time.Second

func (s *System) stopActors(pids ...*actor.PID) {
	for _, pid := range pids {
		if err := s.engine.root.StopFuture(pid).Wait(); err != nil {
			s.logger.Error("actor did not stop", "actor", pid.Id, "err", err)
		}
	}
}
