package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// hangarBinary is the program itself: what a trial does to it no stand-in can take.
var hangarBinary = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "hangar-trial-test-")
	if err != nil {
		return "", err
	}
	builtDir = dir
	path := filepath.Join(dir, "hangar")
	if out, err := exec.Command("go", "build", "-o", path, "../cmd/hangar").CombinedOutput(); err != nil {
		return "", fmt.Errorf("cannot build the program: %w\n%s", err, out)
	}
	return path, nil
})

var builtDir string // removed by TestMain

func trialSettings(t *testing.T) settings {
	t.Helper()
	path, err := hangarBinary()
	if err != nil {
		t.Fatal(err)
	}
	s := settings{host: host{hangar: path}, seed: 42}
	done, err := s.open()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(done)
	return s
}

func TestRecoveryTellsHowServersCameBack(t *testing.T) {
	r := recovery{settings: trialSettings(t), servers: 3, rounds: 4, rate: 50, burst: 5}
	idle, err := r.kills(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	loaded, err := r.kills(t.Context(), r.rate)
	if err != nil {
		t.Fatal(err)
	}
	all, err := r.atOnce(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for name, k := range map[string]*killed{"idle": idle, "loaded": loaded} {
		if k.total.Count() != 4 || k.total.Quantile(0.5) <= 0 || k.own.Quantile(0.5) <= 0 {
			t.Errorf("%s: %d kills, p50 %s, own p50 %s", name, k.total.Count(), k.total.Quantile(0.5), k.own.Quantile(0.5))
		}
	}
	if all.ready <= 0 || all.status.Count() == 0 {
		t.Errorf("all at once: ready after %s, %d queries", all.ready, all.status.Count())
	}
	var table bytes.Buffer
	r.write(&table, idle, loaded, all)
	for _, want := range []string{"seed 42", "| idle |", "| 50 calls/s |", "| 5 |"} {
		if !strings.Contains(table.String(), want) {
			t.Errorf("the table lacks %q:\n%s", want, &table)
		}
	}
}

func TestMissedGoalsOfRecoveryAreNamed(t *testing.T) {
	slow, quick, all := &killed{}, &killed{}, &stormed{servers: 3, ready: 16 * time.Second}
	slow.overhead.Record(200 * time.Millisecond)
	all.status.Record(200 * time.Millisecond)
	var table bytes.Buffer
	err := (&recovery{}).write(&table, slow, quick, all)
	for _, want := range []string{"idle: overhead p50", "idle: overhead p99", "all ready", "status query p99"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want it to name %q", err, want)
		}
	}
	if err := (&recovery{}).write(&table, quick, quick, &stormed{}); err != nil {
		t.Errorf("nothing was missed, but: %v", err)
	}
}

func TestLoadTellsExcusedFailuresFromOthers(t *testing.T) {
	s := trialSettings(t)
	running, err := s.start(t.Context(), 2)
	if err != nil {
		t.Fatal(err)
	}
	defer running.stop()
	l := running.startLoad(50)
	l.disturb(0)
	l.note(0, time.Millisecond, errors.New("cut off"))
	l.note(0, time.Millisecond, errWrongAnswer)
	l.note(1, time.Millisecond, errors.New("nobody touched it"))
	for l.calls.Load() < 20 {
		pause(t.Context(), time.Millisecond)
	}
	result := l.stop()
	if result.Cut != 1 || result.Failed != 2 || result.err() == nil {
		t.Errorf("got %+v", result)
	}
}

func TestSoakNamesWhatGrew(t *testing.T) {
	s := &soak{}
	before := vitals{Goroutines: 10, Descriptors: 20, Memory: 30 << 20}
	after := vitals{Goroutines: 10 + slackGoroutines, Descriptors: 20, Memory: 30<<20 + slackMemory}
	var table bytes.Buffer
	if err := s.write(&table, loadResult{}, before, after); err != nil {
		t.Errorf("within the slack: %v", err)
	}
	before.StoreFiles, after.StoreFiles = 7, 9
	table.Reset()
	if err := s.write(&table, loadResult{}, before, after); err != nil || !strings.Contains(table.String(), "| all descriptors | 27 | 29 |") ||
		!strings.Contains(table.String(), "| 7 | 9 |") {
		t.Errorf("more files of the store: %v\n%s", err, &table)
	}
	err := s.write(&table, loadResult{}, before, vitals{Goroutines: 16, Descriptors: 21, Memory: 90 << 20})
	for _, want := range []string{"goroutines", "descriptors", "memory"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want it to name %q", err, want)
		}
	}
}

func TestSoakDisturbsEveryWay(t *testing.T) {
	s := &soak{settings: trialSettings(t), counts: map[string]int{}, updated: map[int]bool{}, servers: 4, rate: 20}
	running, err := s.start(t.Context(), s.servers)
	if err != nil {
		t.Fatal(err)
	}
	defer running.stop()
	if err := running.prime(); err != nil {
		t.Fatal(err)
	}
	l := running.startLoad(s.rate)
	killedAt := make([]time.Time, s.servers)
	for kind := range 10 {
		if err := s.one(running, l, kind%s.servers, kind, killedAt); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.stop().err(); err != nil {
		t.Error(err)
	}
	for _, kind := range []string{"kill", "stop", "restart", "update", "reload"} {
		if s.counts[kind] == 0 {
			t.Errorf("no %s among %v", kind, s.counts)
		}
	}
	if v, err := running.vitals(); err != nil || v.Goroutines == 0 || v.Descriptors == 0 || v.StoreFiles == 0 || v.Memory == 0 {
		t.Errorf("vitals %+v, %v", v, err)
	}
}

func TestOrphansAreCounted(t *testing.T) {
	o := orphans{settings: trialSettings(t), servers: 3}
	o.stubFlags = []string{"-grandchild"}
	r, err := o.round(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if r.before < 7 || r.left > 3 {
		t.Errorf("%d processes before, %d left; the grandchildren alone may be", r.before, r.left)
	}
	if again := o.tagged(); len(again) != 0 {
		t.Errorf("%d processes are left by the round", len(again))
	}
}

func TestTrialsRefuseNonsense(t *testing.T) {
	for _, c := range []struct {
		run  func(context.Context, []string) error
		args []string
	}{
		{runSoak, nil}, {runSoak, []string{"soon"}}, {runSoak, []string{"-1s"}}, {runSoak, []string{"1s", "-servers", "0"}},
		{runOrphans, nil}, {runOrphans, []string{"0"}}, {runOrphans, []string{"many"}},
		{runReloads, nil}, {runReloads, []string{"99"}}, {runReloads, []string{"100", "-servers", "1"}},
		{runRestarts, nil}, {runRestarts, []string{"0"}}, {runRestarts, []string{"1", "-servers", "0"}},
		{runRecovery, []string{"-rounds", "0"}}, {runRecovery, []string{"-nonsense"}},
	} {
		if err := c.run(t.Context(), c.args); err == nil {
			t.Errorf("%v was accepted", c.args)
		}
	}
}
