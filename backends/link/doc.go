// Package link is the open JSON-RPC connection to one instance over a pair of
// byte streams, one message per line. It is the hot path between a server's
// actor and its process:
//
//	Send ─ line appended or written at once ─► stdin
//	stdout ─► reader: scan id ─► table of calls in flight ─► Finish
//
// A send never blocks: while the stream takes bytes they are written by the
// sender; what it does not take waits in one buffer that a short-lived
// goroutine writes out, so that a burst becomes one write. The reader borrows
// its buffer from a pool only while there is something to read: an idle link
// holds none.
//
// Used by the backends that speak over pipes; it knows no processes.
package link
