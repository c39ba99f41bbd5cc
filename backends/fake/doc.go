// Package fake is a scripted backend for tests: its instances are MCP servers
// in memory that behave, or misbehave, as a [Script] says. Its pipes, timers
// and waits are made of channels, conditions and the time package only, so that
// it runs in the virtual time of testing/synctest; the link to an instance is
// the real one (backends/link).
//
// An instance has the tools of internal/testserver that need no process: echo,
// sleep, fail, rpcerror, crash, progress, big, count and roots. All its
// goroutines end when it does.
package fake
