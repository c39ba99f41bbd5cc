package actors

import (
	"fmt"
	"log/slog"
	"runtime/debug"
	"time"

	"github.com/asynkron/protoactor-go/actor"
)

// engine is the thin layer over the actor library, so that the library can be
// replaced.
type engine struct {
	system   *actor.ActorSystem
	root     *actor.RootContext
	strategy *restartStrategy
	logger   *slog.Logger
}

func newEngine(logger *slog.Logger, failed func(id string, reason any, gaveUp bool)) *engine {
	quiet := slog.New(levelFilter{Handler: logger.Handler(), min: slog.LevelWarn})
	system := actor.NewActorSystem(
		actor.WithLoggerFactory(func(*actor.ActorSystem) *slog.Logger { return quiet }),
		// Dead letters are answered by the senders' own deadlines and by the
		// cells' gone channels; logging them would log arguments.
		actor.WithDeadLetterRequestLogging(false),
		actor.WithDeadLetterThrottleCount(0),
	)
	return &engine{
		system: system, root: system.Root, logger: logger,
		strategy: &restartStrategy{failed: failed},
	}
}

// failable messages know how to answer their asker when an actor panics over
// them.
type failable interface{ fail(err error) }

// contain wraps a Receive function: a panic fails the message at hand, is
// logged with its stack, and goes on to the strategy.
func (e *engine) contain(name string, receive func(actor.Context)) func(actor.Context) {
	return func(ctx actor.Context) {
		defer func() {
			r := recover()
			if r == nil {
				return
			}
			e.logger.Error("actor panicked", "actor", name, "message", fmt.Sprintf("%T", ctx.Message()),
				"panic", fmt.Sprint(r), "stack", string(debug.Stack()))
			failMessage(ctx.Message(), fmt.Errorf("%w: actor %s failed over this message", errPanic, name))
			switch ctx.Message().(type) {
			case *actor.Stopping, *actor.Stopped, *actor.Restarting:
				return // a panic here would resurrect or wedge the actor
			}
			panic(r)
		}()
		receive(ctx)
	}
}

// props builds an actor over state that outlives its restarts.
func (e *engine) props(name string, receive func(actor.Context), opts ...actor.PropsOption) *actor.Props {
	contained := actor.ReceiveFunc(e.contain(name, receive))
	return actor.PropsFromProducer(func() actor.Actor { return contained },
		append(opts, actor.WithSupervisor(e.strategy))...)
}

// serverBurst is how many messages a server's actor handles before it lets
// others run.
const serverBurst = 300

// onSender makes an actor handle its messages on the goroutine that sends
// them, one at a time as ever. A call then needs no goroutine between the
// HTTP handler and the pipe, which a tenth of its cost went into. Such an
// actor must never block, and whoever sends to it must hold no lock that the
// actor could want.
func onSender() actor.PropsOption {
	return actor.WithDispatcher(actor.NewSynchronizedDispatcher(serverBurst))
}

// spawnTop spawns an actor at the top of the tree.
func (e *engine) spawnTop(name string, receive func(actor.Context)) *actor.PID {
	pid, err := e.root.SpawnNamed(e.props(name, receive, actor.WithGuardian(e.strategy)), name)
	if err != nil {
		panic("actors: " + err.Error()) // the names are ours, each used once
	}
	return pid
}

// Restarts of actors: at once, then doubling up to a cap; given up after
// maxActorFailures within actorPeriod.
const (
	maxActorFailures = 10
	actorPeriod      = 60 * time.Second
	actorBackoff     = 10 * time.Millisecond
	actorBackoffMax  = 5 * time.Second
)

// restartStrategy supervises every actor. The library's own "exponential"
// strategy is linear, never gives up and ignores its decider.
type restartStrategy struct {
	failed func(id string, reason any, gaveUp bool)
}

// HandleFailure restarts the child with exponential delay or gives it up. It
// runs in the parent's mailbox and must not block; the child stays suspended
// until the restart.
func (s *restartStrategy) HandleFailure(system *actor.ActorSystem, parent actor.Supervisor, child *actor.PID,
	rs *actor.RestartStatistics, reason any, _ any,
) {
	rs.Fail()
	n := rs.NumberOfFailures(actorPeriod)
	if n > maxActorFailures {
		s.failed(child.Id, reason, true)
		parent.StopChildren(child)
		return
	}
	s.failed(child.Id, reason, false)
	if n <= 1 {
		parent.RestartChildren(child)
		return
	}
	delay := min(actorBackoff<<(n-2), actorBackoffMax)
	time.AfterFunc(delay, func() { parent.RestartChildren(child) })
}
