package actors

import (
	"fmt"
	"log/slog"
	"runtime/debug"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/aabb9013/hangar/supervisor"
)

// engine is the thin layer over the actor library, so that the library can be
// replaced.
type engine struct {
	system *actor.ActorSystem
	root   *actor.RootContext
	top    *topStrategy
	child  *childStrategy
	logger *slog.Logger
}

func newEngine(logger *slog.Logger, failed func(id string, reason any, gaveUp bool)) *engine {
	quiet := slog.New(levelFilter{Handler: logger.Handler(), min: slog.LevelWarn})
	system := actor.NewActorSystem(
		actor.WithLoggerFactory(func(*actor.ActorSystem) *slog.Logger { return quiet }),
		// Dead letters are answered by the senders' own deadlines and by the
		// cells' gone channels; logging them would log arguments.
		actor.WithDeadLetterRequestLogging(false),
		actor.WithDeadLetterThrottleCount(0),
		actor.WithDeadLetterThrottleInterval(time.Millisecond), // a goroutine waits for its end
	)
	// The library's registry is 1,024 maps of 32 shards each, which take 3 MiB
	// while they are empty. A node has not that many cores to keep apart.
	buckets := system.ProcessRegistry.LocalPIDs.LocalPIDs
	for i := range buckets {
		buckets[i] = buckets[i%registryBuckets]
	}
	return &engine{
		system: system, root: system.Root, logger: logger,
		top: &topStrategy{failed}, child: &childStrategy{failed},
	}
}

// registryBuckets is how many maps the actors' names are spread over.
const registryBuckets = 4

// behaviour is an actor's code over state that outlives its restarts. Both
// methods run in the actor's goroutine.
type behaviour interface {
	receive(ctx actor.Context)
	// panicked is told of the message that receive panicked over, which no
	// one will see again: its asker must be answered and what only it would
	// have set free must be set free.
	panicked(msg any, err error)
}

// contain runs a behaviour: a panic fails the message at hand, is logged with
// its stack, and goes on to the strategy.
func (e *engine) contain(name string, b behaviour) actor.ReceiveFunc {
	stopped := false
	return func(ctx actor.Context) {
		msg := ctx.Message()
		if stopped {
			// A restart that was planned before the stop has woken it.
			return // whoever asks it sees that it is gone
		}
		defer func() {
			r := recover()
			if r == nil {
				return
			}
			e.panicked(name, b, msg, r)
			switch msg.(type) {
			case *actor.Stopping, *actor.Stopped, *actor.Restarting:
				return // a panic here would resurrect or wedge the actor
			}
			panic(r)
		}()
		_, stopped = msg.(*actor.Stopped)
		b.receive(ctx)
	}
}

// panicked deals with a panic, in the goroutine that recovered it: it is
// logged with its stack, and the behaviour is told.
func (e *engine) panicked(name string, b behaviour, msg, reason any) {
	e.logger.Error("actor panicked", "actor", name, "message", fmt.Sprintf("%T", msg),
		"panic", fmt.Sprint(reason), "stack", string(debug.Stack()))
	e.clearUp(name, b, msg)
}

// clearUp runs panicked, which may panic in its turn.
func (e *engine) clearUp(name string, b behaviour, msg any) {
	defer func() {
		if r := recover(); r != nil {
			e.logger.Error("actor panicked over its panic", "actor", name, "panic", fmt.Sprint(r))
		}
	}()
	b.panicked(msg, fmt.Errorf("%w: actor %s failed over this message", supervisor.ErrInternal, name))
}

// props builds an actor over state that outlives its restarts.
func (e *engine) props(name string, b behaviour, opts ...actor.PropsOption) *actor.Props {
	contained := e.contain(name, b)
	return actor.PropsFromProducer(func() actor.Actor { return contained },
		append(opts, actor.WithSupervisor(e.child))...)
}

// spawnTop spawns an actor at the top of the tree.
func (e *engine) spawnTop(name string, b behaviour) *actor.PID {
	pid, err := e.root.SpawnNamed(e.props(name, b, actor.WithGuardian(e.top)), name)
	if err != nil {
		panic("actors: " + err.Error()) // the names are ours, each used once
	}
	return pid
}
