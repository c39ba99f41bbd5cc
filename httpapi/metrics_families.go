package httpapi

import "github.com/prometheus/client_golang/prometheus"

// family is one metric of /metrics. The names and labels are the contract's
// (reference section 9.3) where it has one. No label takes a value that a
// client makes up: ids are those of servers and groups that exist.
type family struct {
	desc *prometheus.Desc
	kind prometheus.ValueType
}

// families are all that fleetCollector sends.
var families []family

func newFamily(kind prometheus.ValueType, name, help string, labels ...string) family {
	f := family{prometheus.NewDesc("mcp_hangar_"+name, help, labels, nil), kind}
	families = append(families, f)
	return f
}

func gauge(name, help string, labels ...string) family {
	return newFamily(prometheus.GaugeValue, name, help, labels...)
}

func counter(name, help string, labels ...string) family {
	return newFamily(prometheus.CounterValue, name+"_total", help, labels...)
}

const (
	byServer = "mcp_server"
	byGroup  = "group"
)

// The node.
var (
	buildInfo        = gauge("build_info", "The runtime's build; always 1.", "version", "go_version")
	processStart     = gauge("process_start_time_seconds", "When the runtime was started, in seconds since 1970.")
	readOnly         = gauge("read_only", "1 while changes are refused because they cannot be stored.")
	memoryBytes      = gauge("memory_bytes", "Memory of all servers when last measured.")
	memoryBudget     = gauge("memory_budget_bytes", "The node's memory budget; absent without one.")
	memoryPressure   = gauge("memory_pressure", "1 while idle servers are stopped for want of memory.")
	startsHeld       = gauge("starts_held", "1 while starts are let through one at a time for want of memory.")
	startsInProgress = gauge("starts_in_progress", "Start attempts that run.")
	startsWaiting    = gauge("starts_waiting", "Start attempts that wait for their turn.")
	logBytes         = gauge("event_log_bytes", "Bytes of the retained event log.")
	logMaxBytes      = gauge("event_log_max_bytes", "Bytes from which the oldest events go; absent without a bound.")
	logPosition      = gauge("event_log_position", "Position of the newest event.")
	eventsDropped    = counter("events_dropped", "Events and records of calls that did not reach the log since the runtime started.")
	actorFailures    = counter("actor_failures", "Panics of an actor at the top of the supervision tree, after each of which it went on.", "actor")
)

// Servers.
var (
	serverInfo        = gauge("mcp_server_info", "A server and its mode; always 1.", byServer, "mode")
	serverState       = gauge("mcp_server_state", "0 cold, 1 initializing, 2 ready, 3 degraded, 4 dead.", byServer)
	serverUp          = gauge("mcp_server_up", "1 while an instance runs and answers.", byServer)
	serverInitialized = gauge("mcp_server_initialized", "1 while an instance runs that has completed the handshake.", byServer)
	serverChanged     = gauge("mcp_server_last_state_change_timestamp_seconds", "When the state changed last; absent before the first change.", byServer)
	serverStarts      = counter("mcp_server_starts", "Start attempts that ended, by result: success, failure.", byServer, "result")
	serverStops       = counter("mcp_server_stops", "Stops that were wanted, by reason: idle, exited, memory_budget, config_reload, dependency, requested. Absent before the first.", byServer, "reason")
	serverCrashes     = counter("mcp_server_crashes", "Instances that ended without anybody wanting it.", byServer)
	serverRestarts    = counter("mcp_server_restarts", "Automatic restarts.", byServer)
	serverGaveUp      = counter("mcp_server_give_ups", "How often the server was given up.", byServer)
	serverBudget      = gauge("mcp_server_restart_budget_remaining", "Automatic restarts that are left in the present period.", byServer)
	serverActor       = counter("mcp_server_actor_failures", "Panics of the server's actor. Absent before the first.", byServer)
	serverWaiting     = gauge("mcp_server_calls_waiting", "Calls that wait for the server.", byServer)
	serverMemory      = gauge("mcp_server_memory_bytes", "Memory of the instance's processes when last measured; absent until then.", byServer)
	toolCalls         = counter("tool_calls", "Finished tool calls.", byServer)
	toolCallErrors    = counter("tool_call_errors", "Finished tool calls that failed.", byServer)
	healthChecks      = counter("health_checks", "Health checks, by result: healthy, unhealthy.", byServer, "result")
	healthFailures    = gauge("health_check_consecutive_failures", "Health checks in a row without an answer.", byServer)
)

// Groups.
var (
	groupMembers   = gauge("group_members", "Members of the group.", byGroup)
	groupRotation  = gauge("group_members_in_rotation", "Members that calls go to.", byGroup)
	groupAvailable = gauge("group_available", "1 while the breaker is not open and a member is in rotation.", byGroup)
	groupCalls     = counter("group_calls", "Calls of the group.", byGroup)
	groupRetries   = counter("group_retries", "Calls tried at a further member.", byGroup)
	groupRefused   = counter("group_refused", "Calls that no member could be picked for.", byGroup)
	breakerState   = gauge("circuit_breaker_state", "State of a group's breaker: 1 for the present one of closed, open, half_open. mcp_server is the group's id.", byServer, "state")
)
