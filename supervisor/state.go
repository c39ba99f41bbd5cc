package supervisor

import "fmt"

// State is the public state of a server: the contract's five, never a sixth.
type State uint8

// The states. Zero means unset.
const (
	Cold State = iota + 1
	Initializing
	Ready
	Degraded
	Dead
)

var stateNames = [...]string{"unset", "cold", "initializing", "ready", "degraded", "dead"}

func (s State) String() string {
	if int(s) < len(stateNames) {
		return stateNames[s]
	}
	return fmt.Sprintf("state(%d)", uint8(s))
}

// MarshalText makes a state its name in JSON.
func (s State) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// Phase refines a state; it is an extra field for people, never a state.
type Phase uint8

// The phases: Stopping while an instance is being ended, Backoff while a
// restart waits for its time, GaveUp when the restart budget is used up.
const (
	PhaseNone Phase = iota
	PhaseStopping
	PhaseBackoff
	PhaseGaveUp
)

var phaseNames = [...]string{"", "stopping", "backoff", "gave_up"}

func (p Phase) String() string {
	if int(p) < len(phaseNames) {
		return phaseNames[p]
	}
	return fmt.Sprintf("phase(%d)", uint8(p))
}
