package persistence

// Failing is a Store for tests of its users: every call fails, and
// its buffer is never flushed.
type Failing struct {
	err   error
	calls *CallBuffer
}

var _ Store = (*Failing)(nil)

// NewFailing returns a store whose every method returns err.
func NewFailing(err error) *Failing { return &Failing{err: err, calls: NewCallBuffer(0)} }

// Commit fails.
func (f *Failing) Commit(...Batch) error { return f.err }

// AppendCalls fails.
func (f *Failing) AppendCalls([]byte, uint64) error { return f.err }

// CallBuffer takes records until it is full.
func (f *Failing) CallBuffer() *CallBuffer { return f.calls }

// FlushCalls fails.
func (f *Failing) FlushCalls(uint64) error { return f.err }

// Docs fails.
func (f *Failing) Docs(string) ([]Doc, error) { return nil, f.err }

// Doc fails.
func (f *Failing) Doc(string, string) (Doc, bool, error) { return Doc{}, false, f.err }

// History fails.
func (f *Failing) History(string, uint64, int) ([]Event, error) { return nil, f.err }

// Events fails.
func (f *Failing) Events(uint64, int) ([]Event, error) { return nil, f.err }

// ControlEvents fails.
func (f *Failing) ControlEvents(uint64, int) ([]Event, error) { return nil, f.err }

// StreamEvents fails.
func (f *Failing) StreamEvents(string, uint64, int) ([]Event, error) { return nil, f.err }

// LastPosition is 0.
func (f *Failing) LastPosition() uint64 { return 0 }

// Stats says read-only, with the error as the reason.
func (f *Failing) Stats() Stats { return Stats{ReadOnly: true, Reason: f.err.Error()} }

// Close fails.
func (f *Failing) Close() error { return f.err }
