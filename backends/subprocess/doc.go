// Package subprocess runs a server's instances as child processes that speak
// JSON-RPC over stdin and stdout, one message per line.
//
// The reaper process (internal/reaper) starts them, reaps them and ends what
// they leave behind; where there can be none, a thread of this process does as
// much of that as it can (spawner.go says what both promise).
//
// Each instance has its own process group and one goroutine, the watcher, which
// fails the calls in flight and reports the end. What the instances write is read
// for all of them together (readers.go), stderr into the servers' log rings. No OS
// thread waits for a child.
//
// The stop ladder (MCP 2025-11-25, lifecycle, shutdown over stdio): close
// stdin, wait; SIGTERM to the group, wait; SIGKILL to the group.
package subprocess
