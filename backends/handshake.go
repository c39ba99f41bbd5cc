package backends

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/aabb9013/hangar/internal/jsonrpc"
)

// ProtocolVersions are the revisions spoken with servers, newest first. A
// server may answer with any of them.
var ProtocolVersions = []string{"2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05"}

// Bounds of a server's tool list; a server over them fails its start.
const (
	MaxTools     = 10000
	MaxToolBytes = DefaultMaxMessage // of all tools together: as much as one page can hold
	maxToolPages = 1000
)

// ClientInfo is how the runtime introduces itself to servers.
type ClientInfo struct {
	Name    string `json:"name"`
	Version string `json:"version"`
}

// Handshake opens the MCP session on a fresh instance: initialize, the
// initialized notification, and every page of tools/list. Its error is a
// *StartError. It blocks; ctx bounds it.
func Handshake(ctx context.Context, server string, in Instance, client ClientInfo) (*Catalogue, error) {
	fail := func(stage Stage, err error) (*Catalogue, error) {
		return nil, &StartError{Server: server, Stage: stage, Err: err}
	}
	params, err := json.Marshal(map[string]any{
		"protocolVersion": ProtocolVersions[0],
		"capabilities":    struct{}{},
		"clientInfo":      client,
	})
	if err != nil {
		return fail(StageInitialize, err)
	}
	raw, err := in.Request(ctx, "initialize", params)
	if err != nil {
		return fail(StageInitialize, handshakeError(ctx, in, err))
	}
	var result struct {
		ProtocolVersion string `json:"protocolVersion"`
		Capabilities    struct {
			Tools *json.RawMessage `json:"tools"`
		} `json:"capabilities"`
	}
	if err := json.Unmarshal(raw, &result); err != nil {
		return fail(StageInitialize, fmt.Errorf("%w: the answer to initialize: %v", ErrProtocol, err))
	}
	if !slices.Contains(ProtocolVersions, result.ProtocolVersion) {
		return fail(StageInitialize, fmt.Errorf("%w: the server wants protocol %.40q, this runtime speaks %v",
			ErrPermanent, result.ProtocolVersion, ProtocolVersions))
	}
	if err := in.Notify("notifications/initialized", nil); err != nil {
		return fail(StageInitialize, handshakeError(ctx, in, err))
	}
	cat := &Catalogue{ProtocolVersion: result.ProtocolVersion, Initialize: raw}
	if result.Capabilities.Tools != nil {
		if cat.Tools, err = ListTools(ctx, in); err != nil {
			return fail(StageTools, handshakeError(ctx, in, err))
		}
	}
	return cat, nil
}

// errInitTimeout is a context.DeadlineExceeded that says what to do.
var errInitTimeout error = timeoutError("init_timeout: no answer in time; raise start_timeout_s if the server is only slow")

// timeoutError is a context.DeadlineExceeded with a text of its own.
type timeoutError string

func (e timeoutError) Error() string { return string(e) }

// Is makes it a context.DeadlineExceeded.
func (e timeoutError) Is(target error) bool { return target == context.DeadlineExceeded }

// handshakeError prefers the instance's own end over its symptoms.
func handshakeError(ctx context.Context, in Instance, err error) error {
	var crash *CrashError
	switch {
	case errors.As(err, &crash):
		return endedEarly(crash.Exit)
	case errors.Is(err, ErrClosed):
		select {
		case <-in.Done():
			return endedEarly(in.Exit())
		case <-ctx.Done():
		}
	}
	if ctx.Err() == context.DeadlineExceeded {
		return errInitTimeout
	}
	return err
}

func endedEarly(exit Exit) error {
	if exit.Err == nil {
		return fmt.Errorf("%w during the handshake (%s)", ErrCrashed, exit)
	}
	how := exit
	how.Err = nil
	return fmt.Errorf("%w during the handshake: %w (%s)", ErrCrashed, exit.Err, how)
}

// ListTools reads all pages of tools/list; each tool keeps every field. It
// blocks; ctx bounds it.
func ListTools(ctx context.Context, in Instance) ([]Tool, error) {
	var tools []Tool
	cursor, size := "", 0
	for range maxToolPages {
		var params []byte
		if cursor != "" {
			params, _ = json.Marshal(map[string]string{"cursor": cursor})
		}
		raw, err := in.Request(ctx, "tools/list", params)
		if err != nil {
			return nil, err
		}
		var page struct {
			Tools      []json.RawMessage `json:"tools"`
			NextCursor string            `json:"nextCursor"`
		}
		if err := json.Unmarshal(raw, &page); err != nil {
			return nil, fmt.Errorf("%w: the answer to tools/list: %v", ErrProtocol, err)
		}
		for _, raw := range page.Tools {
			name, err := toolName(raw)
			if err != nil {
				return nil, fmt.Errorf("%w: tool %d of tools/list: %v", ErrProtocol, len(tools), err)
			}
			tools = append(tools, Tool{Name: name, Raw: raw})
			size += len(raw)
		}
		if size > MaxToolBytes {
			return nil, fmt.Errorf("%w: the tools of tools/list have more than %d bytes together", ErrProtocol, MaxToolBytes)
		}
		if len(tools) > MaxTools {
			return nil, fmt.Errorf("%w: more than %d tools", ErrProtocol, MaxTools)
		}
		if page.NextCursor == "" || page.NextCursor == cursor {
			return tools, nil
		}
		cursor = page.NextCursor
	}
	return nil, fmt.Errorf("%w: tools/list has more than %d pages", ErrProtocol, maxToolPages)
}

// toolName reads the name of a tool as strictly as a message is read: a client
// with another JSON parser must not find another name in the same object.
func toolName(raw []byte) (string, error) {
	message := append([]byte(`{"jsonrpc":"2.0","method":"tool","params":`), raw...)
	message = append(message, '}')
	var env jsonrpc.Envelope
	if err := jsonrpc.Scan(message, jsonrpc.Limits{}, &env); err != nil {
		return "", err
	}
	name, ok := jsonrpc.Unquote(env.Name.Of(message))
	if !ok || len(name) == 0 {
		return "", errors.New("it has no name")
	}
	return string(name), nil
}
