package reaper

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/aabb9013/hangar/internal/limits"
)

const (
	// DefaultHang is how long the reaper may take for one request before it is
	// taken for hung, killed and replaced.
	DefaultHang = 30 * time.Second
	// lookAgain is how often a reaper that owes something is looked at: one that
	// was stopped (SIGSTOP) is killed at the second look, long before Hang.
	lookAgain = time.Second
	// helloWithin is how long a new reaper may take to say that it is up.
	helloWithin = 20 * time.Second
	// sweepWithin bounds the search for what a killed reaper left.
	sweepWithin = 2 * time.Second
	// closeWithin bounds the wait for the reaper's own end in Close.
	closeWithin = endWithin + 2*time.Second
	// A reaper that lived for stableAfter is replaced at once, one that did not
	// after a pause that doubles from firstPause to longestPause.
	stableAfter  = 10 * time.Second
	firstPause   = 100 * time.Millisecond
	longestPause = 30 * time.Second
	// worthWaiting is the longest pause that starts wait for; in a longer one
	// they fail, and do not keep others from their turn.
	worthWaiting = time.Second
)

// Options of a Client.
type Options struct {
	Owner  Owner
	RunTag string        // for the reaper's own environment; Owner.Tag of the run
	Logger *slog.Logger  // told when the reaper was lost; nil discards
	Hang   time.Duration // 0 = DefaultHang
}

// Client is the runtime's half. Its methods are safe for concurrent use.
type Client struct {
	opts Options
	done chan struct{} // closed when the keeper has ended
	quit chan struct{} // closed by Close

	lastID atomic.Uint64 // of any instance; goes on from reaper to reaper

	mu      sync.Mutex
	conn    *conn         // nil while there is no reaper
	down    error         // why, while the next one is not even being started
	changed chan struct{} // closed and replaced with every change of the two
	closed  bool
}

// Command is a program to be started as an instance.
type Command struct {
	Path      string // absolute, or relative to the runtime's directory of now
	Argv, Env []string
	Dir       string // empty = the runtime's
	Name      string // the value of InstanceEnv in Env
	// Files become stdin, stdout and stderr; they stay the caller's.
	Files [3]*os.File
	Into  limits.Entry // the limits that it starts inside of
}

// New starts the reaper and returns when it is up. ErrUnavailable wraps why it
// is not; nothing of it is left then.
func New(opts Options) (*Client, error) {
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	if opts.Hang == 0 {
		opts.Hang = DefaultHang
	}
	if !offered.Load() {
		return nil, fmt.Errorf("%w: the program did not offer itself as one at the start of its main", ErrUnavailable)
	}
	first, err := open(opts)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	c := &Client{opts: opts, done: make(chan struct{}), quit: make(chan struct{}), conn: first, changed: make(chan struct{})}
	go c.keep(first)
	return c, nil
}

// Start starts a program in a process group of its own. It may block, while
// the reaper is being replaced until ctx ends. An error of the start
// wraps its syscall.Errno, and backends.ErrResource if it was one; ErrLost, ErrClosed.
func (c *Client) Start(ctx context.Context, cmd Command) (*Child, error) {
	if cmd.Dir == "" {
		cmd.Dir, _ = os.Getwd() // the reaper's own stays where it was
	}
	for {
		c.mu.Lock()
		conn, down, changed, closed := c.conn, c.down, c.changed, c.closed
		c.mu.Unlock()
		switch {
		case closed:
			return nil, ErrClosed
		case down != nil:
			return nil, down
		case conn != nil:
			// A start that went down with its reaper left nothing behind, so the
			// next reaper may try it again.
			if child, err := conn.start(&c.lastID, cmd); !errors.Is(err, ErrLost) {
				return child, err
			}
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, fmt.Errorf("%w, waited for the next one: %w", ErrLost, ctx.Err())
		}
	}
}

// PID is the reaper's, 0 while there is none.
func (c *Client) PID() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.conn == nil {
		return 0
	}
	return c.conn.process.Pid
}

// InstanceOf is the pid of the living child whose mark the process carries, 0
// if there is none.
func (c *Client) InstanceOf(pid int) int {
	c.mu.Lock()
	conn := c.conn
	c.mu.Unlock()
	m := markOf(pid)
	if conn == nil || !m.of(c.opts.Owner) {
		return 0
	}
	conn.mu.Lock()
	defer conn.mu.Unlock()
	if child := conn.children[m.id()]; child != nil {
		return child.pid
	}
	return 0
}

// Close ends the reaper and with it every process that descends from it, and
// returns when they are gone. Closing again waits for the first.
func (c *Client) Close() {
	c.mu.Lock()
	first := !c.closed
	c.closed = true
	conn := c.conn
	c.mu.Unlock()
	if first {
		close(c.quit)
		if conn != nil {
			conn.leave()
		}
	}
	<-c.done
}

// keep has one reaper after the other until Close.
func (c *Client) keep(conn *conn) {
	defer close(c.done)
	pause := time.Duration(0)
	for {
		born := time.Now()
		cause := conn.serve()
		c.set(nil, nil)
		// What the kernel did not kill with the reaper is found by its mark,
		// before any end is told: servers start again only then.
		swept, left := 0, 0
		if !c.closing() || cause != nil {
			swept, left = Sweep(c.opts.Owner, sweepWithin)
		}
		conn.endAll()
		if c.closing() {
			return
		}
		c.opts.Logger.Warn("the reaper process ended, its instances with it; another is started",
			"pid", conn.process.Pid, "cause", cause, "processes_swept", swept, "processes_left", left)
		if time.Since(born) > stableAfter {
			pause = 0
		}
		if conn = c.replace(&pause); conn == nil {
			return
		}
	}
}

// errDiesYoung is why the next reaper waits if nothing is known of the last.
var errDiesYoung = errors.New("the ones before lived only for moments")

// replace starts the next reaper, after the pause; nil when Close was called.
func (c *Client) replace(pause *time.Duration) *conn {
	cause := errDiesYoung
	for {
		if *pause > 0 {
			if *pause > worthWaiting {
				c.set(nil, fmt.Errorf("%w, the next one is started within %s: %w", ErrLost, *pause, cause))
			}
			select {
			case <-time.After(*pause):
			case <-c.quit:
				return nil
			}
			c.set(nil, nil)
		}
		*pause = min(max(2**pause, firstPause), longestPause)
		next, err := open(c.opts)
		if err == nil {
			if !c.set(next, nil) { // closed meanwhile
				next.leave()
			}
			return next
		}
		if c.closing() {
			return nil
		}
		c.opts.Logger.Error("cannot start the reaper process", "err", err)
		cause = err
	}
}

// set tells those who wait how things stand; false after Close.
func (c *Client) set(conn *conn, down error) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.conn, c.down = conn, down
	close(c.changed)
	c.changed = make(chan struct{})
	return !c.closed
}

func (c *Client) closing() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.closed
}

// Exit is the end of a child.
type Exit struct {
	Status syscall.WaitStatus
	Lost   bool // the reaper was lost: the child was killed and its status is unknown
}

// Child is a process that the reaper started. Its methods are safe for
// concurrent use.
type Child struct {
	id   uint64
	pid  int
	conn *conn
	exit chan Exit
}

// PID is the child's process id.
func (c *Child) PID() int { return c.pid }

// Signal reaches the child and its process group, and nobody if the child has
// ended. It never blocks.
func (c *Child) Signal(sig syscall.Signal) { c.conn.signal(c.id, sig) }

// Wait returns when the child has ended and what it started is killed; for one
// caller.
func (c *Child) Wait() Exit { return <-c.exit }
