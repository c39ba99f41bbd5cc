package httpapi

import (
	"bytes"
	"encoding/json"
	"errors"
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
	tools   [][]byte              // raw tool objects
	renamed map[listedBy][][]byte // tools by server, under their new names
}

// listedBy is whose tools were renamed: servers may share a catalogue.
type listedBy struct {
	server    string
	catalogue *backends.Catalogue
}

// current returns the tools of the fleet and the version they are of.
func (l *toolList) current() (tools [][]byte, version uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	// Read before the views: they may be newer than it, never older.
	version = l.front.runtime.FleetVersion()
	if l.made && l.version == version {
		return l.tools, version
	}
	views := l.front.runtime.Views()
	tools = l.front.hangarToolObjects()
	renamed := make(map[listedBy][][]byte, len(views))
	for _, g := range l.front.runtime.Groups() {
		if target := l.front.runtime.Target([]byte(g.Spec.ID)); target != nil {
			views = append(views[:len(views):len(views)], target.View())
		}
	}
	for _, v := range views {
		if v.Catalogue == nil {
			continue
		}
		by := listedBy{v.Spec.ID, v.Catalogue}
		own, ok := l.renamed[by]
		if !ok {
			own = renameTools(v.Spec.ID, v.Catalogue.Tools)
		}
		renamed[by] = own
		tools = append(tools, own...)
	}
	l.tools, l.version, l.made, l.renamed = tools, version, true, renamed
	return tools, version
}

// renameTools leaves out what a client could not call by its name: names that
// MCP does not allow, and all but the first of equal ones.
func renameTools(server string, tools []backends.Tool) [][]byte {
	out := make([][]byte, 0, len(tools))
	seen := make(map[string]bool, len(tools))
	for _, t := range tools {
		name := server + separator + t.Name
		if t.Name == "" || len(name) > maxToolName || !validToolName(name) || seen[name] {
			continue
		}
		if raw, err := renameTool(t.Raw, name); err == nil {
			seen[name] = true
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
// keeps every other byte. Parsers differ in which of two equal keys they take,
// so that all of them are replaced.
func renameTool(raw []byte, name string) ([]byte, error) {
	if !json.Valid(raw) {
		return nil, errors.New("a tool that is no JSON")
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	if start, err := dec.Token(); err != nil || start != json.Delim('{') {
		return nil, errors.New("a tool that is no object")
	}
	out, done := make([]byte, 0, len(raw)+len(name)), 0
	for dec.More() {
		key, err := dec.Token()
		if err != nil {
			return nil, err
		}
		var value json.RawMessage
		if err := dec.Decode(&value); err != nil {
			return nil, err
		}
		if key == "name" {
			end := int(dec.InputOffset())
			out = append(out, raw[done:end-len(value)]...)
			out = jsonrpc.AppendString(out, []byte(name))
			done = end
		}
	}
	if done == 0 {
		return nil, errors.New("a tool without a name")
	}
	return append(out, raw[done:]...), nil
}

// listTools answers tools/list. Its cursor names the version of the list and
// an offset; a cursor of an old version is refused, as MCP advises.
func (f *Front) listTools(dst []byte, s *session, raw []byte, env *jsonrpc.Envelope) []byte {
	id := env.ID.Of(raw)
	tools, version := f.list.current()
	from, ok := 0, true
	if env.Params.Present() {
		from, ok = pageStart(env.Params.Of(raw), version, len(tools))
	}
	if !ok {
		return jsonrpc.AppendError(dst, id, codeInvalidParams, "the cursor is not, or no longer, valid: list again from the start")
	}
	if from == 0 {
		s.told.Store(version)
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
