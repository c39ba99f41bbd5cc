// Package hangar is an actor-model runtime that hosts MCP servers and keeps
// them alive: each server is an actor under a supervision tree, reached
// through one MCP endpoint, a REST control API, or this package.
//
//	hangar.BeReaper() // first in main: no process of a server outlives the program
//	rt, err := hangar.New(hangar.Options{})
//	err = rt.Start(ctx)
//	err = rt.Servers().Create(ctx, hangar.ServerSpec{ID: "files", Command: []string{"my-mcp-server"}})
//	result, err := rt.Call(ctx, "files", "list", map[string]any{"path": "/tmp"})
//	err = rt.Close(ctx)
//
// The words used everywhere: a server is the logical thing with an id; an
// instance is one running copy of it; its epoch is the number of the start
// attempt that made it; a backend is how it runs; a call is one tools/call; a
// group is several servers, its members, that serve the same tools behind one id.
//
// Reading order: this package wires everything; actors is the supervision
// tree; supervisor decides, purely; backends run instances; httpapi is the
// edge; persistence keeps the event log. ARCHITECTURE.md follows one call and
// one crash through the files.
package hangar
