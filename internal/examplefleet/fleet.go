// Package examplefleet holds a few small, useful MCP servers for first steps
// and tests: calc, text, clock and notes. They are ordinary servers built with
// the official SDK and speak over stdio, so that Hangar runs them as it runs
// any other; nothing in the runtime knows them. `hangar example-server NAME`
// serves one, and examples/fleet.yaml hosts them all.
package examplefleet

import (
	"context"
	"fmt"
	"strings"

	"github.com/modelcontextprotocol/go-sdk/mcp"
)

// version is what the servers say of themselves at the handshake.
const version = "1.0.0"

// fleet names every server and how it is made. Each call makes a new one: a
// server's state belongs to its process, as with any MCP server over stdio.
var fleet = []struct {
	name string
	make func() *mcp.Server
}{
	{"calc", newCalc},
	{"text", newText},
	{"clock", newClock},
	{"notes", newNotes},
}

// Names lists the servers that Run knows.
func Names() []string {
	names := make([]string, len(fleet))
	for i, s := range fleet {
		names[i] = s.name
	}
	return names
}

// Run serves one server over the standard streams until the client closes
// stdin or ctx is done; both are a clean end.
func Run(ctx context.Context, name string) error {
	server, err := newServer(name)
	if err != nil {
		return err
	}
	if err := server.Run(ctx, &mcp.StdioTransport{}); err != nil && ctx.Err() == nil {
		return fmt.Errorf("example server %q: %w", name, err)
	}
	return nil
}

func newServer(name string) (*mcp.Server, error) {
	for _, s := range fleet {
		if s.name == name {
			return s.make(), nil
		}
	}
	return nil, fmt.Errorf("no example server %q, there are %s", name, strings.Join(Names(), ", "))
}

func implementation(name, title string) *mcp.Implementation {
	return &mcp.Implementation{Name: "hangar-example-" + name, Title: title, Version: version}
}

// handler is a tool without its protocol: arguments in, structured answer
// out. An error is the tool's failure, which the model may read and mend; the
// SDK makes it an isError result.
type handler[In, Out any] func(in In) (Out, error)

// addTool adds a tool that works on nothing but its own server's memory.
func addTool[In, Out any](s *mcp.Server, name, description string, hints mcp.ToolAnnotations, h handler[In, Out]) {
	closedWorld := false
	hints.OpenWorldHint = &closedWorld
	tool := &mcp.Tool{Name: name, Description: description, Annotations: &hints}
	mcp.AddTool(s, tool, func(_ context.Context, _ *mcp.CallToolRequest, in In) (*mcp.CallToolResult, Out, error) {
		out, err := h(in)
		return nil, out, err
	})
}

// readOnly are the hints of a tool that changes nothing.
func readOnly() mcp.ToolAnnotations {
	return mcp.ToolAnnotations{ReadOnlyHint: true, IdempotentHint: true}
}
