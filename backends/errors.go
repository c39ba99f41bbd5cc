package backends

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
)

// Conditions callers branch on with errors.Is. Where the text of one is a single
// word it is the code under which crashes and refusals name it.
var (
	ErrClosed          = errors.New("instance is gone")
	ErrBusy            = errors.New("instance does not read its input")
	ErrCrashed         = errors.New("server crashed")
	ErrStdinStalled    = errors.New("stdin_stalled")
	ErrMessageTooLarge = errors.New("message_too_large")
	ErrProtocol        = errors.New("protocol_error")
	ErrStdoutClosed    = errors.New("stdout_closed")
	ErrStdinClosed     = errors.New("stdin closed (broken pipe)")
	ErrDeadline        = errors.New("deadline passed")
	ErrUnresponsive    = errors.New("unresponsive")
	// ErrPermanent marks a start error that another try cannot mend.
	ErrPermanent = errors.New("permanent start error")
	// ErrResource marks a start error for want of processes or descriptors.
	ErrResource = errors.New("resource_exhausted")
	// ErrReaperLost ends an instance whose reaper process ended, and fails a
	// start that found none. It is an ErrResource: no fault of the server.
	ErrReaperLost error = resourceError("the reaper process was lost")
)

// resourceError is an ErrResource with a text of its own.
type resourceError string

func (e resourceError) Error() string { return string(e) }

// Is makes it an ErrResource.
func (e resourceError) Is(target error) bool { return target == ErrResource }

// Stage names the step of a start that failed.
type Stage string

// The stages of a start.
const (
	StageSpawn      Stage = "spawn"
	StageInitialize Stage = "initialize"
	StageTools      Stage = "tools/list"
)

// StartError says which stage of which server's start failed and why. Err may
// be or wrap ErrPermanent or ErrResource.
type StartError struct {
	Server string
	Stage  Stage
	Err    error
}

func (e *StartError) Error() string {
	return fmt.Sprintf("cannot start server %q: %s", e.Server, e.Reason())
}

// Reason is the error for whoever knows already which server did not start.
func (e *StartError) Reason() string { return fmt.Sprintf("%s: %v", e.Stage, e.Err) }

func (e *StartError) Unwrap() error { return e.Err }

// CrashError finishes a call whose instance ended. Sent tells whether the
// call had been written to it: then its effect is unknown, else it had none.
type CrashError struct {
	Server string
	Exit   Exit
	Sent   bool
}

func (e *CrashError) Error() string {
	fate := "the call was not sent to it"
	if e.Sent {
		fate = "the call had been sent to it, whether it took effect is unknown"
	}
	return fmt.Sprintf("server %q ended (%s): %s", e.Server, e.Exit, fate)
}

// Is makes every CrashError ErrCrashed.
func (e *CrashError) Is(target error) bool { return target == ErrCrashed }

func (e *CrashError) Unwrap() error { return e.Exit.Err }

func (e Exit) String() string {
	how := "exit code " + strconv.Itoa(e.Code)
	if e.Signal != "" {
		how = "signal " + e.Signal
	}
	if e.Err != nil {
		how = e.Err.Error() + ", " + how
	}
	if e.OOM {
		how = fmt.Sprintf("oom_killed: memory limit %s, peak %s, %s", FormatBytes(e.MemoryLimit), FormatBytes(e.MemoryPeak), how)
	}
	return how
}

// RPCError is a JSON-RPC error answered to a control request.
type RPCError struct {
	Code    int
	Message string
}

func (e *RPCError) Error() string { return fmt.Sprintf("JSON-RPC error %d: %s", e.Code, e.Message) }

// ParseRPCError reads the error member of a JSON-RPC response.
func ParseRPCError(raw []byte) error {
	var e struct {
		Code    int    `json:"code"`
		Message string `json:"message"`
	}
	if err := json.Unmarshal(raw, &e); err != nil {
		return errors.Join(ErrProtocol, err)
	}
	return &RPCError{Code: e.Code, Message: e.Message}
}
