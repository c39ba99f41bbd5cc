package supervisor

// legal is the transition table of the contract; doc.go draws it, and a test
// compares the two.
var legal = [...]map[State]bool{
	Cold:         {Initializing: true},
	Initializing: {Ready: true, Dead: true, Degraded: true, Cold: true},
	Ready:        {Degraded: true, Dead: true, Cold: true},
	Degraded:     {Initializing: true, Cold: true, Dead: true},
	Dead:         {Initializing: true, Cold: true, Degraded: true},
}

// Legal reports whether a server may go from one state to the other in one
// transition. A state is no transition to itself. One Step may take several
// transitions, each of them legal and each with its own event.
func Legal(from, to State) bool {
	return int(from) < len(legal) && legal[from][to]
}

// become is the only place that changes the state. An illegal transition is a
// bug of this package, which the fuzz test looks for; the machine then stays
// where it is, because a wrong state is worse than a late one.
func (s *step) become(to State) {
	from := s.m.State
	if !Legal(from, to) {
		return
	}
	s.m.State = to
	s.emit(ServerStateChanged, map[string]any{
		"old_state": from.String(),
		"new_state": to.String(),
	})
}
