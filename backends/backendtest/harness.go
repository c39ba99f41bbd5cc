// Package backendtest is the contract that every backend keeps: one suite, run
// by each backend's own tests with a [Harness] that makes servers behave.
package backendtest

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aabb9013/hangar/backends"
)

// Behaviour is what a case wants of the server it starts; the zero Behaviour is
// a good server. The names are those of internal/testserver and of fake.Script.
type Behaviour struct {
	InitDelay      time.Duration
	InitHang       bool
	InitCrash      bool // exits with code 3 when initialize arrives
	InitBadVersion bool // answers protocol version 1999-01-01
	ExitAfterInit  *int // exits with this code after notifications/initialized
	CrashAfter     int  // exits with code 4 at the tools/call with this number

	Tools, Page int // so many more tools dummy_0…, and tools/list in such pages

	StallAtCall bool // stops reading at the first tools/call or earlier
	CloseStdin  bool // closes stdin after notifications/initialized or the handshake
	CloseStdout bool
	IgnoreEOF   bool
	IgnoreTerm  bool

	Banner      bool
	Noise       int // so many lines that are no JSON, with or without a handshake
	HugeLine    int
	ByteAtATime bool
	DupID       bool
	WrongID     bool
	NotifyFlood int
	ListChanged bool
	Ask         []string // requests to the client; tool roots tells the last answer
	StderrLines int      // lines "testserver: stderr line <i>" at the start

	// Broken makes the start itself fail for good.
	Broken Broken
}

// Broken is a way in which a server cannot be started.
type Broken string

// The broken starts; each leads to ErrPermanent.
const (
	Missing       Broken = "missing program"
	NotExecutable Broken = "program not executable"
	NotBinary     Broken = "not a binary"
	BadDir        Broken = "bad working directory"
	NoInterpreter Broken = "missing interpreter"
)

// Tuning sets the times of a backend.
type Tuning struct {
	EOFGrace, TermGrace, StdinStall time.Duration
}

// Harness makes one backend do what the suite asks for.
type Harness interface {
	// Backend returns a backend for one case; it is released by t.Cleanup.
	Backend(t testing.TB, tune Tuning) backends.Backend
	// Spec returns what starts a server of that behaviour, with a Server of its
	// own. A reason instead skips the case. mustName is what the error of a
	// Broken start has to name.
	Spec(t testing.TB, b Behaviour) (spec backends.LaunchSpec, mustName, skip string)
	// Virtual tells that the backend runs in the time of testing/synctest, and
	// that its servers share the memory of the test.
	Virtual() bool
}

// Run runs the whole contract.
func Run(t *testing.T, h Harness) {
	for _, c := range cases() {
		t.Run(c.name, func(t *testing.T) {
			if !h.Virtual() {
				c.run(&bench{T: t, h: h})
				return
			}
			synctest.Test(t, func(t *testing.T) { c.run(&bench{T: t, h: h}) })
		})
	}
}

type contractCase struct {
	name string
	run  func(*bench)
}

// cases are all of the suite, in the order they run.
func cases() []contractCase {
	return slices.Concat(handshakeCases, callCases, endCases, stopCases, streamCases, startCases)
}
