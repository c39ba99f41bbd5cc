// Command embed shows how a Go program hosts MCP servers by itself, with
// package hangar and no other program:
//
//	go run ./examples/embed
//
// It makes a runtime, registers one server, calls a tool of it, prints the
// result and what can be seen of the server, and closes. The server is this
// program again: with the argument "greeter" it is a small MCP server over
// stdio, made with the official Go SDK. Any program that speaks MCP over stdio
// can stand in its place.
//
// What a program of your own will want to change: DataDir keeps the servers
// and their history over restarts, Logger takes the runtime's log, and
// Runtime.Serve answers MCP and REST on a listener of yours.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/aabb9013/hangar"
)

func main() {
	hangar.BeReaper() // first: no process of a server outlives this program, not even by kill -9
	program := run
	if len(os.Args) > 1 && os.Args[1] == "greeter" {
		program = serveGreeter
	}
	if err := program(context.Background(), os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "embed:", err)
		os.Exit(1)
	}
}

// run is the whole life of a runtime.
func run(ctx context.Context, out io.Writer) (err error) {
	rt, err := hangar.New(hangar.Options{}) // without a DataDir the state is in memory
	if err != nil {
		return err
	}
	defer func() {
		closing, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if e := rt.Close(closing); err == nil {
			err = e
		}
	}()
	if err := rt.Start(ctx); err != nil {
		return err
	}

	self, err := os.Executable()
	if err != nil {
		return err
	}
	err = rt.Servers().Create(ctx, hangar.ServerSpec{
		ID:          "greeter",
		Description: "Greets by name",
		Command:     []string{self, "greeter"},
	})
	if err != nil {
		return err
	}

	// The server is cold; the call starts it.
	result, err := rt.Call(ctx, "greeter", "greet", map[string]any{"name": "Ada"})
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "result: %s\n", result.Raw)

	view, err := rt.Servers().Get("greeter")
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "server: %s is %s, process %d, %d tool, %d call\n",
		view.Spec.ID, view.State, view.PID, len(view.Catalogue.Tools), view.Counters.Calls.Load())
	return nil
}

type greeting struct {
	Name string `json:"name" jsonschema:"whom to greet"`
}

// serveGreeter is the MCP server; it ends when its stdin does.
func serveGreeter(ctx context.Context, _ io.Writer) error {
	server := mcp.NewServer(&mcp.Implementation{Name: "greeter", Version: "1.0.0"}, nil)
	mcp.AddTool(server, &mcp.Tool{Name: "greet", Description: "Greets by name"},
		func(_ context.Context, _ *mcp.CallToolRequest, in greeting) (*mcp.CallToolResult, any, error) {
			return &mcp.CallToolResult{Content: []mcp.Content{&mcp.TextContent{Text: "Hello, " + in.Name + "!"}}}, nil, nil
		})
	return server.Run(ctx, &mcp.StdioTransport{})
}
