package actors

import "time"

const (
	// MaxCancelled bounds the cancellations that one server remembers for calls
	// that have not arrived; one more is forgotten, and its call runs to its
	// deadline.
	MaxCancelled = 1000
	// cancelMemory is how long one is remembered at least: a call that was
	// cancelled on its way arrives in far less, and one that had ended never
	// does.
	cancelMemory = 10 * time.Second
)

// cancelled are the calls that were cancelled before they arrived here: their
// cancellation overtook them, or came while they were handed over again.
type cancelled struct {
	newer, older map[uint64]error
	since        time.Time // of newer
}

func (m *cancelled) len() int { return len(m.newer) + len(m.older) }

// cancelledEarly notes a cancellation whose call is not here.
func (c *cell) cancelledEarly(id uint64, cause error) {
	if c.early == nil {
		c.early = &cancelled{}
	}
	c.early.remember(id, cause)
}

func (m *cancelled) remember(id uint64, cause error) {
	m.forgetOld()
	if m.len() >= MaxCancelled {
		return
	}
	if m.len() == 0 {
		m.since = time.Now()
	}
	if m.newer == nil {
		m.newer = make(map[uint64]error)
	}
	m.newer[id] = cause
}

// take returns why the call that has just arrived was cancelled, nil if it was
// not. Without anything remembered it looks at no clock.
func (m *cancelled) take(id uint64) error {
	if m == nil || m.len() == 0 {
		return nil
	}
	for _, causes := range [...]map[uint64]error{m.newer, m.older} {
		if cause := causes[id]; cause != nil {
			delete(causes, id)
			return cause
		}
	}
	m.forgetOld()
	return nil
}

func (m *cancelled) forgetOld() {
	now := time.Now()
	switch age := now.Sub(m.since); {
	case age > 2*cancelMemory:
		m.newer, m.older = nil, nil
	case age > cancelMemory:
		m.newer, m.older, m.since = nil, m.newer, now
	}
}
