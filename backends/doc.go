// Package backends is the contract between supervision and the ways a server's
// instance can run: subprocess, docker, remote, in-process, and the fake that
// tests script. A backend knows processes and sockets, not policy: it starts
// one instance, carries JSON-RPC lines to and from it, stops it, and says how
// it ended. It never restarts anything.
//
// The words: an instance is one running copy of a server; its epoch is the
// number of the start attempt that made it; the link is the open JSON-RPC
// connection to it; a call is one tools/call on its way.
//
// Every backend passes the suite in backends/backendtest.
package backends
