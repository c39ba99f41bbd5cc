package supervisor

import "time"

// Effect is one thing the shell must do, in list order. The sum is closed.
type Effect interface{ effect() }

// Effects.
type (
	// StartInstance begins a start attempt under a new epoch; Candidate is set
	// when it is to come up beside the instance that serves, with the spec of
	// the replacement. After is how long the attempt waits before it asks for
	// its turn; a stop in the meantime ends it as any other.
	StartInstance struct {
		Epoch     uint64
		Candidate bool
		After     time.Duration
	}
	// SwitchInstance sends calls from now on to the candidate, which is ready,
	// and none to the old instance. Its spec is the server's from here on.
	SwitchInstance struct{ Epoch, Old uint64 }
	// PromoteCandidate makes the attempt of the candidate the server's own: there
	// is no other instance any more. Its spec is the server's from here on.
	PromoteCandidate struct{ Epoch uint64 }
	// StopInstance ends the instance (or the start attempt) of the epoch:
	// drained first when Drain is set, killed at once when Kill is set. Replaced
	// is set when it handed over and its calls may take their time; another
	// stop of the same epoch then ends that patience.
	StopInstance struct {
		Epoch  uint64
		Reason string
		Drain  bool
		Kill   bool

		Replaced bool
	}
	// ProbeInstance asks the live instance for a sign of life.
	ProbeInstance struct{ Epoch uint64 }
	// ProbeSpared tells that calls were answered instead of a probe.
	ProbeSpared struct{}
	// ArmTimer arms the one timer of its kind, replacing an armed one.
	ArmTimer struct {
		Kind  TimerKind
		Seq   uint64
		After time.Duration
	}
	// CancelTimer disarms the timer of its kind.
	CancelTimer struct{ Kind TimerKind }
	// ReleaseWaiting sends the waiting calls: the server is ready.
	ReleaseWaiting struct{}
	// FailWaiting answers waiting calls and starts with Reason. RetryAfter is
	// the time until the planned retry, or until a call may start the server
	// again; 0 when there is nothing to wait for.
	FailWaiting struct {
		Reason     string
		RetryAfter time.Duration
		GaveUp     bool
		Class      FailureClass // of the start that failed, if one did
	}
	// Emit publishes an event; the shell adds server and time. The epoch is
	// set here, because one step may end one epoch and begin the next.
	Emit struct{ Event Event }
)

func (StartInstance) effect()    {}
func (SwitchInstance) effect()   {}
func (PromoteCandidate) effect() {}
func (StopInstance) effect()     {}
func (ProbeInstance) effect()    {}
func (ProbeSpared) effect()      {}
func (ArmTimer) effect()         {}
func (CancelTimer) effect()      {}
func (ReleaseWaiting) effect()   {}
func (FailWaiting) effect()      {}
func (Emit) effect()             {}
