package httpapi

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/aabb9013/hangar/backends"
	"github.com/aabb9013/hangar/internal/jsonrpc"
	"github.com/aabb9013/hangar/supervisor"
)

// separator stands between server and tool in the names that clients see.
const separator = "__"

// call answers tools/call. The path of a server's tool is the hot one: the
// name is split, the line to the server is spliced from the client's bytes,
// and the server's answer is spliced back; nothing is decoded.
func (f *Front) call(dst []byte, s *session, raw []byte, env *jsonrpc.Envelope, progress func([]byte)) []byte {
	id := env.ID.Of(raw)
	name, ok := jsonrpc.Unquote(env.Name.Of(raw))
	if !ok || !env.Name.Present() {
		return jsonrpc.AppendError(dst, id, codeInvalidParams, "tools/call needs params.name")
	}
	split := bytes.Index(name, []byte(separator))
	if split <= 0 {
		if tool, ok := f.tools[string(name)]; ok {
			return f.callHangar(dst, s, tool, raw, env)
		}
		return unknownTool(dst, id, name)
	}
	target := f.runtime.Target(name[:split])
	if target == nil {
		return unknownTool(dst, id, name)
	}
	tool := name[split+len(separator):]
	c := backends.NewCall()
	c.Line = jsonrpc.AppendRequest(c.Line[:0], raw, env, c.ID, tool)
	c.Tool = toolName(target, tool)
	c.Session = s.key
	if progress != nil {
		c.Progress = progressTo(progress, env.ProgressToken.Of(raw))
	}
	key := clientID(id)
	if err := s.begin(key, flight{target, c.ID}); err != nil {
		c.Release()
		return appendCallError(dst, id, err)
	}
	err := target.Do(c, f.opts.CallTimeout)
	s.end(key)
	if err != nil {
		if releasable(err) {
			c.Release()
		}
		return appendCallError(dst, id, err)
	}
	dst = jsonrpc.AppendWithID(dst, c.Answer, &c.Env, id)
	c.Release()
	return dst
}

// releasable tells whether the runtime is done with a call that ended in err.
func releasable(err error) bool {
	return !errors.Is(err, supervisor.ErrInternal)
}

// toolName finds the catalogue's own string for a tool, so that the usual
// call allocates none.
func toolName(target Target, tool []byte) string {
	if cat := target.View().Catalogue; cat != nil {
		for i := range cat.Tools {
			if cat.Tools[i].Name == string(tool) {
				return cat.Tools[i].Name
			}
		}
	}
	return cleanText(string(tool), 128)
}

// progressTo passes progress on under the client's own token.
func progressTo(sink func([]byte), token []byte) func([]byte, *jsonrpc.Envelope) {
	token = bytes.Clone(token)
	return func(raw []byte, env *jsonrpc.Envelope) {
		sink(jsonrpc.AppendProgress(nil, raw, env, token))
	}
}

func unknownTool(dst, id, name []byte) []byte {
	return jsonrpc.AppendError(dst, id, codeInvalidParams, fmt.Sprintf("unknown tool: %s", cleanText(string(name), 128)))
}

func appendCallError(dst, id []byte, err error) []byte {
	code, message := rpcError(err)
	return jsonrpc.AppendError(dst, id, code, message)
}
