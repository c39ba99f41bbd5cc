package driver

import (
	"context"
	"errors"
	"time"
)

// passed is the part of a turn that comes before it and is not measured: what the turns of the others have driven out of the
// caches comes back.
const passed = 0.1

// Turns measures several targets at once: each is called for one turn while the others rest, again and again until
// each was measured for the Duration of the first, in turns of equal length. The speed of a host changes within seconds by more than what tells two systems
// apart; what it does in a moment meets all targets alike, so the results of a turn may be compared with each other. The
// order is turned around each time. It returns the results of each target, one for each turn. Prime and Storm are not looked at.
func Turns(ctx context.Context, turn time.Duration, targets []Config) ([][]Result, error) {
	if len(targets) == 0 || turn <= 0 {
		return nil, errors.New("no targets, or turns of no time")
	}
	whole := time.Duration(0)
	for _, c := range targets {
		if err := c.Validate(); err != nil {
			return nil, err
		}
		whole += c.Warmup + c.Duration + time.Duration(passed*float64(c.Duration)) + turn
	}
	runs := make([]*run, len(targets))
	for i, c := range targets {
		runs[i] = newRun(c, time.Now().Add(whole+grace))
		defer runs[i].close()
		if err := runs[i].open(c.InFlight); err != nil {
			return nil, err
		}
	}
	results := make([][]Result, len(targets))
	count := max(1, targets[0].Duration/turn)
	turn = targets[0].Duration / count
	for n := 0; n < int(count) && ctx.Err() == nil; n++ {
		for i := range runs {
			if n%2 == 1 {
				i = len(runs) - 1 - i
			}
			before := time.Duration(passed * float64(turn))
			if n == 0 {
				before = targets[i].Warmup
			}
			results[i] = append(results[i], runs[i].turn(ctx, before, turn))
		}
	}
	return results, ctx.Err()
}
