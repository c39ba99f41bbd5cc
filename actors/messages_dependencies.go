package actors

import (
	"time"

	"github.com/aabb9013/hangar/supervisor"
)

// Messages between servers and the dependencies actor.

// To a server's actor.
type (
	// serveWanted: dependencies, registry → server; answered once it is ready or
	// cannot be. It is no operator's wish: backoff and give-up stand. An urgent
	// one is for a call that waits at another server.
	serveWanted struct {
		answer func(err error)
		urgent bool
	}
	// hurryUp: dependencies → server; a call waits for it at another server.
	hurryUp struct{}
	// stopFor: dependencies → server; answered once no instance runs.
	stopFor struct {
		reason string
		then   supervisor.Cause // 0: no start follows
		cause  error            // for whoever waits; nil: they go on waiting
		answer func(err error)
	}
	// mayStart: dependencies → server; the attempt may ask for admission.
	mayStart struct{ epoch uint64 }
)

func (m serveWanted) fail(err error) { m.answer(err) }
func (m stopFor) fail(err error)     { m.answer(err) }

// To the dependencies actor.
type (
	// wantUp: server → dependencies; answered by mayStart, or by startFailed
	// with a DependencyError.
	wantUp struct {
		cell    *cell
		epoch   uint64
		needs   []string
		timeout time.Duration
		keep    bool // start again by itself when the dependencies serve
		urgent  bool // a call waits for it
	}
	// hurryWait: server → dependencies; the first call waits for an attempt that
	// may still wait for its dependencies.
	hurryWait struct{ cell *cell }
	// memberFact: server → dependencies; what happened to it.
	memberFact struct {
		cell   *cell
		kind   factKind
		epoch  uint64
		reason string
	}
	// startWithdrawn: server → dependencies; an operator stopped it.
	startWithdrawn struct{ cell *cell }
	// dependencyAnswered: server → dependencies; need is ready, or why not.
	dependencyAnswered struct {
		wait *dependencyWait
		need string
		err  error
	}
	// waitElapsed: a timer → dependencies.
	waitElapsed struct{ wait *dependencyWait }
	// stoppedFor: server → dependencies; no instance runs. escalation is nil if
	// it was stopped to be restarted.
	stoppedFor struct {
		cell       *cell
		escalation *escalation
	}
)

type factKind uint8

const (
	memberCrashed factKind = iota + 1 // or was lost with the reaper; it comes back by a restart of its own
	memberServes
	memberRetries // its start failed, another is planned
	memberFailed  // its start failed, none is planned
	memberStopped
	memberReset // an operator ended its backoff; it is cold
	memberGaveUp
)
