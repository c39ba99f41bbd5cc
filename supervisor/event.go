package supervisor

import "time"

// Event is one thing that happened, as the log keeps it. Kind is the
// contract's event_type (reference section 8.1); Data holds its own fields
// under the contract's names. Nobody changes Data after the event was made.
type Event struct {
	Kind   EventKind
	Server string // stream; empty for events about the node or a group
	Group  string // stream; empty for events about the node or a server
	Epoch  uint64
	At     time.Time
	Data   map[string]any
	// Change is what the step whose last event this is made of what is stored of
	// the server; nil if nothing.
	Change *Change
}

// EventKind is an event's type name.
type EventKind string

// The kinds. A new kind needs a row in the contract test of the log.
const (
	ServerRegistered    EventKind = "McpServerRegistered"
	ServerUpdated       EventKind = "McpServerUpdated"
	ServerDeregistered  EventKind = "McpServerDeregistered"
	ServerStarted       EventKind = "McpServerStarted"
	ServerStopped       EventKind = "McpServerStopped"
	ServerStateChanged  EventKind = "McpServerStateChanged"
	ServerDegraded      EventKind = "McpServerDegraded"
	ServerIdleDetected  EventKind = "McpServerIdleDetected"
	ServerStartFailed   EventKind = "McpServerStartFailed"
	ServerCrashed       EventKind = "McpServerCrashed"
	ServerGaveUp        EventKind = "McpServerGaveUp"
	HealthCheckPassed   EventKind = "HealthCheckPassed"
	HealthCheckFailed   EventKind = "HealthCheckFailed"
	ToolsChanged        EventKind = "ToolSchemaChanged"
	InvocationCompleted EventKind = "ToolInvocationCompleted"
	InvocationFailed    EventKind = "ToolInvocationFailed"
	ActorRestarted      EventKind = "ActorRestarted"
	EventsDropped       EventKind = "EventsDropped"
	MemoryPressured     EventKind = "MemoryPressure"
	RuntimeStarted      EventKind = "RuntimeStarted"
	RuntimeStopped      EventKind = "RuntimeStopped" // the last of a run

	GroupCreated               EventKind = "GroupCreated"
	GroupUpdated               EventKind = "GroupUpdated"
	GroupDeleted               EventKind = "GroupDeleted"
	GroupMemberAdded           EventKind = "GroupMemberAdded"
	GroupMemberRemoved         EventKind = "GroupMemberRemoved"
	GroupMemberHealthChanged   EventKind = "GroupMemberHealthChanged"
	GroupStateChanged          EventKind = "GroupStateChanged"
	GroupCircuitOpened         EventKind = "GroupCircuitOpened"
	GroupCircuitClosed         EventKind = "GroupCircuitClosed"
	CircuitBreakerStateChanged EventKind = "CircuitBreakerStateChanged"
	ReloadRequested            EventKind = "ConfigurationReloadRequested"
	Reloaded                   EventKind = "ConfigurationReloaded"
	ReloadFailed               EventKind = "ConfigurationReloadFailed"
)

// The kinds of supervision beyond one server's own life.
const (
	// ServerReset says that an operator forgot failures, budget and give-up;
	// its data is what there was.
	ServerReset EventKind = "McpServerReset"
	// ServerReplaceRequested says that a changed server is to be replaced with
	// both instances side by side, ServerReplaced that the new one has taken
	// over (old_epoch, tools_added, tools_removed, tools_changed),
	// ServerReplaceFailed that it will not and the old one goes on as before.
	ServerReplaceRequested EventKind = "McpServerReplaceRequested"
	ServerReplaced         EventKind = "McpServerReplaced"
	ServerReplaceFailed    EventKind = "McpServerReplaceFailed"
	// SupervisionEscalated says which servers were stopped because the one of
	// the stream was given up: strategy, reason, stopped (ids, in that order).
	SupervisionEscalated EventKind = "SupervisionEscalated"
)
