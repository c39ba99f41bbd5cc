package main

import (
	"bytes"
	"math"
	"strings"
	"testing"

	"github.com/aabb9013/hangar/bench/driver"
)

// TestGrowthIsWhatStays: memory that goes up and down with the store's table is no
// growth, what stays is.
func TestGrowthIsWhatStays(t *testing.T) {
	for _, leak := range []int{0, 100, 1000, -50} {
		var samples []memorySample
		for i := 0; i < 20000; i += 100 {
			samples = append(samples, memorySample{i, int64(20e6 + 3000*(i%4300) + leak*i)})
		}
		if got := growth(samples); math.Abs(got-float64(leak)) > 1 {
			t.Errorf("got %.1f bytes for each reload, want %d", got, leak)
		}
	}
	if got := growth([]memorySample{{1, 5}}); got != 0 {
		t.Errorf("got %v of one sample", got)
	}
}

// TestReloadsAreCountedAndMeasured runs the trial at a small size: what it tells of a run it must have seen.
func TestReloadsAreCountedAndMeasured(t *testing.T) {
	r := reloads{settings: trialSettings(t), servers: 3, reloads: reloadSamples, warmup: 10, idle: 4, idleReloads: 5, quick: true}
	s, err := r.storm(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	idle, err := r.unchanged(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if s.moved != 0 || s.took.Count() != reloadSamples+10 || len(s.samples) != reloadSamples || idle.Count() != 5 {
		t.Errorf("%d servers moved, %d reloads, %d samples, %d idle reloads", s.moved, s.took.Count(), len(s.samples), idle.Count())
	}
	for name, v := range map[string]vitals{"before": s.before, "after": s.after, "reaper": s.reaper[1]} {
		if v.Memory == 0 || v.Descriptors == 0 {
			t.Errorf("%s: %+v", name, v)
		}
	}
}

func TestWhatReloadsLeaveBehindIsNamed(t *testing.T) {
	good := func() *stormedReloads {
		s := &stormedReloads{before: vitals{Goroutines: 100, Descriptors: 50}, after: vitals{Goroutines: 95, Descriptors: 50}}
		for i := range reloadSamples {
			s.samples = append(s.samples, memorySample{i * 200, 30 << 20})
			s.reaperSamples = append(s.reaperSamples, memorySample{i * 200, 3 << 20})
		}
		return s
	}
	r := &reloads{reloads: 20000, servers: 50, idle: 500}
	var table bytes.Buffer
	if err := r.write(&table, good(), &driver.Histogram{}); err != nil {
		t.Errorf("within the goals: %v", err)
	}
	bad := good()
	bad.after, bad.moved, bad.reaper[1].Descriptors = vitals{Goroutines: 106, Descriptors: 49}, 1, 1
	for i := range bad.samples {
		bad.samples[i].bytes += int64(i * 120 << 10) // 600 KiB for a thousand
	}
	err := r.write(&table, bad, &driver.Histogram{})
	for _, want := range []string{"goroutines", "descriptors", "descriptors of the reaper", "another process", "memory of the runtime"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want it to name %q", err, want)
		}
	}
}

func TestRestartsFindAllServersAgain(t *testing.T) {
	r := restarts{settings: trialSettings(t), servers: 5, rounds: 2}
	took, calls, err := r.run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var table bytes.Buffer
	r.write(&table, took, calls)
	if took.Count() != 2 || took.Quantile(0.5) <= 0 || !strings.Contains(table.String(), "| 6 | 2 |") {
		t.Errorf("%d restarts\n%s", took.Count(), &table)
	}
}
