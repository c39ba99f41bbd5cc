package jsonrpc

import "math"

const (
	// DefaultMaxBytes is the longest message accepted when [Limits] says nothing.
	DefaultMaxBytes = 16 << 20
	// DefaultMaxDepth is the deepest nesting accepted when [Limits] says nothing.
	DefaultMaxDepth = 128
)

// Limits bound one message. A field that is zero or negative stands for its
// default. MaxDepth counts open objects and arrays, the message itself included.
// MaxBytes includes surrounding whitespace and never exceeds 2 GiB - 1, which is
// as far as a [Span] reaches.
type Limits struct{ MaxBytes, MaxDepth int }

func (l Limits) normalize() Limits {
	if l.MaxBytes <= 0 {
		l.MaxBytes = DefaultMaxBytes
	}
	if l.MaxDepth <= 0 {
		l.MaxDepth = DefaultMaxDepth
	}
	l.MaxBytes = min(l.MaxBytes, math.MaxInt32)
	return l
}

// Span is a half-open byte range of the scanned message. The zero Span is
// absent; it cannot be confused with a token, since none starts at byte 0 except
// the message itself.
type Span struct{ Start, End int32 }

// Present reports whether the message has what the span stands for.
func (s Span) Present() bool { return s.End != 0 }

// Of returns the bytes of the span in b, the message it was scanned from: a
// sub-slice of b, not a copy. It returns nil if the span is absent.
func (s Span) Of(b []byte) []byte {
	if s.End == 0 {
		return nil
	}
	return b[s.Start:s.End:s.End]
}

// Kind tells the four kinds of JSON-RPC message apart.
type Kind uint8

const (
	// Invalid is the kind of everything [Scan] did not accept.
	Invalid Kind = iota
	// Request has a method and an id that is a string or a number.
	Request
	// Notification has a method and no id.
	Notification
	// Response has a result, and an id that is a string or a number.
	Response
	// ErrorResponse has an error object. Its id may be null, or absent as newer
	// MCP revisions allow, if the peer could not read the id it answers.
	ErrorResponse
)

// String returns the kind in words, for logs and tests.
func (k Kind) String() string {
	switch k {
	case Request:
		return "request"
	case Notification:
		return "notification"
	case Response:
		return "response"
	case ErrorResponse:
		return "error response"
	default:
		return "invalid"
	}
}

// Envelope is what [Scan] found in one message. It holds positions, not bytes,
// and so may outlive the buffer and be reused; it has no pointers.
type Envelope struct {
	// Kind is Invalid unless Scan returned nil.
	Kind Kind
	// IsError is true if result is an object whose isError is literally true:
	// the failure of an MCP tool, as opposed to a JSON-RPC error.
	IsError bool
	// HasNewline is true if the message contains \n or \r. Inside strings JSON
	// forbids both, so they are whitespace, and the Append functions drop them.
	HasNewline bool

	// ID is the raw token of the id: a number, a string or null.
	ID Span
	// Method is the raw token of the method, quotes included. See [Unquote].
	Method Span
	// Params is the raw value of params, an object or an array.
	Params Span
	// Result is the raw value of result, of any type; Error that of error, an object.
	Result, Error Span

	// Name is the raw token of params.name, quotes included; absent if not a string.
	Name Span
	// Arguments is the raw value of params.arguments, of any type.
	Arguments Span
	// ProgressToken is the raw token of params._meta.progressToken; absent if
	// neither string nor number.
	ProgressToken Span
	// ParamsToken is the raw token of params.progressToken, which
	// notifications/progress has; absent if neither string nor number.
	ParamsToken Span
	// RequestID is the raw token of params.requestId, which
	// notifications/cancelled has; absent if neither string nor number.
	RequestID Span
}
