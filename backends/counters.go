package backends

import "sync/atomic"

// StreamCounters count what a server wrote and nobody could use, over all of
// its instances. The zero value is ready; they may be read at any time.
type StreamCounters struct {
	// Noise counts the lines of stdout that are no JSON-RPC message.
	Noise atomic.Uint64
	// DroppedAnswers counts the answers that no call waited for: late ones,
	// repeated ones, and those to an id that was never sent.
	DroppedAnswers atomic.Uint64
}
