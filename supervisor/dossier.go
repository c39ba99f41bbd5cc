package supervisor

import "time"

// Bounds of a crash dossier.
const (
	// MaxDossiers is how many dossiers of one server are kept; the oldest go.
	MaxDossiers = 20
	// MaxDossierLines and MaxDossierText bound the lines of stderr and their
	// bytes together; the oldest are left out, a longer line is cut.
	MaxDossierLines = 50
	MaxDossierText  = 8 << 10
	// MaxDossierChanges bounds the changes since the last good run.
	MaxDossierChanges = 50
)

// Dossier tells why one instance, or the attempt to start one, ended without
// anybody wanting it. It is immutable, holds no secret, and has in JSON the form
// in which the API shows it and the store keeps it.
type Dossier struct {
	ID     string      `json:"crash_id"`
	Server string      `json:"mcp_server_id"`
	Kind   DossierKind `json:"kind"`
	At     time.Time   `json:"at"`
	Epoch  uint64      `json:"epoch"`
	Reason string      `json:"reason"`
	// ExitCode and Signal are null where the end was another, or unknown.
	ExitCode *int    `json:"exit_code"`
	Signal   *string `json:"signal"`
	OOM      bool    `json:"oom_killed"` // only if proven
	PID      int     `json:"pid,omitempty"`
	// Uptime is in milliseconds since the instance was ready, 0 if it never was.
	Uptime   float64  `json:"uptime_ms"`
	Decision Decision `json:"decision"`
	// Stderr are the last lines of this instance, oldest first.
	Stderr []DossierLine `json:"stderr"`
	// Frames are the last messages, to the instance first, oldest first.
	Frames      []DossierFrame `json:"frames"`
	LastReplyAt time.Time      `json:"last_reply_at,omitzero"` // of any call
	// Calls were in flight, oldest first; InFlight counts those left out too,
	// and Waiting the calls that wait for the next instance.
	Calls    []DossierCall `json:"calls"`
	InFlight int           `json:"calls_in_flight"`
	Waiting  int           `json:"calls_waiting"`
	// Memory is the curve of the instance's memory, oldest first.
	Memory []MemorySample `json:"memory"`
	// Changed names what is new since the last run that ended as wanted or was
	// stable: fields of the spec, env.NAME for variables, tools.
	Changed []string `json:"changed"`
}

// DossierKind is the kind of an unwanted end.
type DossierKind string

// The kinds of unwanted ends.
const (
	DossierCrash        DossierKind = "crash"
	DossierStartFailed  DossierKind = "start_failed"
	DossierUnresponsive DossierKind = "unresponsive"
	DossierProtocol     DossierKind = "protocol_error"
)

// Decision is what was decided about the next start.
type Decision struct {
	Action DecisionAction `json:"action"`
	Until  time.Time      `json:"until,omitzero"` // of a backoff
}

// DecisionAction names a decision.
type DecisionAction string

// The decisions: a restart at once, a restart at a date, none because the
// budget is used up, none because a call or an operator has to want it, and
// none because the server was stopped meanwhile.
const (
	DecisionRestart DecisionAction = "restart"
	DecisionBackoff DecisionAction = "backoff"
	DecisionGaveUp  DecisionAction = "gave_up"
	DecisionWait    DecisionAction = "wait"
	DecisionStopped DecisionAction = "stopped"
	// DecisionKept: what ended was to replace an instance, which goes on.
	DecisionKept DecisionAction = "kept"
)

// DecisionOf reads off a machine that has just stepped what it decided.
func DecisionOf(m Machine) Decision {
	switch {
	case m.Live:
		return Decision{Action: DecisionRestart}
	case m.Phase == PhaseBackoff:
		return Decision{Action: DecisionBackoff, Until: m.NextRetryAt.UTC().Round(0)}
	case m.Phase == PhaseGaveUp:
		return Decision{Action: DecisionGaveUp}
	case m.State == Cold:
		return Decision{Action: DecisionStopped}
	}
	return Decision{Action: DecisionWait}
}

// DossierLine is one line of stderr.
type DossierLine struct {
	At   time.Time `json:"at"`
	Text string    `json:"text"`
}

// DossierFrame is one message between the runtime and the instance.
type DossierFrame struct {
	Direction string    `json:"direction"` // to_server, from_server
	At        time.Time `json:"at,omitzero"`
	ID        uint64    `json:"id,omitempty"` // JSON-RPC id
	Method    string    `json:"method"`       // or what the message is, such as response
	Size      int       `json:"size_bytes"`
	Head      string    `json:"head,omitempty"` // its beginning, where it is known
}

// DossierCall is one call in flight and its fate.
type DossierCall struct {
	ID   uint64  `json:"call_id"`
	Tool string  `json:"tool"`
	Age  float64 `json:"age_ms"`
	// Sent calls failed with ErrorType, for their effect is unknown; the others
	// go to the next instance.
	Sent      bool   `json:"sent"`
	Resent    bool   `json:"resent"`
	ErrorType string `json:"error_type,omitempty"`
}

// MemorySample is the memory of an instance with all its processes at one time.
type MemorySample struct {
	At  time.Time `json:"at"`
	RSS uint64    `json:"rss_bytes"`
}
