package httpapi

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/aabb9013/hangar/backends"
)

type logsShape struct {
	Logs  []logShape `json:"logs"`
	ID    string     `json:"mcp_server_id"`
	Count int        `json:"count"`
}

type logShape struct {
	Timestamp  string  `json:"timestamp"`
	Line       string  `json:"line"`
	ID         string  `json:"mcp_server_id"`
	Stream     string  `json:"stream"`
	Content    string  `json:"content"`
	RecordedAt float64 `json:"recorded_at"`
	Epoch      uint64  `json:"epoch"`
}

func logsOf(id string, lines []backends.LogLine) logsShape {
	shape := logsShape{Logs: make([]logShape, 0, len(lines)), ID: id, Count: len(lines)}
	for _, l := range lines {
		text := strings.ToValidUTF8(l.Text, "\uFFFD")
		shape.Logs = append(shape.Logs, logShape{
			Timestamp: isoPlain(l.At), Line: text, ID: id, Stream: streamOf(l),
			Content: text, RecordedAt: unixFloat(l.At), Epoch: l.Epoch,
		})
	}
	return shape
}

func streamOf(l backends.LogLine) string {
	if l.Stdout {
		return "stdout"
	}
	return "stderr"
}

type historyShape struct {
	ID      string            `json:"mcp_server_id"`
	History []json.RawMessage `json:"history"`
	Total   int               `json:"total"`
}

func historyOf(id string, records []HistoryRecord) historyShape {
	shape := historyShape{ID: id, History: make([]json.RawMessage, 0, len(records)), Total: len(records)}
	for _, r := range records {
		shape.History = append(shape.History, historyItem(id, r))
	}
	return shape
}

// historyItem is the flat event of the later reference and the wrapper of the
// earlier one (stream_id, data, stored_at) in one object.
func historyItem(id string, r HistoryRecord) json.RawMessage {
	base := append(slices.Insert(eventFields(r), 2, extraField{"version", r.Version}),
		extraField{"mcp_server_id", id},
		extraField{"stream_id", "mcp_server:" + id},
		extraField{"stored_at", unixFloat(r.At)})
	var b bytes.Buffer
	raw := writeFlat(&b, base, r.Data, "data")
	fmt.Fprintf(&b, `,"data":%s}`, raw)
	return b.Bytes()
}

// eventFields are those that every event has beside its own.
func eventFields(r HistoryRecord) []extraField {
	return []extraField{
		{"event_type", r.Kind},
		{"event_id", eventID(r.Position)},
		{"position", r.Position},
		{"occurred_at", unixFloat(r.At)},
		{"timestamp", isoUTC(r.At)},
	}
}

// writeFlat writes an object that is still open: base, then the event's own
// fields but for those in base and the reserved ones. It returns the object of
// the own fields.
func writeFlat(b *bytes.Buffer, base []extraField, own []byte, reserved ...string) json.RawMessage {
	data, raw := object{}, json.RawMessage("{}")
	if json.Valid(own) && bytes.HasPrefix(bytes.TrimSpace(own), []byte("{")) {
		if o, err := splitObject(own); err == nil {
			data, raw = o, own
		}
	}
	taken := map[string]bool{}
	for _, name := range reserved {
		taken[name] = true
	}
	for i, f := range base {
		taken[f.name] = true
		b.WriteByte("{,"[min(i, 1)])
		fmt.Fprintf(b, "%q:%s", f.name, mustJSON(f.value))
	}
	for _, key := range data.keys {
		if !taken[key] {
			fmt.Fprintf(b, ",%s:%s", mustJSON(key), data.values[key])
		}
	}
	return raw
}

// eventID makes a UUID (version 8, RFC 9562) of a position in the log: clients
// expect one, and the same record must have the same one each time it is read.
func eventID(position uint64) string {
	return fmt.Sprintf("00000000-0000-8000-8%03x-%012x", position>>48&0xfff, position&(1<<48-1))
}
