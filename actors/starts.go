package actors

import "github.com/asynkron/protoactor-go/actor"

// starts is start admission: at most limit attempts run at once, the others
// wait in the order of startQueue. The queue is bounded by the number of
// servers, since each asks for one attempt at a time.
type starts struct {
	sys     *System
	limit   int
	running map[startKey]bool
	waiting *startQueue
	held    bool // the node is out of memory
	trickle int  // starts that are let through all the same
}

type startKey struct {
	cell  *cell
	epoch uint64
}

func newStarts(sys *System, limit int) *starts {
	return &starts{sys: sys, limit: limit, running: make(map[startKey]bool), waiting: newStartQueue()}
}

func (s *starts) receive(ctx actor.Context) {
	switch m := ctx.Message().(type) {
	case wantStart:
		s.waiting.push(m)
		s.grant()
	case hurryStart:
		s.waiting.hurry(startKey(m))
	case startOver:
		s.forget(startKey(m))
		s.grant()
	case holdStarts:
		// One for each sample, so that nobody waits for ever.
		s.held, s.trickle = m.on, 1
		s.grant()
	case limitStarts:
		s.limit = m.limit
		s.grant()
	}
}

// panicked must not lose a slot, nor leave a server waiting for its turn.
func (s *starts) panicked(msg any, err error) {
	switch m := msg.(type) {
	case wantStart:
		s.forget(m.key())
		s.sys.tell(m.cell.pid, startFailed{epoch: m.epoch, err: err})
	case startOver:
		s.forget(startKey(m))
	}
}

// forget takes an attempt out, wherever it is.
func (s *starts) forget(key startKey) {
	delete(s.running, key)
	s.waiting.remove(key)
}

func (s *starts) grant() {
	for len(s.running) < s.limit && s.waiting.len() > 0 {
		if s.held {
			if s.trickle == 0 {
				break
			}
			s.trickle--
		}
		w := s.waiting.pop()
		s.running[w.key()] = true
		s.sys.tell(w.cell.pid, startGranted{w.epoch})
	}
	s.sys.starting.Store(int64(len(s.running)))
	s.sys.startsWaiting.Store(int64(s.waiting.len()))
}

func (m wantStart) key() startKey { return startKey{m.cell, m.epoch} }
