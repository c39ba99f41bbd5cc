package actors

import (
	"fmt"
	"runtime/debug"

	"github.com/aabb9013/hangar/supervisor"
)

// contained is deferred by every goroutine that works for an actor: a panic in
// it, say in a backend, becomes the error of the one message it ends in, and
// not the end of the node.
func (s *System) contained(what string, failed func(err error)) {
	r := recover()
	if r == nil {
		return
	}
	s.logger.Error("goroutine panicked", "goroutine", what, "panic", fmt.Sprint(r), "stack", string(debug.Stack()))
	failed(fmt.Errorf("%w: %s panicked", supervisor.ErrInternal, what))
}

// run does work in a goroutine that Close waits for. Only actors call it:
// they are stopped before Close waits.
func (s *System) run(what string, failed func(err error), work func()) {
	s.goes.Add(1)
	go func() {
		defer s.goes.Done()
		defer s.contained(what, failed)
		work()
	}()
}
