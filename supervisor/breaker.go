package supervisor

import "time"

// CircuitState is the state of a breaker, spelled as the contract spells it.
type CircuitState string

// The states of a breaker.
const (
	CircuitClosed   CircuitState = "closed"
	CircuitOpen     CircuitState = "open"
	CircuitHalfOpen CircuitState = "half_open"
)

// Breaker is a group's circuit breaker: a value, changed by its methods. The
// zero value is closed.
type Breaker struct {
	state    CircuitState
	Failures int       // in a row, while closed
	Until    time.Time // while open: when it becomes half open
}

// State is the present state.
func (b Breaker) State() CircuitState { return orDefault(b.state, CircuitClosed) }

// failure counts one failure of the group.
func (b *Breaker) failure(threshold int, reset time.Duration, now time.Time) {
	switch b.State() {
	case CircuitClosed:
		if b.Failures++; b.Failures >= threshold {
			b.state, b.Until = CircuitOpen, now.Add(reset)
		}
	case CircuitHalfOpen:
		b.Failures++
		b.state, b.Until = CircuitOpen, now.Add(reset)
	}
}

// success ends a row of failures, and closes a breaker that was waiting for
// it. An open one waits: what succeeds now was begun before.
func (b *Breaker) success() {
	if b.State() != CircuitOpen {
		*b = Breaker{}
	}
}

// elapsed makes an open breaker half open when its time has come, and tells
// whether it did.
func (b *Breaker) elapsed(now time.Time) bool {
	if b.state != CircuitOpen || now.Before(b.Until) {
		return false
	}
	b.state, b.Until = CircuitHalfOpen, time.Time{}
	return true
}
