package persistence

import (
	"encoding/binary"
	"encoding/json"
	"math"
	"strconv"
	"time"
	"unicode/utf8"
)

// A record, in a CallBuffer and in a block, is a frame:
//
//	uvarint  length of what follows
//	1 byte   record type
//	         owner: in a CallBuffer  uvarint length + server id
//	                in a block       uvarint number of the stream in the block's directory
//	         body of the type
//
// Body of type 1, a call:
//
//	1 byte   outcome: 1 completed, 2 tool error, 3 failed
//	8 bytes  start, unix nanoseconds, big endian
//	uvarint  call id
//	uvarint  duration, nanoseconds
//	uvarint  request bytes
//	uvarint  result bytes
//	uvarint + bytes  tool name
//	unless completed:
//	uvarint + bytes  error type
//	uvarint + bytes  error message
//
// Body of type 2, an event:
//
//	8 bytes  time, unix seconds, big endian
//	4 bytes  time, nanoseconds, big endian
//	uvarint + bytes  kind
//	         data, to the end of the frame
//
// A CallBuffer pads the length of a frame to two bytes, so that it can be
// written after the rest. A reader that meets another type skips the frame and
// shows an event of KindUnknown; that is how types are added without a new
// format version.
const (
	recordCall  = 1
	recordEvent = 2
)

// What a call record keeps of longer strings, in bytes. With the numbers it
// stays far below the 16383 bytes a padded length can say.
const (
	maxServerName = 256
	maxToolName   = 128
	maxErrorType  = 64
	maxErrorText  = 200
)

// Outcome is how a call ended.
type Outcome uint8

const (
	// Completed: a result.
	Completed Outcome = 1 + iota
	// ToolError: a result that says isError.
	ToolError
	// Failed: no result.
	Failed
)

// String returns the word used in logs.
func (o Outcome) String() string {
	switch o {
	case Completed:
		return "completed"
	case ToolError:
		return "tool_error"
	case Failed:
		return "failed"
	}
	return "Outcome(" + strconv.Itoa(int(o)) + ")"
}

// CallRecord is one finished call. Longer strings are cut at a character: server
// 256 bytes, tool 128, error type 64, error 200.
type CallRecord struct {
	Server, Tool string
	CallID       uint64 // unique within the run
	Start        int64  // unix nanoseconds
	Duration     time.Duration
	RequestBytes int
	ResultBytes  int
	Outcome      Outcome
	ErrorType    string // short type name; only for Failed and ToolError
	Error        string // short message; only for Failed and ToolError
}

// CorrelationID is how events name a call: hex(run id)-hex(call id).
func CorrelationID(runID, callID uint64) string {
	return string(appendCorrelationID(make([]byte, 0, 33), runID, callID))
}

func appendCorrelationID(dst []byte, runID, callID uint64) []byte {
	dst = strconv.AppendUint(dst, runID, 16)
	dst = append(dst, '-')
	return strconv.AppendUint(dst, callID, 16)
}

// appendPackedCall appends the frame of a call with the server's name in it.
func appendPackedCall(dst []byte, r *CallRecord) []byte {
	start := len(dst)
	dst = append(dst, 0, 0, recordCall)
	dst = appendString(dst, clip(r.Server, maxServerName))
	dst = append(dst, byte(r.Outcome))
	dst = binary.BigEndian.AppendUint64(dst, uint64(r.Start))
	dst = binary.AppendUvarint(dst, r.CallID)
	dst = binary.AppendUvarint(dst, uint64(max(r.Duration, 0)))
	dst = binary.AppendUvarint(dst, uint64(max(r.RequestBytes, 0)))
	dst = binary.AppendUvarint(dst, uint64(max(r.ResultBytes, 0)))
	dst = appendString(dst, clip(r.Tool, maxToolName))
	if r.Outcome != Completed {
		dst = appendString(dst, clip(r.ErrorType, maxErrorType))
		dst = appendString(dst, clip(r.Error, maxErrorText))
	}
	n := len(dst) - start - 2
	dst[start] = byte(n) | 0x80
	dst[start+1] = byte(n >> 7)
	return dst
}

// packedBound is at least the size of r's packed frame: 2 + 1 + 1 + 8 bytes,
// four uvarints of 10, four lengths of 2 and the strings.
func packedBound(r *CallRecord) int {
	return 60 + min(len(r.Server), maxServerName) + min(len(r.Tool), maxToolName) +
		min(len(r.ErrorType), maxErrorType) + min(len(r.Error), maxErrorText)
}

// appendEventBody appends type, stream number and body of an event's record.
func appendEventBody(dst []byte, stream int, e *Event) []byte {
	dst = append(dst, recordEvent)
	dst = binary.AppendUvarint(dst, uint64(stream))
	dst = binary.BigEndian.AppendUint64(dst, uint64(e.At.Unix()))
	dst = binary.BigEndian.AppendUint32(dst, uint32(e.At.Nanosecond()))
	dst = appendString(dst, e.Kind)
	return append(dst, e.Data...)
}

// decodeRecord reads type and body of a record whose owner was read before,
// into the fields of e that it knows: Kind, At and Data. Nothing in e refers to
// r afterwards.
func decodeRecord(kind byte, r *reader, runID uint64, e *Event) bool {
	switch kind {
	case recordCall:
		return decodeCall(r, runID, e)
	case recordEvent:
		sec, nsec := int64(r.uint64()), int64(r.uint32())
		name := r.bytes()
		if r.failed || nsec >= 1e9 {
			return false
		}
		e.At = time.Unix(sec, nsec).UTC()
		e.Kind = string(name)
		e.Data = append(json.RawMessage(nil), r.rest...)
		return true
	default:
		e.At = time.Unix(0, 0).UTC()
		e.Kind = KindUnknown
		e.Data = append(strconv.AppendUint([]byte(`{"record_type":`), uint64(kind), 10), '}')
		return true
	}
}

// isCall reports whether History shows the record, without decoding all of it.
func isCall(kind byte, r reader) bool {
	switch kind {
	case recordCall:
		return true
	case recordEvent:
		r.uint64()
		r.uint32()
		return isCallKind(r.bytes())
	}
	return false
}

func isCallKind(kind []byte) bool {
	return string(kind) == KindCallCompleted || string(kind) == KindCallFailed
}

func decodeCall(r *reader, runID uint64, e *Event) bool {
	outcome := Outcome(r.byte())
	start := int64(r.uint64())
	callID, duration := r.uvarint(), r.uvarint()
	request, result := r.uvarint(), r.uvarint()
	tool := r.bytes()
	var errorType, errorText []byte
	if outcome != Completed {
		errorType, errorText = r.bytes(), r.bytes()
	}
	if r.failed || outcome < Completed || outcome > Failed || duration > math.MaxInt64 {
		return false
	}
	e.Kind = KindCallCompleted
	if outcome != Completed {
		e.Kind = KindCallFailed
	}
	e.At = time.Unix(0, start).Add(time.Duration(duration)).UTC()

	d := make([]byte, 0, 224+len(e.Stream)+len(tool)+len(errorText)+len(errorType))
	d = append(d, `{"mcp_server_id":`...)
	d = appendJSON(d, e.Stream)
	d = append(d, `,"tool_name":`...)
	d = appendJSON(d, string(tool))
	d = append(d, `,"correlation_id":"`...)
	d = appendCorrelationID(d, runID, callID)
	d = append(d, `","duration_ms":`...)
	d = strconv.AppendFloat(d, float64(duration)/1e6, 'f', -1, 64)
	d = append(d, `,"result_size_bytes":`...)
	d = strconv.AppendUint(d, result, 10)
	d = append(d, `,"request_size_bytes":`...)
	d = strconv.AppendUint(d, request, 10)
	d = append(d, `,"is_error":`...)
	d = strconv.AppendBool(d, outcome != Completed)
	if outcome != Completed {
		if outcome == ToolError && len(errorType) == 0 {
			errorType = []byte("ToolError")
		}
		d = append(d, `,"error_message":`...)
		d = appendJSON(d, string(errorText))
		d = append(d, `,"error_type":`...)
		d = appendJSON(d, string(errorType))
	}
	e.Data = append(d, '}')
	return true
}

func appendString(dst []byte, s string) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(s)))
	return append(dst, s...)
}

// clip cuts s to at most n bytes, not inside a character.
func clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for i := 0; i < utf8.UTFMax-1 && !utf8.RuneStart(s[n]); i++ {
		n--
	}
	return s[:n]
}

func appendJSON(dst []byte, s string) []byte {
	for i := 0; i < len(s); i++ {
		if c := s[i]; c < 0x20 || c >= 0x7f || c == '"' || c == '\\' || c == '<' || c == '>' || c == '&' {
			b, _ := json.Marshal(s) // a string cannot fail; invalid UTF-8 is replaced
			return append(dst, b...)
		}
	}
	dst = append(dst, '"')
	dst = append(dst, s...)
	return append(dst, '"')
}

// reader takes values off the front of a slice. After a value that is not
// there it is failed and returns zeros; nothing it does allocates.
type reader struct {
	rest   []byte
	failed bool
}

func (r *reader) take(n uint64) []byte {
	if r.failed || n > uint64(len(r.rest)) {
		r.failed, r.rest = true, nil
		return nil
	}
	b := r.rest[:n:n]
	r.rest = r.rest[n:]
	return b
}

func (r *reader) uvarint() uint64 {
	v, n := binary.Uvarint(r.rest)
	if n <= 0 || r.failed {
		r.failed, r.rest = true, nil
		return 0
	}
	r.rest = r.rest[n:]
	return v
}

func (r *reader) byte() byte {
	if b := r.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (r *reader) uint32() uint32 {
	if b := r.take(4); b != nil {
		return binary.BigEndian.Uint32(b)
	}
	return 0
}

func (r *reader) uint64() uint64 {
	if b := r.take(8); b != nil {
		return binary.BigEndian.Uint64(b)
	}
	return 0
}

// bytes reads a length and as many bytes; they still belong to the input.
func (r *reader) bytes() []byte { return r.take(r.uvarint()) }
