package httpapi

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"sync"

	"github.com/aabb9013/hangar/backends"
	"github.com/aabb9013/hangar/internal/jsonrpc"
)

// Bounds of listings.
const (
	// toolsPage is how many tools one answer to tools/list holds.
	toolsPage = 1000
	// maxToolName is what MCP allows for a tool's name. Longer ones are left
	// out of the list; hangar_call reaches them.
	maxToolName = 128
)

// toolList is the fleet's tools/list, made anew only when the fleet changed.
type toolList struct {
	front   *Front
	mu      sync.Mutex
	version uint64
	made    bool
	tools   [][]byte                        // raw tool objects
	renamed map[*backends.Catalogue][][]byte // tools by server, under their new names
}

// current returns the tools of the fleet and the version they are of.
func (l *toolList) current() (tools [][]byte, version uint64) {
	version = l.front.runtime.FleetVersion()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.made && l.version == version {
		return l.tools, version
	}
	views := l.front.runtime.Views()
	tools = append([][]byte(nil), l.front.hangarToolObjects()...)
	renamed := make(map[*backends.Catalogue][][]byte, len(views))
	for _, v := range views {
		if v.Catalogue == nil {
			continue
		}
		own, ok := l.renamed[v.Catalogue]
		if !ok {
			own = renameTools(v.Spec.ID, v.Catalogue.Tools)
		}
		renamed[v.Catalogue] = own
		tools = append(tools, own...)
	}
	l.tools, l.version, l.made, l.renamed = tools, version, true, renamed
	return tools, version
}

func renameTools(server string, tools []backends.Tool) [][]byte {
	var out [][]byte
	for _, t := range tools {
		name := server + separator + t.Name
		if len(name) > maxToolName || !validToolName(name) {
			continue
		}
		if raw, err := renameTool(t.Raw, name); err == nil {
			out = append(out, raw)
		}
	}
	return out
}

// validToolName is MCP's alphabet of tool names (2025-11-25).
func validToolName(name string) bool {
	return !strings.ContainsFunc(name, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '_' || r == '-' || r == '.')
	})
}

// renameTool replaces the value of the top-level name in a tool object and
// keeps every other byte.
func renameTool(raw []byte, name string) ([]byte, error) {
	dec := json.NewDecoder(bytes.NewReader(raw))
	if _, err := dec.Token(); err != nil {
		return nil, err
	}
	for dec.More() {
		key, err := dec.Token()
		if err != nil {
			return nil, err
		}
		var value json.RawMessage
		if err := dec.Decode(&value); err != nil {
			return nil, err
		}
		if key != "name" {
			continue
		}
		end := int(dec.InputOffset())
		out := make([]byte, 0, len(raw)+len(name))
		out = append(out, raw[:end-len(value)]...)
		out = jsonrpc.AppendString(out, []byte(name))
		return append(out, raw[end:]...), nil
	}
	return nil, fmt.Errorf("a tool without a name")
}

// listTools answers tools/list. Its cursor names the version of the list and
// an offset; a cursor of an old version is refused, as MCP advises.
func (f *Front) listTools(dst, raw []byte, env *jsonrpc.Envelope) []byte {
	id := env.ID.Of(raw)
	tools, version := f.list.current()
	from, ok := 0, true
	if env.Params.Present() {
		from, ok = pageStart(env.Params.Of(raw), version, len(tools))
	}
	if !ok {
		return jsonrpc.AppendError(dst, id, codeInvalidParams, "the cursor is not, or no longer, valid: list again from the start")
	}
	to := min(from+toolsPage, len(tools))
	dst = append(dst, `{"jsonrpc":"2.0","id":`...)
	dst = append(dst, id...)
	dst = append(dst, `,"result":{"tools":[`...)
	for i, t := range tools[from:to] {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(dst, t...)
	}
	dst = append(dst, ']')
	if to < len(tools) {
		dst = fmt.Appendf(dst, `,"nextCursor":"%d.%d"`, version, to)
	}
	return append(dst, "}}"...)
}

func pageStart(params []byte, version uint64, total int) (int, bool) {
	var p struct {
		Cursor *string `json:"cursor"`
	}
	if json.Unmarshal(params, &p) != nil {
		return 0, false
	}
	if p.Cursor == nil || *p.Cursor == "" {
		return 0, true
	}
	of, offset, ok := strings.Cut(*p.Cursor, ".")
	if !ok || of != strconv.FormatUint(version, 10) {
		return 0, false
	}
	from, err := strconv.Atoi(offset)
	return from, err == nil && from > 0 && from < total
}
