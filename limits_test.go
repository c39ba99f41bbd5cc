package hangar

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

	"github.com/aabb9013/hangar/internal/config"
	"github.com/aabb9013/hangar/internal/limits"
	"github.com/aabb9013/hangar/supervisor"
)

func TestMaxCallsOfOptionsAndFile(t *testing.T) {
	file := &config.Config{Limits: config.Limits{MaxCalls: 7}}
	none := &config.Config{}
	for _, c := range []struct {
		opts Options
		cfg  *config.Config
		want int
	}{
		{Options{}, none, defaultMaxCalls},
		{Options{ConfigFile: "f"}, file, 7},
		{Options{ConfigFile: "f"}, none, 0}, // the file says 0: no bound
		{Options{ConfigFile: "f", MaxCalls: 3}, file, 3},
		{Options{MaxCalls: -1}, none, 0},
	} {
		if got := c.opts.maxCalls(c.cfg); got != c.want {
			t.Errorf("%+v with %d in the file: %d, want %d", c.opts.MaxCalls, c.cfg.Limits.MaxCalls, got, c.want)
		}
	}
}

func TestMemoryBudgetOfOptionsAndFile(t *testing.T) {
	file := &config.Config{Limits: config.Limits{MemoryBudget: "64m"}}
	for _, c := range []struct {
		opts Options
		want func(int64) bool
	}{
		{Options{}, func(n int64) bool { return n == 64<<20 }},
		{Options{MemoryBudget: "1g"}, func(n int64) bool { return n == 1<<30 }},
		{Options{MemoryBudget: "50%"}, func(n int64) bool { return n > 0 && n <= limits.NodeMemory()/2 }},
	} {
		if got, err := c.opts.memoryBudget(file); err != nil || !c.want(got) {
			t.Errorf("%q: %d, %v", c.opts.MemoryBudget, got, err)
		}
	}
	if err := (Options{MemoryBudget: "much"}).Validate(); err == nil || !strings.Contains(err.Error(), "memory budget") {
		t.Errorf("a budget that is none: %v", err)
	}
}

func TestLimitsThatAreNotEnforcedAreTold(t *testing.T) {
	var log bytes.Buffer
	rt := &Runtime{
		logger: slog.New(slog.NewTextHandler(&log, nil)),
		cfg: &config.Config{Servers: []supervisor.ServerSpec{
			{ID: "a", Limits: supervisor.Limits{CPU: 1, Memory: 1 << 30}}, {ID: "b", Limits: supervisor.Limits{CPU: 2}}, {ID: "c"},
		}},
	}
	rt.tellUnheld(limits.Report{Mechanism: limits.Rlimit, Memory: true, Why: "because"})
	if text := log.String(); strings.Count(text, "\n") != 1 || !strings.Contains(text, `limit=cpu servers="a b" why=because`) {
		t.Errorf("told was %q, want one line about cpu of a and b", text)
	}
}
