package backendtest

import (
	"context"
	"errors"
	"strings"
	"sync"

	"github.com/aabb9013/hangar/backends"
)

var startCases = []contractCase{
	{"a done context fails the start", startCancelled},
	{"a start that cannot work is permanent: " + string(Missing), startBroken(Missing)},
	{"a start that cannot work is permanent: " + string(NotExecutable), startBroken(NotExecutable)},
	{"a start that cannot work is permanent: " + string(NotBinary), startBroken(NotBinary)},
	{"a start that cannot work is permanent: " + string(BadDir), startBroken(BadDir)},
	{"a start that cannot work is permanent: " + string(NoInterpreter), startBroken(NoInterpreter)},
	{"50 starts in parallel", startParallel},
}

func startCancelled(b *bench) {
	spec, _, skip := b.h.Spec(b, Behaviour{})
	if skip != "" {
		b.Skip(skip)
	}
	ctx, cancel := context.WithCancel(b.Context())
	cancel()
	b.fails(ctx, spec, context.Canceled)
}

// fails starts spec and wants that error, and silence.
func (b *bench) fails(ctx context.Context, spec backends.LaunchSpec, want error) error {
	b.Helper()
	rec := &recorder{ended: make(chan struct{})}
	spec.Observer, spec.Epoch = rec, 42
	in, err := b.h.Backend(b, b.tune).Start(ctx, spec)
	var start *backends.StartError
	if in != nil || !errors.As(err, &start) || !errors.Is(err, want) || start.Stage != backends.StageSpawn || start.Server != spec.Server {
		b.Fatalf("got %v, %v; want a StartError that is %v", in, err, want)
	}
	rec.mu.Lock()
	defer rec.mu.Unlock()
	if rec.ends+rec.done+len(rec.methods) != 0 {
		b.Error("the observer heard of an instance that never was")
	}
	return err
}

// C13
func startBroken(how Broken) func(*bench) {
	return func(b *bench) {
		spec, name, skip := b.h.Spec(b, Behaviour{Broken: how})
		if skip != "" {
			b.Skip(skip)
		}
		if err := b.fails(b.Context(), spec, backends.ErrPermanent); !strings.Contains(err.Error(), name) {
			b.Errorf("%q does not name %s", err, name)
		}
	}
}

func startParallel(b *bench) {
	backend := b.h.Backend(b, b.tune)
	var all []*subject
	var mu sync.Mutex
	var wg sync.WaitGroup
	for range 50 {
		spec, _, skip := b.h.Spec(b, Behaviour{})
		if skip != "" {
			b.Skip(skip)
		}
		wg.Go(func() {
			rec := &recorder{ended: make(chan struct{})}
			spec.Observer, spec.Epoch = rec, 42
			in, err := backend.Start(b.Context(), spec)
			if err != nil {
				b.Error(err)
				return
			}
			s := &subject{bench: b, Instance: in, spec: spec, rec: rec}
			if _, err := s.tryHandshake(); err != nil {
				b.Error(err)
			}
			mu.Lock()
			all = append(all, s)
			mu.Unlock()
		})
	}
	wg.Wait()
	for _, s := range all {
		if got := s.text("count", nil); got != "1" {
			b.Errorf("a fresh instance saw %s calls", got)
		}
		wg.Go(func() { s.Stop(b.Context(), 0) })
	}
	wg.Wait()
	for _, s := range all {
		if exit := s.awaitEnd(); !exit.Normal() {
			b.Errorf("exit %+v", exit)
		}
		s.checkEnd()
	}
}
