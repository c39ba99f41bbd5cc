package jsonrpc

// plainPrefix returns how many bytes at the start of p are plain: the index of
// the first special one, or what it looked at, a multiple of 32 that leaves
// less than 32 bytes. It is in assembly because a long text is validated on its
// way to the server and back: with 64 KiB, eight bytes at a time were a sixth
// of all that a call costs. SSE2 is part of every amd64 processor.
//
//go:noescape
func plainPrefix(p []byte) int
