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

// resolve splits server__tool at its first separator. A server's id has no
// separator in it but may end in "_", and then that is one byte too early: of
// the two servers that a___b may mean, the one that lists the tool is meant.
func (f *Front) resolve(name []byte) (target Target, tool []byte) {
	at := bytes.Index(name, []byte(separator))
	if at <= 0 {
		return nil, nil
	}
	target, tool = f.runtime.Target(name[:at]), name[at+len(separator):]
	if len(tool) < 2 || tool[0] != '_' || target != nil && lists(target, tool) {
		return target, tool
	}
	other := f.runtime.Target(name[:at+1])
	if other != nil && (target == nil || lists(other, tool[1:])) {
		return other, tool[1:]
	}
	return target, tool
}

func lists(t Target, tool []byte) bool {
	_, known, _ := findTool(t.View(), tool)
	return known
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
	for i := range v.Catalogue.Tools {
		if t := &v.Catalogue.Tools[i]; t.Name == string(tool) {
			return t.Name, true, true
		}
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
