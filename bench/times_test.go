package main

import (
	"bytes"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aabb9013/hangar/bench/driver"
)

// TestTimesAreMeasured runs the parts of the trial that take no long, on a small fleet.
func TestTimesAreMeasured(t *testing.T) {
	s := times{settings: trialSettings(t), fleet: 20, killed: 5, loops: 3, loopTime: time.Second}
	for _, run := range []struct {
		number string
		rows   int
	}{{"R03", 2}, {"R04", 2}, {"R08", 1}, {"R09", 1}, {"C02", 1}, {"C09", 2}, {"C10", 2}} {
		i := slices.IndexFunc(timings, func(one timing) bool { return slices.Contains(one.numbers, run.number) })
		s.rows = nil
		if err := timings[i].run(&s, t.Context()); err != nil {
			t.Fatalf("%s: %v", run.number, err)
		}
		if len(s.rows) != run.rows {
			t.Errorf("%s: %+v, want %d rows", run.number, s.rows, run.rows)
		}
		for _, row := range s.rows {
			if row.number != run.number || row.measured == "" || row.allowed == "" {
				t.Errorf("%s: %+v", run.number, row)
			}
		}
	}
}

func TestEndOfAFleetIsMeasured(t *testing.T) {
	s := times{settings: trialSettings(t), fleet: 20}
	e, err := s.end(t.Context(), true)
	if err != nil {
		t.Fatal(err)
	}
	if e.code != 0 || e.left != 0 || e.exit <= 0 {
		t.Errorf("exit code %d after %s, %d processes left", e.code, e.exit, e.left)
	}
}

func TestMissedTimesAreNamed(t *testing.T) {
	var s times
	s.atMost("R08", "in time", time.Second, time.Second)
	s.between("C08", "within", 7*time.Second, 6*time.Second, 8*time.Second)
	s.count("C10", "none", 0, 0)
	var refused driver.Histogram
	refused.Record(time.Millisecond)
	s.refusals(&refused)
	s.skip("E01", "no such group")
	var table bytes.Buffer
	if err := s.write(&table, "0.10"); err != nil || !strings.Contains(table.String(), "Not measured: E01: no such group") {
		t.Errorf("%v\n%s", err, &table)
	}
	s.atMost("R08", "late", time.Second+1, time.Second)
	s.between("C08", "too soon", 5*time.Second, 6*time.Second, 8*time.Second)
	s.between("C08", "too late", 9*time.Second, 6*time.Second, 8*time.Second)
	s.count("C10", "some", 1, 0)
	s.refusals(&driver.Histogram{})
	err := s.write(&table, "0.10")
	if err == nil || strings.Count(err.Error(), "\n") != 4 {
		t.Errorf("got %v, want five that were missed", err)
	}
	for _, want := range []string{"R08, late", "C08, too soon", "C08, too late", "C10, some", "R12, p99 of new calls"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want it to name %q", err, want)
		}
	}
}

func TestChosenTimes(t *testing.T) {
	for list, want := range map[string]int{"": len(timings), "R01,R02": 1, "C08, R12": 2} {
		if got, err := chosenTimings(list); err != nil || len(got) != want {
			t.Errorf("%q: %d of %d, %v", list, len(got), want, err)
		}
	}
	if _, err := chosenTimings("R12,R99"); err == nil || !strings.Contains(err.Error(), "R99") {
		t.Errorf("a number that there is not: %v", err)
	}
}
