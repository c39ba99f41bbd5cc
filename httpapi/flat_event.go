package httpapi

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
)

// The contract's flat event: the fields that every event has, then its own. A
// stream writes one for each event and client, so nothing is decoded.

// eventFields are the names that appendCommon writes.
var eventFields = []string{"event_type", "event_id", "position", "occurred_at", "timestamp"}

// appendCommon begins the object of an event with what every event has.
func appendCommon(dst []byte, r HistoryRecord) []byte {
	dst = append(append(dst, `{"event_type":`...), mustJSON(r.Kind)...)
	dst = append(append(dst, `,"event_id":"`...), eventID(r.Position)...)
	dst = strconv.AppendUint(append(dst, `","position":`...), r.Position, 10)
	dst = strconv.AppendFloat(append(dst, `,"occurred_at":`...), unixFloat(r.At), 'f', -1, 64)
	dst = append(append(dst, `,"timestamp":"`...), isoUTC(r.At)...)
	return append(dst, '"')
}

// appendOwn goes on with the event's own fields, but for those with names of
// its common ones or of others.
func appendOwn(dst, own []byte, others ...string) []byte {
	eachMember(own, func(key, value []byte) {
		name := string(key[1 : len(key)-1])
		if bytes.IndexByte(key, '\\') >= 0 {
			name, _ = jsonString(key)
		}
		if !slices.Contains(eventFields, name) && !slices.Contains(others, name) {
			dst = append(append(dst, ','), key...)
			dst = append(append(dst, ':'), value...)
		}
	})
	return dst
}

// historyFields are those of a historyItem beside eventFields.
var historyFields = []string{"version", "mcp_server_id", "stream_id", "stored_at", "data"}

// historyItem is the flat event of the later reference and the wrapper of the
// earlier one (stream_id, data, stored_at) in one object.
func historyItem(id string, r HistoryRecord) json.RawMessage {
	own := r.Data
	if !isObject(own) {
		own = []byte("{}")
	}
	b := appendCommon(nil, r)
	b = fmt.Appendf(b, `,"version":%d,"mcp_server_id":%s,"stream_id":%s,"stored_at":%s`,
		r.Version, mustJSON(id), mustJSON("mcp_server:"+id), mustJSON(unixFloat(r.At)))
	b = appendOwn(b, own, historyFields...)
	return fmt.Appendf(b, `,"data":%s}`, own)
}

// eventFrame is the event as a message of a stream.
func eventFrame(e EventRecord) []byte {
	b := appendCommon(make([]byte, 0, 256+len(e.Data)), e.HistoryRecord)
	if isObject(e.Data) {
		b = appendOwn(b, e.Data)
	}
	return append(b, '}')
}

func isObject(data []byte) bool {
	return bytes.HasPrefix(bytes.TrimSpace(data), []byte("{")) && json.Valid(data)
}

// eachMember takes a valid JSON object apart: keys with their quotes, values as
// they are written.
func eachMember(object []byte, yield func(key, value []byte)) {
	rest := bytes.TrimSpace(object)[1:]
	for {
		rest = bytes.TrimLeft(rest, ", \t\r\n")
		if len(rest) == 0 || rest[0] != '"' {
			return
		}
		n := stringEnd(rest)
		key := rest[:n]
		rest = bytes.TrimLeft(rest[n:], ": \t\r\n")
		n = valueEnd(rest)
		yield(key, bytes.TrimRight(rest[:n], " \t\r\n"))
		rest = rest[n:]
	}
}

// stringEnd is where the string that text begins with is over.
func stringEnd(text []byte) int {
	for i := 1; i < len(text); i++ {
		switch text[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return len(text)
}

// valueEnd is where the comma or bracket behind the value that text begins with is.
func valueEnd(text []byte) int {
	depth := 0
	for i := 0; i < len(text); i++ {
		switch text[i] {
		case '"':
			i += stringEnd(text[i:]) - 1
		case '{', '[':
			depth++
		case '}', ']':
			if depth--; depth < 0 {
				return i
			}
		case ',':
			if depth == 0 {
				return i
			}
		}
	}
	return len(text)
}

// eventID makes a UUID (version 8, RFC 9562) of a position in the log: clients
// expect one, and the same record must have the same one each time it is read.
func eventID(position uint64) string {
	return fmt.Sprintf("00000000-0000-8000-8%03x-%012x", position>>48&0xfff, position&(1<<48-1))
}
