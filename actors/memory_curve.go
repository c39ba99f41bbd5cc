package actors

import (
	"sync"
	"time"
)

// MaxMemoryPoints bounds the curve of a server; the oldest go.
const MaxMemoryPoints = 24

// MemoryPoint is one measurement of a server.
type MemoryPoint struct {
	At    time.Time
	Bytes int64
}

// memoryCurve is the last measurements of one instance. It outlives the
// instance, to tell what came before its end. It is safe for concurrent use.
type memoryCurve struct {
	mu     sync.Mutex
	epoch  uint64
	points []MemoryPoint // a ring once it is full
	next   int
}

func (m *memoryCurve) add(epoch uint64, p MemoryPoint) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if epoch != m.epoch {
		m.epoch, m.points, m.next = epoch, m.points[:0], 0
	}
	if len(m.points) < MaxMemoryPoints {
		m.points = append(m.points, p)
		return
	}
	m.points[m.next] = p
	m.next = (m.next + 1) % MaxMemoryPoints
}

func (m *memoryCurve) read() (epoch uint64, points []MemoryPoint) {
	m.mu.Lock()
	defer m.mu.Unlock()
	points = append(points, m.points[m.next:]...)
	return m.epoch, append(points, m.points[:m.next]...)
}

// MemoryCurve returns the last measurements of a server's instance, oldest
// first, and its epoch: those of the one that runs, or of the last one. It is
// empty for a server that never ran for MemoryInterval.
func (s *System) MemoryCurve(id string) (epoch uint64, points []MemoryPoint) {
	if c := s.fleet.Load().byID[id]; c != nil {
		return c.curve.read()
	}
	return 0, nil
}
