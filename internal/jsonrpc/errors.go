package jsonrpc

import (
	"errors"
	"fmt"
	"strconv"
)

// The classes of refusal, for errors.Is on what [Scan] returns.
var (
	// ErrSyntax: the bytes are no JSON (JSON-RPC code -32700).
	ErrSyntax = errors.New("invalid JSON")
	// ErrInvalidUTF8: a string is not UTF-8, which JSON on the wire has to be (-32700).
	ErrInvalidUTF8 = errors.New("invalid UTF-8")
	// ErrNotJSONRPC: the bytes are JSON but no JSON-RPC 2.0 message (-32600).
	ErrNotJSONRPC = errors.New("not a JSON-RPC 2.0 message")
	// ErrBatch: the message is an array. MCP has no batches any more (-32600).
	// What the array contains is not looked at.
	ErrBatch = errors.New("batches are not supported")
	// ErrDuplicateKey: an inspected object has the same key twice (-32600).
	ErrDuplicateKey = errors.New("duplicate key")
	// ErrTooDeep: the message nests deeper than [Limits] allow.
	ErrTooDeep = errors.New("nested too deeply")
	// ErrTooLarge: the message is longer than [Limits] allow, or an inspected
	// object has more than 4096 members beyond those the protocol names.
	ErrTooLarge = errors.New("message too large")
)

// The reasons within a class. They are made once: a peer that sends rubbish must
// not be able to make the runtime format strings.
var (
	errEnd       = because(ErrSyntax, "unexpected end of the message")
	errValue     = because(ErrSyntax, "a value was expected")
	errKey       = because(ErrSyntax, "an object key was expected")
	errColon     = because(ErrSyntax, "a colon was expected after an object key")
	errDelimiter = because(ErrSyntax, "a comma or the end of the object or array was expected")
	errLiteral   = because(ErrSyntax, "unknown literal")
	errNumber    = because(ErrSyntax, "malformed number")
	errControl   = because(ErrSyntax, "control character in a string")
	errEscape    = because(ErrSyntax, "unknown escape in a string")
	errTrailing  = because(ErrSyntax, "data after the message")
	errBOM       = because(ErrSyntax, "the message starts with a byte order mark")

	errNotObject = because(ErrNotJSONRPC, "the message is not an object")
	errVersion   = because(ErrNotJSONRPC, `the member jsonrpc is not the string 2.0`)
	errNoVersion = because(ErrNotJSONRPC, "the member jsonrpc is missing")
	errID        = because(ErrNotJSONRPC, "the id is neither a string nor a number")
	errNullID    = because(ErrNotJSONRPC, "the id is null")
	errNoID      = because(ErrNotJSONRPC, "a result without an id")
	errMethod    = because(ErrNotJSONRPC, "the method is not a string")
	errParams    = because(ErrNotJSONRPC, "params is neither an object nor an array")
	errError     = because(ErrNotJSONRPC, "error is not an object")
	errBoth      = because(ErrNotJSONRPC, "only one of method, result and error may be present")
	errNeither   = because(ErrNotJSONRPC, "none of method, result and error is present")
	errLookalike = because(ErrNotJSONRPC, "a key differs from a protocol key only in letter case")
	errMembers   = because(ErrTooLarge, "too many members in one object")
)

func because(class error, reason string) error {
	return fmt.Errorf("%w: %s", class, reason)
}

// ScanError is the type of every error [Scan] returns.
type ScanError struct {
	// Offset is the byte of the message at which the fault was noticed.
	Offset int
	// Err wraps one of the sentinel errors of this package.
	Err error
}

// Error describes the fault and its place. It never quotes the message, so it may
// be logged and sent back whatever secrets the message carries.
func (e *ScanError) Error() string {
	return "jsonrpc: " + e.Err.Error() + " (at byte " + strconv.Itoa(e.Offset) + ")"
}

// Unwrap makes errors.Is work with the sentinel errors.
func (e *ScanError) Unwrap() error { return e.Err }
