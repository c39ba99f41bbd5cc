package supervisor

import (
	"testing"
	"time"
)

// TestStepAllocations holds the budget of the paths that run without a person
// or a crash behind them. A stale fact must be free: after a crash of many
// servers they come in crowds.
func TestStepAllocations(t *testing.T) {
	w := newWorld(t, testPolicy()).call().started()
	env := Env{Now: w.now.Add(time.Minute), Jitter: noJitter}
	tests := []struct {
		name string
		in   Input
		want float64
	}{
		{"stale fact", Exited{Epoch: 7}, 0},
		{"stale timer", TimerFired{Kind: TimerProbe, Seq: 99}, 0},
		{"call while ready", StartWanted{Cause: CauseCall}, 0},
		{"stable", TimerFired{Kind: TimerStable, Seq: w.m.Timers[TimerStable]}, 0},
		{"probe skipped", TimerFired{Kind: TimerProbe, Seq: w.m.Timers[TimerProbe], LastReply: env.Now}, 3}, // list, longer list, effect
	}
	for _, tt := range tests {
		got := testing.AllocsPerRun(100, func() { w.m.Step(tt.in, env) })
		if got > tt.want {
			t.Errorf("%s: %v allocations, want at most %v", tt.name, got, tt.want)
		}
	}
}

func BenchmarkStepStaleFact(b *testing.B) {
	w := newWorld(b, testPolicy()).call().started()
	benchmarkStep(b, w.m, Exited{Epoch: 7}, w.now)
}

func BenchmarkStepCallWhileReady(b *testing.B) {
	w := newWorld(b, testPolicy()).call().started()
	benchmarkStep(b, w.m, StartWanted{Cause: CauseCall}, w.now)
}

func BenchmarkStepCrash(b *testing.B) {
	w := newWorld(b, testPolicy()).call().started()
	benchmarkStep(b, w.m, Exited{Epoch: 1, Reason: "signal: killed"}, w.now)
}

func benchmarkStep(b *testing.B, m Machine, in Input, now time.Time) {
	env := Env{Now: now, Jitter: noJitter}
	b.ReportAllocs()
	for b.Loop() {
		m.Step(in, env)
	}
}
