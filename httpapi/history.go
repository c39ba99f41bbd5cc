package httpapi

import (
	"encoding/json"
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
