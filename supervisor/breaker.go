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
	Until    time.Time // while open: when it becomes half open, or closed after a recovery
	// recovered: while it was open something succeeded, and nothing failed since.
	recovered bool
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
	case CircuitOpen:
		b.recovered = false
	}
}

// success ends a row of failures, and closes a half-open breaker. An open one
// waits for its time: what succeeds now may have been begun before.
func (b *Breaker) success() {
	if b.State() == CircuitOpen {
		b.recovered = true
		return
	}
	*b = Breaker{}
}

// wants tells whether a success would change it.
func (b Breaker) wants() bool {
	switch b.State() {
	case CircuitHalfOpen:
		return true
	case CircuitOpen:
		return !b.recovered
	}
	return b.Failures > 0
}

// elapsed closes an open breaker whose time has come if there was a recovery
// meanwhile, which is as good as a probe; else it becomes half open. It tells
// whether it did.
func (b *Breaker) elapsed(now time.Time) (halfOpen bool) {
	switch {
	case b.state != CircuitOpen || now.Before(b.Until):
		return false
	case b.recovered:
		*b = Breaker{}
		return false
	}
	b.state, b.Until = CircuitHalfOpen, time.Time{}
	return true
}
