//go:build !unix

package rawio

// Stream is not there on this system.
type Stream struct{}

// NewStream returns nil.
func NewStream(any) *Stream { return nil }

// Read is not called.
func (*Stream) Read([]byte) (int, error) { panic("rawio: no streams on this system") }

// WriteBoth is not called.
func (*Stream) WriteBoth(_, _ []byte) (int, error) { panic("rawio: no streams on this system") }
