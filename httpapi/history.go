package httpapi

import (
	"bytes"
	"encoding/json"
	"fmt"
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
	at := unixFloat(r.At)
	base := []extraField{
		{"event_type", r.Kind},
		{"event_id", eventID(r.Position)},
		{"version", r.Version},
		{"position", r.Position},
		{"occurred_at", at},
		{"timestamp", isoUTC(r.At)},
		{"mcp_server_id", id},
		{"stream_id", "mcp_server:" + id},
		{"stored_at", at},
	}
	data := object{}
	raw := json.RawMessage("{}")
	if json.Valid(r.Data) && bytes.HasPrefix(bytes.TrimSpace(r.Data), []byte("{")) {
		if o, err := splitObject(r.Data); err == nil {
			data, raw = o, r.Data
		}
	}
	taken := map[string]bool{"data": true}
	var b bytes.Buffer
	for i, f := range base {
		taken[f.name] = true
		b.WriteByte("{,"[min(i, 1)])
		fmt.Fprintf(&b, "%q:%s", f.name, mustJSON(f.value))
	}
	for _, key := range data.keys {
		if !taken[key] {
			fmt.Fprintf(&b, ",%s:%s", mustJSON(key), data.values[key])
		}
	}
	fmt.Fprintf(&b, `,"data":%s}`, raw)
	return b.Bytes()
}

// eventID makes a UUID (version 8, RFC 9562) of a position in the log: clients
// expect one, and the same record must have the same one each time it is read.
func eventID(position uint64) string {
	return fmt.Sprintf("00000000-0000-8000-8%03x-%012x", position>>48&0xfff, position&(1<<48-1))
}
