package fake

import (
	"context"
	"sync"
	"time"

	"github.com/aabb9013/hangar/backends"
	"github.com/aabb9013/hangar/backends/link"
)

// Backend starts scripted instances and counts them. It is safe for concurrent
// use.
type Backend struct {
	// The rungs of the stop ladder and the patience with a full stdin; New sets
	// those of backends/subprocess. To be changed before the first start only.
	EOFGrace, TermGrace, StdinStall time.Duration

	script func(server string, epoch uint64) Script

	mu          sync.Mutex
	starts      int
	starting    int
	maxStarting int
	maxLive     int
	live        map[string]int
	total       int
	maxOf       map[string]int
	instances   []*Instance
}

var _ backends.Backend = (*Backend)(nil)

// New returns a backend whose instances behave as script says for their server
// and epoch; nil means the zero Script for all.
func New(script func(server string, epoch uint64) Script) *Backend {
	backends.DisablePooling()
	if script == nil {
		script = func(string, uint64) Script { return Script{} }
	}
	return &Backend{
		EOFGrace: 2 * time.Second, TermGrace: 5 * time.Second, StdinStall: backends.StdinStall,
		script: script, live: make(map[string]int), maxOf: make(map[string]int),
	}
}

// Start implements backends.Backend.
func (b *Backend) Start(ctx context.Context, spec backends.LaunchSpec) (backends.Instance, error) {
	b.mu.Lock()
	b.starts++
	b.starting++
	b.maxStarting = max(b.maxStarting, b.starting)
	b.mu.Unlock()
	defer func() {
		b.mu.Lock()
		b.starting--
		b.mu.Unlock()
	}()
	script := b.script(spec.Server, spec.Epoch)
	err := wait(ctx, script.StartDelay)
	if err == nil {
		err = script.StartErr
	}
	if err != nil {
		return nil, &backends.StartError{Server: spec.Server, Stage: backends.StageSpawn, Err: err}
	}
	return b.launch(spec, script), nil
}

func (b *Backend) launch(spec backends.LaunchSpec, script Script) *Instance {
	if spec.Log != nil {
		for _, text := range script.Stderr {
			spec.Log.Add(time.Now(), spec.Epoch, false, []byte(text))
		}
	}
	in := &Instance{backend: b, spec: spec, server: newServer(script), done: make(chan struct{})}
	b.mu.Lock()
	b.instances = append(b.instances, in)
	b.live[spec.Server]++
	b.maxOf[spec.Server] = max(b.maxOf[spec.Server], b.live[spec.Server])
	b.total++
	b.maxLive = max(b.maxLive, b.total)
	b.mu.Unlock()
	in.Link = link.Open(link.Config{
		Server: spec.Server, Epoch: spec.Epoch, MaxMessage: spec.MaxMessage,
		Sink: in.server.stdin, Source: in.server.stdout, Observer: spec.Observer,
		Fail: in.broken, Ended: in.stdoutEnded, StdinStall: b.StdinStall,
		Log: spec.Log, Streams: spec.Streams,
	})
	if script.ExitOnStart {
		in.Crash(script.ExitCode)
	}
	go in.server.run()
	go in.watch()
	return in
}

// wait sleeps for d while ctx allows.
func wait(ctx context.Context, d time.Duration) error {
	if d <= 0 || ctx.Err() != nil {
		return ctx.Err()
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// left counts an instance out.
func (b *Backend) left(in *Instance) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.live[in.spec.Server]--
	b.total--
}

// Starts counts the start attempts, failed ones included.
func (b *Backend) Starts() int { return b.read(&b.starts) }

// Live counts the instances that have not ended.
func (b *Backend) Live() int { return b.read(&b.total) }

// MaxLive is the most instances that lived at one time.
func (b *Backend) MaxLive() int { return b.read(&b.maxLive) }

// MaxStarting is the most calls of Start that ran at one time.
func (b *Backend) MaxStarting() int { return b.read(&b.maxStarting) }

// MaxLiveOf is the most instances of one server that lived at one time.
func (b *Backend) MaxLiveOf(server string) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.maxOf[server]
}

// Instances returns every instance ever started, oldest first.
func (b *Backend) Instances() []*Instance {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]*Instance(nil), b.instances...)
}

// Last returns the newest instance of a server, nil if it never started.
func (b *Backend) Last(server string) *Instance {
	b.mu.Lock()
	defer b.mu.Unlock()
	for i := len(b.instances) - 1; i >= 0; i-- {
		if b.instances[i].spec.Server == server {
			return b.instances[i]
		}
	}
	return nil
}

func (b *Backend) read(n *int) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return *n
}
