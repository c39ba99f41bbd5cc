package actors

import (
	"slices"

	"github.com/asynkron/protoactor-go/actor"
)

// starts is start admission: at most limit attempts run at once; servers with
// waiting calls go first, then first come first served. Its queue is bounded
// by the number of servers, since each asks for one attempt at a time.
type starts struct {
	sys     *System
	limit   int
	running map[startKey]bool
	waiting []wantStart
	held    bool // the node is out of memory
	trickle int  // starts that are let through all the same
}

type startKey struct {
	cell  *cell
	epoch uint64
}

func newStarts(sys *System, limit int) *starts {
	return &starts{sys: sys, limit: limit, running: make(map[startKey]bool)}
}

func (s *starts) receive(ctx actor.Context) {
	switch m := ctx.Message().(type) {
	case wantStart:
		s.waiting = append(s.waiting, m)
		s.grant()
	case startOver:
		s.forget(startKey(m))
		s.grant()
	case holdStarts:
		// One for each sample, so that nobody waits for ever.
		s.held, s.trickle = m.on, 1
		s.grant()
	}
}

// panicked must not lose a slot, nor leave a server waiting for its turn.
func (s *starts) panicked(msg any, err error) {
	switch m := msg.(type) {
	case wantStart:
		s.forget(startKey(m))
		s.sys.tell(m.cell.pid, startFailed{epoch: m.epoch, err: err})
	case startOver:
		s.forget(startKey(m))
	}
}

// forget takes an attempt out, wherever it is.
func (s *starts) forget(key startKey) {
	delete(s.running, key)
	for i, w := range s.waiting {
		if w.cell == key.cell && w.epoch == key.epoch {
			s.waiting = slices.Delete(s.waiting, i, i+1)
			return
		}
	}
}

func (s *starts) grant() {
	for len(s.running) < s.limit && len(s.waiting) > 0 {
		if s.held {
			if s.trickle == 0 {
				break
			}
			s.trickle--
		}
		i := max(slices.IndexFunc(s.waiting, wantStart.isUrgent), 0)
		w := s.waiting[i]
		s.waiting = slices.Delete(s.waiting, i, i+1)
		s.running[startKey(w)] = true
		s.sys.tell(w.cell.pid, startGranted{w.epoch})
	}
	s.sys.starting.Store(int64(len(s.running)))
}

// isUrgent: somebody waits for this server now.
func (m wantStart) isUrgent() bool { return m.cell.counters.Waiting.Load() > 0 }
