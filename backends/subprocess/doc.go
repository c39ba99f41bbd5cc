// Package subprocess runs a server's instances as child processes that speak
// JSON-RPC over stdin and stdout, one message per line.
//
// The reaper process (internal/reaper) starts them, reaps them and ends what
// they leave behind; where there can be none, a thread of this process does as
// much of that as it can (spawner.go says what both promise).
//
// Each instance has its own process group and three goroutines: the link's
// reader, the drain of stderr into the server's log ring, and the watcher,
// which fails the calls in flight and reports the end. No OS thread waits for
// a child.
//
// The stop ladder (MCP 2025-11-25, lifecycle, shutdown over stdio): close
// stdin, wait; SIGTERM to the group, wait; SIGKILL to the group.
package subprocess
