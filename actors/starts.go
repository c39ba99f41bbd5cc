package actors

import (
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
		key := startKey(m)
		if s.running[key] {
			delete(s.running, key)
		} else {
			s.forget(key)
		}
		s.grant()
	}
}

func (s *starts) forget(key startKey) {
	for i, w := range s.waiting {
		if w.cell == key.cell && w.epoch == key.epoch {
			s.waiting = append(s.waiting[:i], s.waiting[i+1:]...)
			return
		}
	}
}

func (s *starts) grant() {
	for len(s.running) < s.limit && len(s.waiting) > 0 {
		i := 0
		for j, w := range s.waiting {
			if w.cell.counters.Waiting.Load() > 0 {
				i = j
				break
			}
		}
		w := s.waiting[i]
		s.waiting = append(s.waiting[:i], s.waiting[i+1:]...)
		s.running[startKey(w)] = true
		s.sys.starting.Store(int64(len(s.running)))
		s.sys.tell(w.cell.pid, startGranted{w.epoch})
	}
	s.sys.starting.Store(int64(len(s.running)))
}
