package backends

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
)

// ProtocolVersions are the revisions spoken with servers, newest first. A
// server may answer with any of them.
var ProtocolVersions = []string{"2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05"}

// Bounds of a server's tool list; a server over them fails its start.
const (
	MaxTools     = 10000
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

// handshakeError prefers the instance's own end over its symptoms.
func handshakeError(ctx context.Context, in Instance, err error) error {
	var crash *CrashError
	switch {
	case errors.As(err, &crash):
		return fmt.Errorf("%w: the server ended during the handshake (%s)", ErrCrashed, crash.Exit)
	case ctx.Err() == context.DeadlineExceeded:
		return fmt.Errorf("no answer in time: %w", context.DeadlineExceeded)
	}
	return err
}

// ListTools reads all pages of tools/list; each tool keeps every field. It
// blocks; ctx bounds it.
func ListTools(ctx context.Context, in Instance) ([]Tool, error) {
	var tools []Tool
	cursor := ""
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
			var tool struct {
				Name string `json:"name"`
			}
			if err := json.Unmarshal(raw, &tool); err != nil || tool.Name == "" {
				return nil, fmt.Errorf("%w: a tool without a name", ErrProtocol)
			}
			tools = append(tools, Tool{Name: tool.Name, Raw: raw})
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
