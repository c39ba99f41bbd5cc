package supervisor

import (
	"errors"

	"github.com/aabb9013/hangar/backends"
)

// errorNames are the contract's names (reference section 2.2) of what can end a
// call, a start or a change, and ours where it has none; the first match wins.
var errorNames = []struct {
	is   error
	name string
}{
	// First: it wraps what the last member answered.
	{ErrGroupUnavailable, "NoAvailableMemberError"},
	{ErrGroupNotFound, "McpServerNotFoundError"},
	{ErrGroupExists, "ValidationError"},
	{ErrServerNotFound, "McpServerNotFoundError"},
	{ErrToolNotFound, "ToolNotFoundError"},
	{ErrServerExists, "ValidationError"},
	{ErrInvalidSpec, "ValidationError"},
	{ErrNotBuilt, "ValidationError"},
	{ErrInUse, "McpServerInUseError"},
	{ErrReplaceFailed, "McpServerReplaceError"},
	{ErrStopped, "McpServerNotReadyError"},
	{ErrCannotStart, "CannotStartMcpServerError"},
	{ErrStartFailed, "McpServerStartError"},
	{ErrOverloaded, "RateLimitExceededError"},
	{ErrClosing, "RuntimeClosingError"},
	{ErrReadOnly, "StateReadOnlyError"},
	{ErrInMemory, "StateInMemoryError"},
	{ErrCallTimeout, "ToolTimeoutError"},
	{ErrInternal, "InternalServerError"},

	{backends.ErrCrashed, "McpServerCrashedError"},
	{backends.ErrBusy, "RateLimitExceededError"},
	{backends.ErrMessageTooLarge, "McpServerCrashedError"},
	{backends.ErrProtocol, "McpServerCrashedError"},
	{backends.ErrStdoutClosed, "McpServerCrashedError"},
	{backends.ErrStdinStalled, "McpServerCrashedError"},
	{backends.ErrStdinClosed, "McpServerCrashedError"},
	{backends.ErrDeadline, "ToolTimeoutError"},
	{backends.ErrUnresponsive, "McpServerCrashedError"},
	{backends.ErrClosed, "McpServerCrashedError"},
	{backends.ErrPermanent, "McpServerStartError"},
	{backends.ErrReaperLost, "McpServerStartError"},
	{backends.ErrResource, "McpServerStartError"},
}

// ErrorName is the contract's name of an error, in answers as in the log; empty
// when it has none.
func ErrorName(err error) string {
	for _, row := range errorNames {
		if errors.Is(err, row.is) {
			return row.name
		}
	}
	return ""
}
