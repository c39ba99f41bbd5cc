package supervisor

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	// MemoryLow is the share of the budget that ends the pressure.
	MemoryLow = 0.9
	// MemoryIdle is how long nobody may have used an instance that is stopped
	// for want of memory.
	MemoryIdle = 10 * time.Second
	// ReasonMemory is the reason of such a stop.
	ReasonMemory = "memory_budget"
)

// MemoryUse is one server with a process, as the decision sees it.
type MemoryUse struct {
	Server   string
	Bytes    int64
	LastUsed time.Time // last begin or end of a call, or since when it is ready
	Busy     bool      // calls are in flight or wait
	Serving  bool      // ready and not being stopped
	Stopping bool      // on its way out: its memory will soon be free
}

// MemoryPressure is whether the servers use more memory than their budget. It
// is a value; Decide makes the next one.
type MemoryPressure struct {
	Budget int64 // bytes; 0 = none, and never any pressure
	Under  bool
}

// MemoryRelief is what to do against the pressure.
type MemoryRelief struct {
	Bytes   int64    // of all servers
	Victims []string // to be stopped, the least recently used first
	Hold    bool     // over the budget, and nothing can be stopped: start no more
}

// Decide begins the pressure above the budget and ends it at MemoryLow of it.
// In between it names idle servers, as few as bring the memory down to there.
// A server with calls, or just used, is never named.
func (p MemoryPressure) Decide(uses []MemoryUse, now time.Time) (MemoryPressure, MemoryRelief) {
	var relief MemoryRelief
	stays, stopping := int64(0), false
	for _, u := range uses {
		relief.Bytes += u.Bytes
		if u.Stopping {
			stopping = true
		} else {
			stays += u.Bytes
		}
	}
	low := int64(float64(p.Budget) * MemoryLow)
	switch {
	case p.Budget <= 0 || relief.Bytes <= low:
		p.Under = false
	case relief.Bytes > p.Budget:
		p.Under = true
	}
	if !p.Under {
		return p, relief
	}
	for _, u := range idleFirst(uses, now) {
		if stays <= low {
			break
		}
		stays -= u.Bytes
		relief.Victims = append(relief.Victims, u.Server)
	}
	relief.Hold = relief.Bytes > p.Budget && !stopping && len(relief.Victims) == 0
	return p, relief
}

// idleFirst are the servers that may be stopped, the least recently used first.
func idleFirst(uses []MemoryUse, now time.Time) []MemoryUse {
	var idle []MemoryUse
	for _, u := range uses {
		if u.Serving && !u.Stopping && !u.Busy && u.Bytes > 0 && now.Sub(u.LastUsed) >= MemoryIdle {
			idle = append(idle, u)
		}
	}
	slices.SortFunc(idle, func(a, b MemoryUse) int {
		return cmp.Or(a.LastUsed.Compare(b.LastUsed), cmp.Compare(a.Server, b.Server))
	})
	return idle
}

// ParseMemoryBudget reads a budget: a size as ParseBytes does, or a share of
// the node's memory such as 80%. Empty and 0 mean none.
func ParseMemoryBudget(text string, node int64) (int64, error) {
	text = strings.TrimSpace(text)
	share, ok := strings.CutSuffix(text, "%")
	switch {
	case text == "":
		return 0, nil
	case !ok:
		return ParseBytes(text)
	}
	percent, err := strconv.ParseFloat(strings.TrimSpace(share), 64)
	if err != nil || !(percent >= 0 && percent <= 100) {
		return 0, fmt.Errorf("%q is no share of the memory; write 0%% to 100%%, or a size such as 4g", clip(text))
	}
	return int64(float64(node) * percent / 100), nil
}
