package httpapi

import (
	"bytes"
	"errors"

	"github.com/aabb9013/hangar/backends"
	"github.com/aabb9013/hangar/internal/jsonrpc"
	"github.com/aabb9013/hangar/supervisor"
)

// separator stands between server and tool in the names that clients see.
const separator = "__"

// toolPrefix begins the name of each of the front's own tools.
var toolPrefix = []byte("hangar_")

// call answers tools/call. The path of a server's tool is the hot one: the
// name is split, the line to the server is spliced from the client's bytes,
// and the server's answer is spliced back; nothing is decoded.
func (f *Front) call(dst []byte, s *session, key callID, raw []byte, env *jsonrpc.Envelope, progress func([]byte)) []byte {
	id := env.ID.Of(raw)
	name, ok := jsonrpc.Unquote(env.Name.Of(raw))
	if !ok {
		return jsonrpc.AppendError(dst, id, codeInvalidParams, "tools/call needs params.name")
	}
	if bytes.HasPrefix(name, toolPrefix) {
		if tool, ok := f.tools[string(name)]; ok {
			return f.callHangar(dst, s, key, tool, raw, env)
		}
	}
	target, tool := f.resolve(name)
	if target == nil || len(tool) == 0 {
		return unknownTool(dst, id, name)
	}
	listed, known, whole := findTool(target.View(), tool)
	switch {
	case !known && whole:
		return unknownTool(dst, id, name)
	case !known:
		listed = cleanText(string(tool), maxToolName)
	}
	c := backends.NewCall()
	c.Line = jsonrpc.AppendRequest(c.Line[:0], raw, env, c.ID, tool)
	c.Tool, c.Session = listed, s.key
	c.SetReplyID(id)
	if progress != nil {
		c.Progress = progressTo(progress, env.ProgressToken.Of(raw))
	}
	if !s.attach(key, flight{target: target, id: c.ID}) {
		c.Release()
		return f.callFailed(dst, s, id, errCancelled)
	}
	if err := target.Do(c, f.opts.CallTimeout); err != nil {
		if releasable(err) {
			c.Release()
		}
		return f.callFailed(dst, s, id, err)
	}
	if len(dst) == 0 {
		dst = c.TakeAnswer(dst) // the usual case costs no copy
	} else {
		dst = append(dst, c.Answer...)
	}
	c.Release()
	return dst
}

// resolve splits server__tool at its first separator: no id of a server or
// group has one in it or ends in "_" (supervisor.ValidateID).
func (f *Front) resolve(name []byte) (target Target, tool []byte) {
	id, tool, ok := bytes.Cut(name, []byte(separator))
	if !ok || len(id) == 0 {
		return nil, nil
	}
	return f.runtime.Target(id), tool
}

// releasable tells whether the runtime is done with a call that ended in err.
func releasable(err error) bool {
	return !errors.Is(err, supervisor.ErrInternal)
}

// findTool looks a tool up in its server's list; it returns the list's own
// string, so that the usual call allocates none. whole tells whether a tool
// that is not in the list does not exist: a list from the configuration or of
// an ended instance proves nothing.
func findTool(v *supervisor.View, tool []byte) (name string, known, whole bool) {
	if v == nil || v.Catalogue == nil {
		return "", false, false
	}
	if t := v.Catalogue.Tool(tool); t != nil {
		return t.Name, true, true
	}
	return "", false, !v.ToolsPredefined && !v.ToolsStale
}

// progressTo passes progress on under the client's own token.
func progressTo(sink func([]byte), token []byte) func([]byte, *jsonrpc.Envelope) {
	token = bytes.Clone(token)
	return func(raw []byte, env *jsonrpc.Envelope) {
		sink(jsonrpc.AppendProgress(nil, raw, env, token))
	}
}

func unknownTool(dst, id, name []byte) []byte {
	return jsonrpc.AppendError(dst, id, codeInvalidParams, "unknown tool: "+cleanText(string(name), maxToolName))
}
