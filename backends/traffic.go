package backends

import "time"

// Bounds of what an instance leaves behind.
const (
	// MaxFrames is how many of the last messages each way are told.
	MaxFrames = 4
	// MaxFates is how many calls in flight are told one by one, the oldest.
	MaxFates = 50
	// MaxHead is how much of a message that was received is kept.
	MaxHead = 160
)

// Traffic is what passed between the runtime and an instance before its end.
// It is immutable. Heads hold whatever was in the messages, secrets too: who
// shows them redacts them.
type Traffic struct {
	Frames   []Frame // the last of each direction, oldest first within it
	Fates    []Fate  // of the calls in flight, oldest first
	InFlight int     // how many calls were in flight, also those not in Fates
}

// Frame is one message.
type Frame struct {
	Out    bool      // to the instance
	At     time.Time // zero where it is not known
	ID     uint64    // JSON-RPC id; 0 when it has none of ours
	Method string    // of a request or notification, else what it is
	Size   int       // in bytes
	Head   []byte    // its beginning, nil when it is not kept
	Whole  bool      // Head is all of it
}

// Fate is a call in flight when its instance ended.
type Fate struct {
	ID    uint64
	Tool  string
	Began time.Time // zero where it is not known
	Sent  bool      // it failed, since its effect is unknown; else it is handed over again
}
