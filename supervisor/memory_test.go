package supervisor

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

var memoryNow = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// idle is a server that was last used some seconds ago.
func idle(name string, bytes int64, seconds int) MemoryUse {
	return MemoryUse{Server: name, Bytes: bytes, Serving: true, LastUsed: memoryNow.Add(-time.Duration(seconds) * time.Second)}
}

func TestMemoryPressure(t *testing.T) {
	t.Parallel()
	busy := func(u MemoryUse) MemoryUse { u.Busy = true; return u }
	stopping := func(u MemoryUse) MemoryUse { u.Serving, u.Stopping = false, true; return u }
	starting := func(u MemoryUse) MemoryUse { u.Serving = false; return u }
	for _, c := range []struct {
		name    string
		was     MemoryPressure
		uses    []MemoryUse
		under   bool
		victims []string
		hold    bool
	}{
		{"no budget", MemoryPressure{}, []MemoryUse{idle("a", 500, 99)}, false, nil, false},
		{"nothing runs", MemoryPressure{100, true}, nil, false, nil, false},
		{"at the budget", MemoryPressure{100, false}, []MemoryUse{idle("a", 100, 99)}, false, nil, false},
		{"above it", MemoryPressure{100, false}, []MemoryUse{idle("a", 101, 99)}, true, []string{"a"}, false},
		{"between low and budget, coming from below", MemoryPressure{100, false}, []MemoryUse{idle("a", 95, 99)}, false, nil, false},
		{"between low and budget, coming from above", MemoryPressure{100, true}, []MemoryUse{idle("a", 50, 99), idle("b", 45, 50)}, true, []string{"a"}, false},
		{"at low", MemoryPressure{100, true}, []MemoryUse{idle("a", 90, 99)}, false, nil, false},
		{"least recently used first", MemoryPressure{100, false}, []MemoryUse{idle("new", 60, 20), idle("old", 20, 90), idle("mid", 30, 50)}, true, []string{"old"}, false},
		{"as many as needed", MemoryPressure{100, false}, []MemoryUse{idle("new", 85, 20), idle("old", 20, 90), idle("mid", 30, 50)}, true, []string{"old", "mid"}, false},
		{"ties go by name", MemoryPressure{100, false}, []MemoryUse{idle("b", 60, 50), idle("a", 60, 50)}, true, []string{"a"}, false},
		{"never a busy one", MemoryPressure{100, false}, []MemoryUse{busy(idle("a", 200, 90)), idle("b", 10, 20)}, true, []string{"b"}, false},
		{"never one just used", MemoryPressure{100, false}, []MemoryUse{idle("a", 200, 9)}, true, nil, true},
		{"never one that starts", MemoryPressure{100, false}, []MemoryUse{starting(idle("a", 200, 90))}, true, nil, true},
		{"a stop under way is enough", MemoryPressure{100, true}, []MemoryUse{stopping(idle("a", 80, 90)), idle("b", 50, 90)}, true, nil, false},
		{"a stop under way is not enough", MemoryPressure{100, true}, []MemoryUse{stopping(idle("a", 20, 90)), idle("b", 95, 90)}, true, []string{"b"}, false},
		{"all busy: hold", MemoryPressure{100, true}, []MemoryUse{busy(idle("a", 200, 90))}, true, nil, true},
		{"all busy, below the budget: no hold", MemoryPressure{100, true}, []MemoryUse{busy(idle("a", 95, 90))}, true, nil, false},
	} {
		next, relief := c.was.Decide(c.uses, memoryNow)
		if next.Under != c.under || !slices.Equal(relief.Victims, c.victims) || relief.Hold != c.hold || next.Budget != c.was.Budget {
			t.Errorf("%s: under %t, victims %v, hold %t; want %t, %v, %t", c.name, next.Under, relief.Victims, relief.Hold, c.under, c.victims, c.hold)
		}
	}
}

func TestMemoryPressureStopsOnlyTheIdleAndNoMoreThanNeeded(t *testing.T) {
	t.Parallel()
	for seed := range uint64(3000) {
		r := rand.New(rand.NewPCG(seed, 1))
		p := MemoryPressure{Budget: int64(r.IntN(2000)), Under: r.IntN(2) == 0}
		uses := make([]MemoryUse, r.IntN(12))
		for i := range uses {
			uses[i] = idle(fmt.Sprint("s", i), int64(r.IntN(400)), r.IntN(40))
			uses[i].Busy = r.IntN(4) == 0
			uses[i].Stopping = r.IntN(6) == 0
			uses[i].Serving = !uses[i].Stopping && r.IntN(5) > 0
		}
		next, relief := p.Decide(slices.Clone(uses), memoryNow)
		low := int64(float64(p.Budget) * MemoryLow)
		total, stays := int64(0), int64(0)
		byName := make(map[string]MemoryUse)
		for _, u := range uses {
			byName[u.Server] = u
			total += u.Bytes
			if !u.Stopping && !slices.Contains(relief.Victims, u.Server) {
				stays += u.Bytes
			}
		}
		fail := func(what string) {
			t.Fatalf("seed %d: %s: %+v of %+v gives %+v, %+v", seed, what, p, uses, next, relief)
		}
		if relief.Bytes != total || p.Budget > 0 && (total > p.Budget && !next.Under || total <= low && next.Under) {
			fail("the pressure is wrong")
		}
		if !next.Under && (len(relief.Victims) > 0 || relief.Hold) {
			fail("something is done without pressure")
		}
		var last time.Time
		for _, name := range relief.Victims {
			u := byName[name]
			if u.Busy || !u.Serving || u.Bytes == 0 || memoryNow.Sub(u.LastUsed) < MemoryIdle || u.LastUsed.Before(last) {
				fail("a wrong victim " + name)
			}
			last = u.LastUsed
		}
		if n := len(relief.Victims); n > 0 && stays+byName[relief.Victims[n-1]].Bytes <= low {
			fail("one victim too many")
		}
		if next.Under && stays > low {
			for _, u := range idleFirst(uses, memoryNow) {
				if !slices.Contains(relief.Victims, u.Server) {
					fail("one victim too few")
				}
			}
		}
	}
}

func TestParseMemoryBudget(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]int64{"": 0, "0": 0, "4g": 4 << 30, "80%": 800, " 12.5 % ": 125, "100%": 1000, "0%": 0} {
		if got, err := ParseMemoryBudget(text, 1000); err != nil || got != want {
			t.Errorf("%q: %d, %v; want %d", text, got, err, want)
		}
	}
	for _, text := range []string{"%", "101%", "-1%", "NaN%", "much", "4g%"} {
		if got, err := ParseMemoryBudget(text, 1000); err == nil {
			t.Errorf("%q: %d, want an error", text, got)
		}
	}
}
