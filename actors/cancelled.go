package actors

import "time"

const (
	// MaxCancelled bounds the cancellations that one server remembers for calls
	// that have not arrived; one more is forgotten, and its call runs to its
	// deadline.
	MaxCancelled = 1000
	// cancelMemory is how long they are remembered: a call that was cancelled
	// on its way arrives in far less, and one that had ended never does.
	cancelMemory = 10 * time.Second
)

// cancelled are the calls that were cancelled before they arrived here: their
// cancellation overtook them, or came while they were handed over again.
type cancelled struct {
	causes map[uint64]error
	last   time.Time // when the newest was remembered
}

func (m *cancelled) remember(id uint64, cause error) {
	m.forgetOld()
	if len(m.causes) >= MaxCancelled {
		return
	}
	if m.causes == nil {
		m.causes = make(map[uint64]error)
	}
	m.causes[id], m.last = cause, time.Now()
}

// take returns why the call that has just arrived was cancelled, nil if it was
// not. Without anything remembered it costs one look at a map.
func (m *cancelled) take(id uint64) error {
	if len(m.causes) == 0 {
		return nil
	}
	cause := m.causes[id]
	delete(m.causes, id)
	m.forgetOld()
	return cause
}

func (m *cancelled) forgetOld() {
	if len(m.causes) == 0 || time.Since(m.last) > cancelMemory {
		m.causes = nil
	}
}
