package fake

import "time"

// Script says how one instance behaves. The zero Script is a server that starts
// at once, answers at once, and ends with code 0 when its stdin ends.
type Script struct {
	// StartErr fails the start, as the stage spawn, after StartDelay.
	StartErr   error
	StartDelay time.Duration
	// ExitOnStart ends the instance with ExitCode before it reads anything.
	ExitOnStart bool

	InitDelay time.Duration // answers initialize this much later
	InitHang  bool          // never answers initialize
	InitCrash bool          // exits with ExitCode when initialize arrives
	// BadVersion is answered as protocol version.
	BadVersion string
	// ExitAfterInit exits with ExitCode after notifications/initialized.
	ExitAfterInit bool

	Tools []string // offered besides the built-in tools; each answers its name
	Page  int      // tools/list in pages of this size

	CallDelay  time.Duration // answers every tools/call this much later
	RunFor     time.Duration // exits with ExitCode that long after its start
	CrashAfter int           // exits with ExitCode at the tools/call with this number
	ExitCode   int           // of every exit the script asks for; calls of tool crash name their own

	// IgnoreEOF and IgnoreTerm survive that rung of the stop ladder;
	// IgnoreStop is both: only a kill ends the instance.
	IgnoreEOF, IgnoreTerm, IgnoreStop bool
	StopDelay                         time.Duration // between the end of stdin and the exit

	// After the handshake, that is the last page of tools/list:
	Silent                  bool // answers nothing: calls and pings hang
	NeverRead               bool // stops reading stdin
	CloseStdin, CloseStdout bool // closes the stream and stays

	Banner      bool     // text that is no JSON on stdout, at the start and before every answer
	Noise       int      // lines that are no JSON, after notifications/initialized
	HugeLine    int      // bytes without a newline, after notifications/initialized
	ByteAtATime bool     // delivers stdout one byte per read
	DupID       bool     // sends every answer twice
	WrongID     bool     // answers every tools/call under an id that nobody asked
	NotifyFlood int      // notifications after notifications/initialized
	ListChanged bool     // after the first tools/call adds tool "added" and says so
	Ask         []string // requests of these methods to the client after notifications/initialized; tool roots tells the last answer
	Stderr      []string // lines written at the start
}
