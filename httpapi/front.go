package httpapi

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/aabb9013/hangar/backends"
	"github.com/aabb9013/hangar/internal/jsonrpc"
	"github.com/aabb9013/hangar/supervisor"
)

// The MCP revisions served to clients, newest first.
var frontVersions = []string{"2025-11-25", "2025-06-18", "2025-03-26"}

// batchVersion is the one revision with JSON-RPC batches.
const batchVersion = "2025-03-26"

// JSON-RPC error codes of the front. -32700 to -32600 are JSON-RPC's own;
// -32000 and -32001 are what the official SDKs use for a lost connection and
// a time-out; the others lie in the range left to implementations.
const (
	codeParse          = -32700
	codeInvalidRequest = -32600
	codeUnknownMethod  = -32601
	codeInvalidParams  = -32602
	codeInternal       = -32603
	codeCrashed        = -32000
	codeTimeout        = -32001
	codeNotStarted     = -32010
	codeOverloaded     = -32011
	codeClosing        = -32012
	codeCancelled      = -32013
	codeNoMember       = -32014
)

// DefaultFrontTimeout bounds a tools/call through the front. Clients have
// limits of their own, mostly shorter.
const DefaultFrontTimeout = 300 * time.Second

// FrontOptions configure a Front. Only Runtime is required.
type FrontOptions struct {
	Runtime Runtime
	Logger  *slog.Logger
	// Server is how the front introduces itself at initialize.
	Server backends.ClientInfo
	// MaxMessage bounds one message; 0 = 16 MiB.
	MaxMessage  int
	CallTimeout time.Duration // 0 = DefaultFrontTimeout
	// BatchConcurrency bounds the calls of all hangar_call batches together,
	// ServerConcurrency those of one server among them; 0 = 50 and 10.
	BatchConcurrency, ServerConcurrency int
	Now                                 func() time.Time
}

// Front is the one MCP endpoint of the fleet: every tool of every server as
// server__tool, and the hangar_* tools. It speaks over HTTP (ServeHTTP) and
// over stdio (ServeStdio) and is safe for concurrent use.
type Front struct {
	opts     FrontOptions
	runtime  Runtime
	log      *slog.Logger
	limits   jsonrpc.Limits
	sessions *sessions
	list     toolList
	batches  atomic.Pointer[batchLimits]
	tools    map[string]hangarTool

	// Set from the constants, shorter in tests.
	ping, pause, patience, grace time.Duration

	closeOnce sync.Once
	closing   chan struct{}
}

// NewFront returns the front of a runtime.
func NewFront(opts FrontOptions) *Front {
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	if opts.CallTimeout <= 0 {
		opts.CallTimeout = DefaultFrontTimeout
	}
	if opts.Server.Name == "" {
		opts.Server = backends.ClientInfo{Name: "hangar", Version: opts.Runtime.Info().Version}
	}
	f := &Front{
		opts: opts, runtime: opts.Runtime, log: opts.Logger,
		limits:   jsonrpc.Limits{MaxBytes: opts.MaxMessage},
		sessions: newSessions(opts.Now),
		ping:     streamPing, pause: listChangedPause, patience: streamWrite, grace: shutdownGrace,
		closing: make(chan struct{}),
	}
	f.LimitBatches(opts.BatchConcurrency, opts.ServerConcurrency)
	f.tools = f.hangarTools()
	f.list.front = f
	return f
}

// LimitBatches changes the bounds of hangar_call: those of FrontOptions. Calls
// under way keep their slots of the old ones. It may be called at any time.
func (f *Front) LimitBatches(all, perServer int) { f.batches.Store(newBatchLimits(all, perServer)) }

// Close ends every session, so that open streams end too, and opens no more.
// Calls under way go on: the runtime drains them. It may be called twice.
func (f *Front) Close() {
	f.closeOnce.Do(func() { close(f.closing) })
	f.sessions.closeAll()
}

// request answers one request of a session, initialize excepted: it appends
// a whole JSON-RPC response to dst. progress, if not nil, gets raw progress
// notifications with the client's own token, during the call.
func (f *Front) request(dst []byte, s *session, raw []byte, env *jsonrpc.Envelope, progress func([]byte)) []byte {
	id := env.ID.Of(raw)
	key := clientID(id)
	if err := s.begin(key); err != nil {
		return f.callFailed(dst, s, id, err)
	}
	return f.begun(dst, s, key, raw, env, progress)
}

// begun answers a request that was noted as begun, and ends it. A panic
// becomes an error answer: there are callers without anyone else to recover.
func (f *Front) begun(dst []byte, s *session, key callID, raw []byte, env *jsonrpc.Envelope, progress func([]byte)) (answer []byte) {
	id := env.ID.Of(raw)
	defer func() {
		s.end(key)
		if cause := recover(); cause != nil {
			f.panicked(cause)
			// The memory behind dst may have been handed on.
			answer = jsonrpc.AppendError(bytes.Clone(dst), id, codeInternal, internalError)
		}
	}()
	method, _ := jsonrpc.Unquote(env.Method.Of(raw))
	switch string(method) {
	case "tools/call":
		return f.call(dst, s, key, raw, env, progress)
	case "tools/list":
		return f.listTools(dst, s, raw, env)
	case "ping":
		return appendResult(dst, id, []byte("{}"))
	case "initialize":
		return jsonrpc.AppendError(dst, id, codeInvalidRequest, "the session is already initialized")
	}
	return jsonrpc.AppendError(dst, id, codeUnknownMethod, "method not found: "+cleanText(string(method), 100))
}

const internalError = "internal error, see the runtime's log"

func (f *Front) panicked(cause any) {
	f.log.Error("panic in the MCP front", "err", fmt.Sprint(cause), "stack", string(debug.Stack()))
}

// isInitialize compares the decoded method: a string may have escapes.
func isInitialize(raw []byte, env *jsonrpc.Envelope) bool {
	method, _ := jsonrpc.Unquote(env.Method.Of(raw))
	return env.Kind == jsonrpc.Request && string(method) == "initialize"
}

// notify takes a notification of a session.
func (f *Front) notify(s *session, raw []byte, env *jsonrpc.Envelope) {
	method, _ := jsonrpc.Unquote(env.Method.Of(raw))
	if string(method) == "notifications/cancelled" && env.RequestID.Present() {
		s.cancel(clientID(env.RequestID.Of(raw)))
	}
}

// initialize negotiates a revision; the result goes to dst.
func (f *Front) initialize(dst, raw []byte, env *jsonrpc.Envelope) (answer []byte, version string, ok bool) {
	var params struct {
		ProtocolVersion string          `json:"protocolVersion"`
		Capabilities    json.RawMessage `json:"capabilities"`
	}
	id := env.ID.Of(raw)
	if json.Unmarshal(env.Params.Of(raw), &params) != nil || params.ProtocolVersion == "" {
		return jsonrpc.AppendError(dst, id, codeInvalidParams, "initialize needs params.protocolVersion"), "", false
	}
	version = params.ProtocolVersion
	if !slices.Contains(frontVersions, version) {
		version = frontVersions[0]
	}
	result, err := json.Marshal(map[string]any{
		"protocolVersion": version,
		"capabilities":    map[string]any{"tools": map[string]any{"listChanged": true}},
		"serverInfo":      f.opts.Server,
		"instructions":    frontInstructions,
	})
	if err != nil {
		return jsonrpc.AppendError(dst, id, codeInternal, internalError), "", false
	}
	return appendResult(dst, id, result), version, true
}

const frontInstructions = "Every tool of every server is listed as server__tool. " +
	"hangar_list shows the servers, hangar_tools the tools of one of them (starting it if need be), hangar_call makes many calls at once."

func appendResult(dst, id, result []byte) []byte {
	dst = append(dst, `{"jsonrpc":"2.0","id":`...)
	dst = append(dst, id...)
	dst = append(dst, `,"result":`...)
	dst = append(dst, result...)
	return append(dst, '}')
}

// callFailed answers a request that ended in an error.
func (f *Front) callFailed(dst []byte, s *session, id []byte, err error) []byte {
	if s.quiet && errors.Is(err, errCancelled) {
		return dst
	}
	code, message, known := rpcError(err)
	if !known {
		f.log.Error("call failed for an unknown reason", "err", err)
	}
	return jsonrpc.AppendError(dst, id, code, message)
}

// rpcCodes is the one table from the errors of calls to codes; the first match
// wins. What calls cannot meet, as ErrServerExists and ErrInvalidSpec, has none.
var rpcCodes = []struct {
	target error
	code   int
}{
	{errCancelled, codeCancelled},
	{errDuplicateID, codeInvalidRequest},
	{errSessionBusy, codeOverloaded},

	{supervisor.ErrGroupUnavailable, codeNoMember}, // before what the last member answered
	{supervisor.ErrGroupNotFound, codeInvalidParams},
	{supervisor.ErrServerNotFound, codeInvalidParams},
	{supervisor.ErrToolNotFound, codeInvalidParams},
	{supervisor.ErrCallTimeout, codeTimeout},
	{supervisor.ErrCannotStart, codeNotStarted},
	{supervisor.ErrStartFailed, codeNotStarted},
	{supervisor.ErrStopped, codeNotStarted},
	{supervisor.ErrNotBuilt, codeNotStarted},
	{supervisor.ErrOverloaded, codeOverloaded},
	{supervisor.ErrClosing, codeClosing},
	{supervisor.ErrReadOnly, codeClosing},

	{backends.ErrCrashed, codeCrashed},
	{backends.ErrDeadline, codeTimeout},
	{backends.ErrBusy, codeOverloaded},
	{backends.ErrPermanent, codeNotStarted},
	{backends.ErrResource, codeNotStarted},
	{backends.ErrProtocol, codeCrashed},
	{backends.ErrClosed, codeCrashed},
	{backends.ErrMessageTooLarge, codeCrashed},
	{backends.ErrStdinStalled, codeCrashed},
	{backends.ErrStdinClosed, codeCrashed},
	{backends.ErrStdoutClosed, codeCrashed},
	{backends.ErrUnresponsive, codeCrashed},
	{context.DeadlineExceeded, codeTimeout},
	{context.Canceled, codeClosing},
}

// rpcError is the JSON-RPC form of a failed call; when the table has no row
// for it the client learns nothing but that.
func rpcError(err error) (code int, message string, known bool) {
	if !errors.Is(err, supervisor.ErrInternal) {
		for _, row := range rpcCodes {
			if errors.Is(err, row.target) {
				return row.code, messageOf(err), true
			}
		}
	}
	return codeInternal, internalError, false
}

// scanError is the JSON-RPC form of a message that is none.
func scanError(err error) (code int, message string) {
	switch {
	case errors.Is(err, jsonrpc.ErrNotJSONRPC), errors.Is(err, jsonrpc.ErrDuplicateKey), errors.Is(err, jsonrpc.ErrBatch):
		return codeInvalidRequest, cleanText(err.Error(), 300)
	}
	return codeParse, cleanText(err.Error(), 300)
}
