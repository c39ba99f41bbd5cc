package supervisor

// GroupView is what can be seen of a group at one moment. It is immutable.
type GroupView struct {
	Spec      GroupSpec
	State     GroupState
	Circuit   CircuitState
	Healthy   int // members in rotation
	Available bool
	Members   []MemberView // in the order of the spec
	// Counted since the runtime started: calls, tries on a further member,
	// calls that no member could be picked for.
	Calls, Retries, Refused uint64
}

// MemberView is one member with the state of its server.
type MemberView struct {
	Member
	State State
	Phase Phase
}
