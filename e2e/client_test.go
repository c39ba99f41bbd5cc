package e2e_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"
)

// client keeps a connection for each of a storm's callers.
var client = &http.Client{
	Transport: &http.Transport{MaxIdleConnsPerHost: 500},
	Timeout:   60 * time.Second,
}

// refusal is an error answer of the REST API.
type refusal struct {
	Status  int    `json:"status_code"`
	Name    string `json:"error"`
	Message string `json:"message"`
	Sent    *bool  `json:"sent"` // of a crash: whether the call had been written
}

func (r *refusal) Error() string { return fmt.Sprintf("%d %s: %s", r.Status, r.Name, r.Message) }

// request makes one REST request and decodes the answer into out. An answer
// that is no success is a *refusal.
func (h *hangar) request(method, path string, body, out any) error {
	var content io.Reader
	if body != nil {
		raw, err := json.Marshal(body)
		if err != nil {
			return err
		}
		content = bytes.NewReader(raw)
	}
	request, err := http.NewRequest(method, h.url+path, content)
	if err != nil {
		return err
	}
	if body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	raw, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	if response.StatusCode >= 300 {
		refused := &refusal{}
		if json.Unmarshal(raw, refused) != nil || refused.Status != response.StatusCode || refused.Name == "" || refused.Message == "" {
			return fmt.Errorf("%s %s: status %d without the error envelope: %s", method, path, response.StatusCode, raw)
		}
		return refused
	}
	if out == nil {
		return nil
	}
	return json.Unmarshal(raw, out)
}

func (h *hangar) get(path string, out any) {
	h.t.Helper()
	if err := h.request("GET", path, nil, out); err != nil {
		h.t.Fatalf("GET %s: %v", path, err)
	}
}

// toolResult is the part of a tools/call result that the tests look at.
type toolResult struct {
	Content []struct {
		Type, Text string
	}
	StructuredContent map[string]any
	IsError           bool
}

func (r toolResult) text() string {
	var texts []string
	for _, c := range r.Content {
		texts = append(texts, c.Text)
	}
	return strings.Join(texts, "\n")
}

// call makes a tool call by REST.
func (h *hangar) call(server, tool string, arguments any) (toolResult, error) {
	var answer struct {
		Result  toolResult `json:"result"`
		IsError bool       `json:"is_error"`
	}
	err := h.request("POST", "/api/mcp_servers/"+server+"/tools/"+tool+"/call", arguments, &answer)
	if err == nil && answer.IsError != answer.Result.IsError {
		err = fmt.Errorf("is_error %t beside a result that says %t", answer.IsError, answer.Result.IsError)
	}
	return answer.Result, err
}

// mustCall is call for answers that have no reason to fail.
func (h *hangar) mustCall(server, tool string, arguments any) toolResult {
	h.t.Helper()
	result, err := h.call(server, tool, arguments)
	if err != nil || result.IsError {
		h.t.Fatalf("%s %s: %v %s", server, tool, err, result.text())
	}
	return result
}

// summary is a server as GET /api/mcp_servers lists it.
type summary struct {
	Server     string `json:"mcp_server"`
	State      string `json:"state"`
	Mode       string `json:"mode"`
	Alive      bool   `json:"alive"`
	ToolsCount int    `json:"tools_count"`
}

func (h *hangar) list() map[string]summary {
	h.t.Helper()
	var answer struct {
		Servers []summary `json:"mcp_servers"`
	}
	h.get("/api/mcp_servers", &answer)
	byID := map[string]summary{}
	for _, s := range answer.Servers {
		byID[s.Server] = s
	}
	return byID
}

// rpc is one client of /mcp that knows no more than the wire format.
type rpc struct {
	h       *hangar
	session string
	lastID  int
}

type rpcMessage struct {
	JSONRPC string          `json:"jsonrpc"`
	ID      json.RawMessage `json:"id,omitempty"`
	Method  string          `json:"method,omitempty"`
	Result  json.RawMessage `json:"result,omitempty"`
	Error   *struct {
		Code    int    `json:"code"`
		Message string `json:"message"`
	} `json:"error,omitempty"`
}

const protocolVersion = "2025-06-18"

// newRPC opens a session.
func (h *hangar) newRPC() *rpc {
	h.t.Helper()
	c := &rpc{h: h}
	var hello struct {
		ProtocolVersion string
		ServerInfo      struct{ Name, Version string }
		Capabilities    struct{ Tools *struct{} }
	}
	c.mustAsk("initialize", map[string]any{
		"protocolVersion": protocolVersion, "capabilities": map[string]any{},
		"clientInfo": map[string]any{"name": "e2e", "version": "1"},
	}, &hello)
	if hello.ProtocolVersion != protocolVersion || hello.ServerInfo.Name == "" || hello.Capabilities.Tools == nil {
		h.t.Errorf("initialize: got %+v", hello)
	}
	if c.session == "" {
		h.t.Error("initialize: no Mcp-Session-Id in the answer")
	}
	response, err := c.post(map[string]any{"jsonrpc": "2.0", "method": "notifications/initialized"})
	if err != nil {
		h.t.Fatal(err)
	}
	response.Body.Close()
	if response.StatusCode != http.StatusAccepted {
		h.t.Errorf("notifications/initialized: status %d, want 202", response.StatusCode)
	}
	return c
}

func (c *rpc) post(message any) (*http.Response, error) {
	raw, err := json.Marshal(message)
	if err != nil {
		return nil, err
	}
	request, err := http.NewRequest("POST", c.h.url+"/mcp", bytes.NewReader(raw))
	if err != nil {
		return nil, err
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Accept", "application/json, text/event-stream")
	if c.session != "" {
		request.Header.Set("Mcp-Session-Id", c.session)
		request.Header.Set("MCP-Protocol-Version", protocolVersion)
	}
	return client.Do(request)
}

// ask makes one request and decodes its result; notifications that come
// before the result are passed over.
func (c *rpc) ask(method string, params, result any) error {
	c.lastID++
	response, err := c.post(map[string]any{"jsonrpc": "2.0", "id": c.lastID, "method": method, "params": params})
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if c.session == "" {
		c.session = response.Header.Get("Mcp-Session-Id")
	}
	for message, err := range messages(response) {
		if err != nil {
			return fmt.Errorf("%s: status %d: %w", method, response.StatusCode, err)
		}
		switch {
		case message.Method != "":
			continue
		case string(message.ID) != fmt.Sprint(c.lastID):
			return fmt.Errorf("%s: answer to id %s, want %d", method, message.ID, c.lastID)
		case message.Error != nil:
			return fmt.Errorf("%s: JSON-RPC error %d: %s", method, message.Error.Code, message.Error.Message)
		}
		return json.Unmarshal(message.Result, result)
	}
	return fmt.Errorf("%s: status %d and no answer", method, response.StatusCode)
}

func (c *rpc) mustAsk(method string, params, result any) {
	c.h.t.Helper()
	if err := c.ask(method, params, result); err != nil {
		c.h.t.Fatal(err)
	}
}

// messages reads an answer of either form, JSON or an event stream.
func messages(response *http.Response) func(yield func(rpcMessage, error) bool) {
	return func(yield func(rpcMessage, error) bool) {
		decode := func(raw []byte) bool {
			var message rpcMessage
			err := json.Unmarshal(raw, &message)
			if err == nil && message.JSONRPC != "2.0" {
				err = fmt.Errorf("no JSON-RPC message: %s", raw)
			}
			return yield(message, err)
		}
		if !strings.HasPrefix(response.Header.Get("Content-Type"), "text/event-stream") {
			raw, err := io.ReadAll(response.Body)
			if err != nil {
				yield(rpcMessage{}, err)
			} else if len(raw) > 0 {
				decode(raw)
			}
			return
		}
		lines := bufio.NewReader(response.Body)
		for {
			line, err := lines.ReadBytes('\n')
			if data, ok := bytes.CutPrefix(line, []byte("data:")); ok && len(bytes.TrimSpace(data)) > 0 {
				if !decode(data) {
					return
				}
			}
			if err != nil {
				if !errors.Is(err, io.EOF) {
					yield(rpcMessage{}, err)
				}
				return
			}
		}
	}
}

func (c *rpc) toolNames() []string {
	c.h.t.Helper()
	var names []string
	for cursor := ""; ; {
		var page struct {
			Tools      []struct{ Name string }
			NextCursor string
		}
		params := map[string]any{}
		if cursor != "" {
			params["cursor"] = cursor
		}
		c.mustAsk("tools/list", params, &page)
		for _, tool := range page.Tools {
			names = append(names, tool.Name)
		}
		if cursor = page.NextCursor; cursor == "" {
			return names
		}
	}
}

func (c *rpc) call(tool string, arguments any) (toolResult, error) {
	var result toolResult
	err := c.ask("tools/call", map[string]any{"name": tool, "arguments": arguments}, &result)
	return result, err
}

// sdkSession opens a session of the official Go SDK's client at /mcp.
func (h *hangar) sdkSession(options *mcp.ClientOptions) *mcp.ClientSession {
	h.t.Helper()
	return connect(h.t, &mcp.StreamableClientTransport{Endpoint: h.url + "/mcp"}, options)
}

func connect(t *testing.T, transport mcp.Transport, options *mcp.ClientOptions) *mcp.ClientSession {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	session, err := mcp.NewClient(&mcp.Implementation{Name: "e2e", Version: "1"}, options).Connect(ctx, transport, nil)
	if err != nil {
		t.Fatalf("the SDK's client cannot connect: %v", err)
	}
	t.Cleanup(func() { session.Close() })
	return session
}

// sdkTools lists the names of all tools.
func sdkTools(t *testing.T, session *mcp.ClientSession) []string {
	t.Helper()
	var names []string
	for tool, err := range session.Tools(t.Context(), nil) {
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, tool.Name)
	}
	return names
}
