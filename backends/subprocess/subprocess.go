package subprocess

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/aabb9013/hangar/backends"
	"github.com/aabb9013/hangar/backends/link"
	"github.com/aabb9013/hangar/internal/limits"
	"github.com/aabb9013/hangar/internal/reaper"
)

// Options tune the backend; zero fields take the defaults.
type Options struct {
	EOFGrace  time.Duration // wait after closing stdin, 2 s
	TermGrace time.Duration // wait after SIGTERM, 5 s
	// StdinStall is how long a child may not read its input, backends.StdinStall.
	StdinStall time.Duration
	// Environ is the environment that children inherit; nil means the
	// process's own without names that look like secrets.
	Environ []string
	// Limits holds children inside of the limits of their spec; nil holds
	// none. Close of the backend leaves it open.
	Limits *limits.Manager
	// Owner is whose the processes are; 0 makes a new one. Nobody else may run
	// processes of the same owner at the same time.
	Owner reaper.Owner
	// RunTag marks the reaper as RunTag of a LaunchSpec marks an instance.
	RunTag string
	Logger *slog.Logger // told of the reaper's fate; nil discards

	noReaper, noPidfds bool // tests
}

// The rungs of the stop ladder, as the MCP lifecycle advises.
const (
	DefaultEOFGrace  = 2 * time.Second
	DefaultTermGrace = 5 * time.Second
)

// Backend starts child processes. It is safe for concurrent use.
type Backend struct {
	opts    Options
	spawner spawner

	mu      sync.Mutex
	readers *readers // nil before the first start
	closed  bool
	running map[*instance]struct{}
}

var _ backends.Backend = (*Backend)(nil)

// closeSweep bounds the search of Close for what left its process group, where
// there is no reaper.
const closeSweep = time.Second

// New returns a backend with a reaper process, or without where there can be
// none: then an instance's process group ends with it and with the runtime, but
// whoever left that group only in Close. The log is told why.
func New(opts Options) *Backend {
	if opts.EOFGrace == 0 {
		opts.EOFGrace = DefaultEOFGrace
	}
	if opts.TermGrace == 0 {
		opts.TermGrace = DefaultTermGrace
	}
	if opts.StdinStall == 0 {
		opts.StdinStall = backends.StdinStall
	}
	if opts.Environ == nil {
		opts.Environ = inheritable(os.Environ())
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	if opts.Owner == 0 {
		opts.Owner = reaper.NewOwner()
	}
	b := &Backend{opts: opts, running: make(map[*instance]struct{})}
	if !opts.noReaper {
		client, err := reaper.New(reaper.Options{Owner: opts.Owner, RunTag: opts.RunTag, Logger: opts.Logger})
		if err == nil {
			b.spawner = reaperSpawner{client}
			return b
		}
		opts.Logger.Warn("instances run without a reaper process: what leaves its process group outlives a killed runtime", "err", err)
	}
	b.spawner = newThreadSpawner(!opts.noPidfds, func() { reaper.Sweep(opts.Owner, closeSweep) })
	return b
}

// Close releases the backend. Children still running are killed, and whatever
// else carries the owner's mark or tag.
func (b *Backend) Close() {
	b.spawner.close()
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed = true; b.readers != nil {
		b.readers.close()
	}
}

// reading returns what reads the children's output.
func (b *Backend) reading() (*readers, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return nil, errBackendClosed
	}
	if b.readers == nil {
		r, err := newReaders()
		if err != nil {
			return nil, err
		}
		b.readers = r
	}
	return b.readers, nil
}

// Start runs the program and opens the link; it does not shake hands.
func (b *Backend) Start(ctx context.Context, spec backends.LaunchSpec) (backends.Instance, error) {
	fail := func(err error) (backends.Instance, error) {
		return nil, &backends.StartError{Server: spec.Server, Stage: backends.StageSpawn, Err: classify(err)}
	}
	if err := ctx.Err(); err != nil {
		return fail(err)
	}
	path, err := lookPath(spec)
	if err != nil {
		return fail(err)
	}
	readers, err := b.reading()
	if err != nil {
		return fail(err)
	}
	pipes, err := openPipes(readers)
	if err != nil {
		return fail(err)
	}
	group, err := b.opts.Limits.Prepare(spec.Server, spec.Epoch, spec.Limits)
	if err != nil {
		pipes.closeChild()
		pipes.closeParent()
		return fail(err)
	}
	proc, err := b.spawner.start(ctx, command{
		path: path, argv: spec.Command, env: b.environ(spec), dir: spec.Dir, name: instanceName(spec),
		files: [3]*os.File{pipes.childIn, pipes.childOut, pipes.childErr}, into: group.Entry(),
	})
	pipes.closeChild()
	if err != nil {
		pipes.closeParent()
		group.Close()
		if !strings.Contains(err.Error(), path) && !errors.Is(err, backends.ErrReaperLost) { // that of fork and exec has it
			err = fmt.Errorf("%s: %w", path, err)
		}
		return fail(err)
	}
	in := &instance{
		spec: spec, opts: b.opts, pipes: pipes, proc: proc, group: group,
		done: make(chan struct{}), stderr: stderrLog{ring: spec.Log, epoch: spec.Epoch, ended: make(chan struct{})},
	}
	in.Link = link.Open(link.Config{
		Server: spec.Server, Epoch: spec.Epoch, MaxMessage: spec.MaxMessage,
		Sink: pipes.stdin, Source: source{pipes.stdout},
		Observer: spec.Observer, Fail: in.broken, Ended: in.stdoutEnded, StdinStall: b.opts.StdinStall,
		Log: spec.Log, Streams: spec.Streams,
	})
	b.add(in)
	pipes.stderr.Start(&in.stderr)
	go func() {
		in.watch()
		b.remove(in)
	}()
	return in, nil
}

func lookPath(spec backends.LaunchSpec) (string, error) {
	if len(spec.Command) == 0 || spec.Command[0] == "" {
		return "", errors.New("the command is empty")
	}
	if spec.Dir != "" {
		info, err := os.Stat(spec.Dir)
		if err != nil {
			return "", fmt.Errorf("working directory: %w", err)
		}
		if !info.IsDir() {
			return "", fmt.Errorf("working directory %s: %w", spec.Dir, syscall.ENOTDIR)
		}
	}
	program := spec.Command[0]
	if strings.ContainsRune(program, filepath.Separator) && !filepath.IsAbs(program) && spec.Dir != "" {
		// As a shell would: relative to the directory the child starts in.
		program = filepath.Join(spec.Dir, program)
	}
	if path, ok := spec.Env["PATH"]; ok && !strings.ContainsRune(program, filepath.Separator) {
		return lookPathIn(program, path)
	}
	path, err := exec.LookPath(program)
	if err != nil {
		return "", unrepeated(err)
	}
	return filepath.Abs(path)
}

// unrepeated is the error of a look for a program with its path once.
func unrepeated(err error) error {
	var look *exec.Error
	var path *os.PathError
	if errors.As(err, &look) && errors.As(look.Err, &path) {
		return &exec.Error{Name: look.Name, Err: path.Err}
	}
	return err
}

func lookPathIn(program, path string) (string, error) {
	for _, dir := range filepath.SplitList(path) {
		if filepath.IsAbs(dir) {
			if found, err := exec.LookPath(filepath.Join(dir, program)); err == nil {
				return found, nil
			}
		}
	}
	return "", &exec.Error{Name: program, Err: exec.ErrNotFound}
}

// classify marks errors that another try cannot mend, and want of resources.
func classify(err error) error {
	if errors.Is(err, backends.ErrResource) {
		return err
	}
	for _, permanent := range []error{
		exec.ErrNotFound, os.ErrNotExist, os.ErrPermission, exec.ErrDot,
		syscall.ENOEXEC, syscall.ENOTDIR, syscall.E2BIG, syscall.ELOOP, syscall.EISDIR, syscall.EINVAL,
	} {
		if errors.Is(err, permanent) {
			return fmt.Errorf("%w: %w", backends.ErrPermanent, err)
		}
	}
	for _, resource := range []error{syscall.EAGAIN, syscall.ENOMEM, syscall.EMFILE, syscall.ENFILE, syscall.ETOOMANYREFS} {
		if errors.Is(err, resource) {
			return fmt.Errorf("%w: %w", backends.ErrResource, err)
		}
	}
	return err
}

// Variables that mark every process of one run of a runtime, and of one
// instance: <server>/<epoch>.
const (
	RunTagEnv   = reaper.RunEnv
	InstanceEnv = reaper.InstanceEnv
)

func instanceName(spec backends.LaunchSpec) string {
	return spec.Server + "/" + strconv.FormatUint(spec.Epoch, 10)
}

// environ has every name once: C programs take the first of two equal names,
// others the last.
func (b *Backend) environ(spec backends.LaunchSpec) []string {
	declared := make(map[string]string, len(spec.Env)+2)
	maps.Copy(declared, spec.Env)
	declared[InstanceEnv] = instanceName(spec)
	if spec.RunTag != "" {
		declared[RunTagEnv] = spec.RunTag
	}
	env := make([]string, 0, len(b.opts.Environ)+len(declared))
	for _, kv := range b.opts.Environ {
		name, _, _ := strings.Cut(kv, "=")
		if _, ok := declared[name]; !ok {
			env = append(env, kv)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(declared)) {
		env = append(env, name+"="+declared[name])
	}
	return env
}

// secretWords mark names that a child does not inherit (reference section 3,
// launching): what it needs is declared in its env.
var secretWords = []string{"SECRET", "TOKEN", "PASSWORD", "PASSWD", "CREDENTIAL", "API_KEY", "APIKEY", "PRIVATE_KEY", "ACCESS_KEY", "AUTH"}

func inheritable(environ []string) []string {
	var kept []string
	for _, kv := range environ {
		name, _, _ := strings.Cut(kv, "=")
		if !looksSecret(name) && name != RunTagEnv && name != InstanceEnv {
			kept = append(kept, kv)
		}
	}
	return kept
}

func looksSecret(name string) bool {
	name = strings.ToUpper(name)
	if name == "SSH_AUTH_SOCK" {
		return true
	}
	for _, word := range secretWords {
		if strings.Contains(name, word) {
			return true
		}
	}
	return strings.HasSuffix(name, "_KEY")
}
