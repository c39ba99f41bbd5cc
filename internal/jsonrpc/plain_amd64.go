package jsonrpc

import "golang.org/x/sys/cpu"

// plainPrefix returns how many bytes at the start of p are plain: the index of
// the first special one, or what it looked at, a multiple of 32 that leaves
// less than 32 bytes. It is in assembly because a long text is validated on its
// way to the server and back: with 64 KiB, eight bytes at a time were a sixth
// of all that a call costs.
func plainPrefix(p []byte) int {
	n := 0
	if cpu.X86.HasAVX2 && len(p) >= 256 {
		n = plainBlocks(p)
	}
	return n + plainPieces(p[n:])
}

// plainPieces is plainPrefix with SSE2, which is part of every amd64 processor.
//
//go:noescape
func plainPieces(p []byte) int

// plainBlocks looks at 128 bytes at a time, which leaves the first special byte
// or less than 128 bytes. It needs AVX2.
//
//go:noescape
func plainBlocks(p []byte) int
