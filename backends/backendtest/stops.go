package backendtest

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/aabb9013/hangar/backends"
)

var stopCases = []contractCase{
	{"stop ends a good server cleanly", stopClean},
	{"stop drains calls in flight", stopDrains},
	{"stop gives calls up after the drain", stopGivesUp},
	{"stop is idempotent and safe in parallel", stopParallel},
	{"stop escalates to SIGTERM", stopTerm},
	{"stop escalates to SIGKILL", stopKill},
	{"a done context cuts stop short", stopCut},
}

func stopClean(b *bench) {
	s := b.ready(Behaviour{})
	begin := time.Now()
	s.Stop(b.Context(), time.Minute)
	b.within("the stop", time.Since(begin), 0, 2*time.Second)
	if exit := s.awaitEnd(); !exit.Normal() || !exit.Asked {
		b.Errorf("exit %+v", exit)
	}
	s.Stop(b.Context(), time.Minute)
}

func stopDrains(b *bench) {
	s := b.ready(Behaviour{})
	begin := time.Now()
	slow, quick := s.send("sleep", args{"ms": 300}), s.send("echo", args{"text": "x"})
	s.Stop(b.Context(), time.Minute)
	b.within("the stop", time.Since(begin), 300*time.Millisecond, patience)
	for _, c := range []*backends.Call{slow, quick} {
		if s.finished(c); c.Err != nil {
			b.Errorf("a drained call ended with %v", c.Err)
		}
	}
	if exit := s.awaitEnd(); !exit.Normal() || !exit.Asked {
		b.Errorf("exit %+v", exit)
	}
}

func stopGivesUp(b *bench) {
	s := b.ready(Behaviour{})
	c := s.send("sleep", args{"ms": 3_600_000})
	begin := time.Now()
	s.Stop(b.Context(), 200*time.Millisecond)
	b.within("the stop", time.Since(begin), 200*time.Millisecond, 5*time.Second)
	var crash *backends.CrashError
	if s.finished(c); !errors.As(c.Err, &crash) || !crash.Exit.Asked || !crash.Sent {
		b.Errorf("the call ended with %v", c.Err)
	}
}

func stopParallel(b *bench) {
	s := b.ready(Behaviour{})
	var wg sync.WaitGroup
	for i := range 10 {
		wg.Go(func() {
			if i == 5 {
				s.Kill(nil)
			}
			s.Stop(b.Context(), 0)
			select {
			case <-s.Done():
			default:
				b.Error("Stop returned before the end")
			}
		})
	}
	wg.Wait()
	s.Kill(errors.New("too late"))
	if exit := s.awaitEnd(); exit.Err != nil {
		b.Errorf("exit %+v", exit)
	}
}

func stopTerm(b *bench) {
	b.tune = Tuning{EOFGrace: 200 * time.Millisecond, TermGrace: time.Minute}
	b.ladder(Behaviour{IgnoreEOF: true}, "SIGTERM", 200*time.Millisecond)
}

// C08: a child that ignores the end of its input and SIGTERM.
func stopKill(b *bench) {
	b.tune = Tuning{EOFGrace: 200 * time.Millisecond, TermGrace: 300 * time.Millisecond}
	b.ladder(Behaviour{IgnoreEOF: true, IgnoreTerm: true}, "SIGKILL", 500*time.Millisecond)
}

// ladder stops a stubborn server, which has to end by that signal after that
// time. A busy host may be late with one of them, not with several in a row.
func (b *bench) ladder(want Behaviour, signal string, after time.Duration) {
	b.Helper()
	const tolerance = 200 * time.Millisecond
	best := time.Duration(-1)
	for range 4 {
		s := b.ready(want)
		c := s.send("sleep", args{"ms": 3_600_000})
		begin := time.Now()
		s.Stop(b.Context(), 0)
		took := time.Since(begin)
		if exit := s.awaitEnd(); exit.Signal != signal || exit.Code != -1 || !exit.Asked || exit.Err != nil {
			b.Errorf("exit %+v", exit)
		}
		if s.finished(c); !errors.Is(c.Err, backends.ErrCrashed) {
			b.Errorf("the call ended with %v", c.Err)
		}
		if best < 0 || took < best {
			best = took
		}
		if took < after || took <= after+tolerance {
			break
		}
	}
	b.within("the stop", best, after, after+tolerance)
}

func stopCut(b *bench) {
	b.tune = Tuning{EOFGrace: time.Hour, TermGrace: time.Hour}
	s := b.ready(Behaviour{IgnoreEOF: true, IgnoreTerm: true})
	s.send("sleep", args{"ms": 3_600_000})
	begin := time.Now()
	ctx, cancel := context.WithTimeout(b.Context(), 100*time.Millisecond)
	defer cancel()
	s.Stop(ctx, time.Hour)
	b.within("the stop", time.Since(begin), 100*time.Millisecond, 5*time.Second)
	s.awaitEnd()
}
