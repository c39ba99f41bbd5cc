// Package testserver is a small MCP server over stdio that tests and benchmarks start as a child process. It is fast
// and small when it behaves, so that it is not what a benchmark measures, and it misbehaves on request in the ways that
// real servers do. There is no separate binary: a test binary runs itself again as the server.
//
//	func TestMain(m *testing.M) {
//		testserver.ExecIfRequested()
//		os.Exit(m.Run())
//	}
//
//	command, env := testserver.Command("-init-delay", "200ms")
//
// `echo` and the protocol are hand-scanned; the other tools decode their arguments. Requests are answered strictly: an
// unknown method is -32601, anything but ping before initialize and any tool request before notifications/initialized
// is -32002.
package testserver

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"strconv"
	"syscall"
	"time"
)

// EnvKey is the environment variable that turns a binary which calls ExecIfRequested into the stub server.
const EnvKey = "HANGAR_TESTSERVER"

// maxHold bounds every "stays alive" behaviour, so that a stub which a failed test forgot does not stay for ever.
const maxHold = 10 * time.Minute

// Options select what the server does besides behaving well, which is what the zero value does. The flags of the same
// names document them.
type Options struct {
	InitDelay      time.Duration
	InitHang       bool
	InitCrash      bool
	InitBadVersion bool
	Banner         bool
	StderrLines    int
	StderrBytes    int
	HugeLine       int
	ByteAtATime    bool
	NeverRead      bool
	StallAtCall    bool
	IgnoreTerm     bool
	IgnoreEOF      bool
	JoinGroup      bool
	Grandchild     bool
	CleanEnv       bool
	CloseStdout    bool
	CloseStdin     bool
	ExitAfterInit  *int // nil: stay
	CrashAfter     int
	CrashLoop      bool
	Tools          int
	Page           int
	NotifyFlood    int
	NotifyRate     int
	ListChanged    bool
	DupID          bool
	WrongID        bool
	Roots          bool
	StartCost      time.Duration
	AllocAtCall    int

	hold bool // the grandchild: sleep and nothing else
}

// ExecIfRequested runs the stub server and exits when the environment asks for it, and returns otherwise. Call it first
// in main or TestMain.
func ExecIfRequested() {
	if os.Getenv(EnvKey) == "1" {
		os.Exit(Main(os.Args[1:]))
	}
}

// Command returns the command and the additional environment that start this binary as a stub server with these flags.
// The binary must call ExecIfRequested.
func Command(flags ...string) (command []string, env map[string]string) {
	path, err := os.Executable()
	if err != nil {
		panic("testserver: the path of this binary is unknown: " + err.Error())
	}
	return append([]string{path}, flags...), map[string]string{EnvKey: "1"}
}

// Main runs the server on the standard streams and returns the exit code.
func Main(args []string) int {
	opts, err := parse(args, os.Stderr)
	if errors.Is(err, flag.ErrHelp) {
		return 0
	}
	if err != nil {
		return 2
	}
	// Hundreds of these share a host: one thread runs Go code, and the heap is collected at 1 MiB instead of 4.
	runtime.GOMAXPROCS(1)
	debug.SetGCPercent(25)
	return Run(pollable(os.Stdin), os.Stdout, os.Stderr, opts)
}

// Run serves one connection until in ends, and returns the exit code. Some options end the process or change its signal
// handling; those are meant for a process of its own.
func Run(in io.Reader, out, errw io.Writer, opts Options) int {
	if opts.IgnoreTerm {
		signal.Ignore(syscall.SIGTERM)
	}
	if opts.JoinGroup {
		if err := joinParent(); err != nil {
			fmt.Fprintln(errw, "testserver: join-group:", err)
			return 1
		}
	}
	if opts.hold {
		os.NewFile(readyFD, "ready").Close() // tells the parent that signals are set up
		hold()
		return 0
	}
	if opts.CrashLoop {
		fmt.Fprintln(errw, "testserver: crash loop")
		return 1
	}
	spin(opts.StartCost)
	s := newServer(out, errw, opts)
	if opts.Grandchild {
		if err := s.startGrandchild(); err != nil {
			fmt.Fprintln(errw, "testserver: grandchild:", err)
			return 1
		}
	}
	s.disturb()
	return s.serve(in)
}

func parse(args []string, errw io.Writer) (Options, error) {
	var o Options
	fs := flag.NewFlagSet("testserver", flag.ContinueOnError)
	fs.SetOutput(errw)
	fs.Var((*delay)(&o.InitDelay), "init-delay", "answer initialize after this `time` (200ms; a plain number is milliseconds)")
	fs.BoolVar(&o.InitHang, "init-hang", false, "never answer initialize")
	fs.BoolVar(&o.InitCrash, "init-crash", false, "exit with code 3 when initialize arrives")
	fs.BoolVar(&o.InitBadVersion, "init-bad-version", false, "answer initialize with protocol version 1999-01-01")
	fs.BoolVar(&o.Banner, "banner", false, "plain text, ANSI, BOM, CRLF and blank lines on stdout at the start and before every answer")
	fs.IntVar(&o.StderrLines, "stderr-lines", 0, "write this `number` of lines to stderr before anything is read")
	fs.IntVar(&o.StderrBytes, "stderr-bytes", 0, "write this `number` of bytes to stderr in the background, as fast as possible")
	fs.IntVar(&o.HugeLine, "huge-line", 0, "after notifications/initialized write a line of this `number` of bytes, without its newline")
	fs.BoolVar(&o.ByteAtATime, "byte-at-a-time", false, "write every byte to stdout on its own")
	fs.BoolVar(&o.NeverRead, "never-read", false, "stop reading stdin after notifications/initialized")
	fs.BoolVar(&o.StallAtCall, "stall-at-call", false, "stop reading stdin at the first tools/call, which is not answered")
	fs.BoolVar(&o.IgnoreTerm, "ignore-term", false, "ignore SIGTERM")
	fs.BoolVar(&o.IgnoreEOF, "ignore-eof", false, "stay alive when stdin ends (at most 10 minutes)")
	fs.BoolVar(&o.JoinGroup, "join-group", false, "leave its process group for that of its parent")
	fs.BoolVar(&o.Grandchild, "grandchild", false, "start a sleeping process in a session of its own that holds stdout; tool `grandchild` tells its pid")
	fs.BoolVar(&o.CleanEnv, "clean-env", false, "the grandchild gets none of the environment, as a daemon that covers its tracks")
	fs.BoolVar(&o.CloseStdout, "close-stdout", false, "close stdout after notifications/initialized and stay alive")
	fs.BoolVar(&o.CloseStdin, "close-stdin", false, "close stdin after notifications/initialized and stay alive (at most 10 minutes)")
	fs.Func("exit-after-init", "exit with this `code` after notifications/initialized", func(text string) error {
		code, err := strconv.Atoi(text)
		o.ExitAfterInit = &code
		return err
	})
	fs.IntVar(&o.CrashAfter, "crash-after", 0, "exit with code 4 at the tools/call with this `number`, without an answer")
	fs.BoolVar(&o.CrashLoop, "crash-loop", false, "exit with code 1 at once")
	fs.IntVar(&o.Tools, "tools", 0, "offer this `number` of tools more (dummy_0 and so on)")
	fs.IntVar(&o.Page, "page", 0, "answer tools/list in pages of this `size`")
	fs.IntVar(&o.NotifyFlood, "notify-flood", 0, "after notifications/initialized send this `number` of notifications as fast as possible: log messages, progress of unknown tokens, list changes")
	fs.IntVar(&o.NotifyRate, "notify-rate", 0, "send those at this `number` in a second, not as fast as possible")
	fs.BoolVar(&o.ListChanged, "list-changed", false, "after the first tools/call add tool `added` and send notifications/tools/list_changed")
	fs.BoolVar(&o.DupID, "dup-id", false, "send every answer twice")
	fs.BoolVar(&o.WrongID, "wrong-id", false, "answer every tools/call under an id that nobody asked")
	fs.BoolVar(&o.Roots, "roots", false, "ask for roots/list after notifications/initialized; tool `roots` tells the answer")
	fs.Var((*delay)(&o.StartCost), "start-cost", "burn CPU for this `time` at the start (200ms; a plain number is milliseconds)")
	fs.IntVar(&o.AllocAtCall, "alloc-at-call", 0, "at every tools/call take and keep this `number` of bytes of memory more")
	fs.BoolVar(&o.hold, "hold", false, "sleep (at most 10 minutes) and do nothing else: what the grandchild does")
	if err := fs.Parse(args); err != nil {
		return Options{}, err
	}
	if fs.NArg() > 0 {
		fmt.Fprintf(errw, "testserver: unexpected argument %q\n", fs.Arg(0))
		return Options{}, errors.New("unexpected argument")
	}
	return o, nil
}

// delay is a duration flag that takes a plain number as milliseconds.
type delay time.Duration

func (d *delay) String() string { return time.Duration(*d).String() }

func (d *delay) Set(text string) error {
	if ms, err := strconv.Atoi(text); err == nil {
		*d = delay(time.Duration(ms) * time.Millisecond)
		return nil
	}
	parsed, err := time.ParseDuration(text)
	*d = delay(parsed)
	return err
}

func joinParent() error {
	group, err := syscall.Getpgid(os.Getppid())
	if err != nil {
		return err
	}
	return syscall.Setpgid(0, group)
}

func hold() { time.Sleep(maxHold) }

func spin(d time.Duration) {
	for end := time.Now().Add(d); d > 0 && time.Now().Before(end); {
	}
}
