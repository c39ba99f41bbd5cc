package actors

import (
	"time"

	"github.com/asynkron/protoactor-go/actor"
)

// Restarts of actors: at once, then doubling up to a cap; a server's actor is
// given up after maxActorFailures within actorPeriod.
const (
	maxActorFailures = 10
	actorPeriod      = 60 * time.Second
	actorBackoff     = 10 * time.Millisecond
	actorBackoffMax  = 5 * time.Second
)

// Both strategies stand in for the library's own "exponential" one, which is
// linear, never gives up and ignores its decider. They run in the parent's
// mailbox and must not block; the child stays suspended until the restart.

// childStrategy restarts a server's actor, or gives it up: one server's
// trouble must not cost the node more than that server.
type childStrategy struct {
	failed func(id string, reason any, gaveUp bool)
}

func (s *childStrategy) HandleFailure(_ *actor.ActorSystem, parent actor.Supervisor, child *actor.PID,
	rs *actor.RestartStatistics, reason any, _ any,
) {
	n := countFailure(rs)
	s.failed(child.Id, reason, n > maxActorFailures)
	if n > maxActorFailures {
		parent.StopChildren(child)
		return
	}
	after(actorDelay(n), func() { parent.RestartChildren(child) })
}

// topStrategy lets an actor at the top go on with its next message. It keeps
// all its state either way; a restart would also stop the children of servers,
// and without any one of these actors the node is of no use, so that none is
// given up.
type topStrategy struct {
	failed func(id string, reason any, gaveUp bool)
}

func (s *topStrategy) HandleFailure(_ *actor.ActorSystem, parent actor.Supervisor, child *actor.PID,
	rs *actor.RestartStatistics, reason any, _ any,
) {
	n := countFailure(rs)
	s.failed(child.Id, reason, false)
	after(actorDelay(n), func() { parent.ResumeChildren(child) })
}

// countFailure returns the failures in the period, this one included.
func countFailure(rs *actor.RestartStatistics) int {
	if rs.NumberOfFailures(actorPeriod) == 0 || rs.FailureCount() > 10*maxActorFailures {
		rs.Reset() // or the list of failures grows for ever
	}
	rs.Fail()
	return rs.NumberOfFailures(actorPeriod)
}

// actorDelay is how long an actor rests after its failure number n.
func actorDelay(n int) time.Duration {
	if n <= 1 {
		return 0
	}
	return min(actorBackoff<<min(n-2, 16), actorBackoffMax)
}

func after(delay time.Duration, f func()) {
	if delay == 0 {
		f()
		return
	}
	time.AfterFunc(delay, f)
}
