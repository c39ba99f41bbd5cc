package supervisor

import (
	"math"
	"testing"
	"time"
)

func TestDelayCurve(t *testing.T) {
	t.Parallel()
	p := testPolicy()
	want := []time.Duration{0, 100, 200, 400, 800, 1600, 3200, 6400, 12800, 25600, 30000, 30000}
	for n, ms := range want {
		if got := p.delay(n, noJitter); got != ms*time.Millisecond {
			t.Errorf("delay(%d) = %v, want %v", n, got, ms*time.Millisecond)
		}
	}
	for _, n := range []int{100, 1 << 20, math.MaxInt} {
		if got := p.delay(n, noJitter); got != DefaultBackoffMax {
			t.Errorf("delay(%d) = %v, want the cap", n, got)
		}
	}
}

// TestFirstRestartIsSpread: the restart that is at once differs by a little from
// server to server (R03), as far as the policy has jitter.
func TestFirstRestartIsSpread(t *testing.T) {
	t.Parallel()
	last := math.Nextafter(1, 0)
	tests := []struct {
		name   string
		p      Policy
		random float64
		want   time.Duration
	}{
		{"the first moment", testPolicy(), 0, 0},
		{"the middle", testPolicy(), 0.5, maxSpread / 2},
		{"the last moment", testPolicy(), last, maxSpread - 1},
		{"no jitter", Policy{BackoffInitial: time.Second}, last, 0},
		{"no delay to jitter", Policy{Jitter: 1}, last, 0},
		{"less than the most", Policy{BackoffInitial: 10 * time.Millisecond, Jitter: 0.2}, 0.5, time.Millisecond},
		{"a long delay", Policy{BackoffInitial: time.Hour, Jitter: 1}, last, maxSpread - 1},
		{"jitter above 1", Policy{BackoffInitial: 4 * time.Millisecond, Jitter: 9}, 0.5, 2 * time.Millisecond},
		{"negative jitter", Policy{BackoffInitial: time.Second, Jitter: -1}, last, 0},
		{"jitter is no number", Policy{BackoffInitial: time.Second, Jitter: math.NaN()}, last, 0},
		{"random is no number", testPolicy(), math.NaN(), 0},
		{"random above 1", testPolicy(), 7, maxSpread},
		{"negative", Policy{BackoffInitial: -time.Second, Jitter: 1}, last, 0},
	}
	for _, tt := range tests {
		if got := tt.p.spread(tt.random); got != tt.want {
			t.Errorf("%s: spread(%v) = %v, want %v", tt.name, tt.random, got, tt.want)
		}
	}
}

func TestDelayJitterBounds(t *testing.T) {
	t.Parallel()
	p := testPolicy()
	for n := 1; n < 15; n++ {
		middle := p.delay(n, noJitter)
		low, high := p.delay(n, 0), p.delay(n, math.Nextafter(1, 0))
		if low != middle*8/10 {
			t.Errorf("delay(%d) with the smallest random number = %v, want %v", n, low, middle*8/10)
		}
		if high > middle*12/10 || high < middle*12/10-1 {
			t.Errorf("delay(%d) with the largest random number = %v, want %v", n, high, middle*12/10)
		}
	}
}

func TestDelayOfOddPolicies(t *testing.T) {
	t.Parallel()
	longest := time.Duration(math.MaxInt64)
	tests := []struct {
		name   string
		p      Policy
		n      int
		random float64
		want   time.Duration
	}{
		{"zero policy", Policy{}, 3, 0.5, 0},
		{"no cap given", Policy{BackoffInitial: time.Second}, 3, 0.5, 0},
		{"cap below the initial delay", Policy{BackoffInitial: time.Minute, BackoffMax: time.Second}, 1, 0.5, time.Second},
		{"doubling leaves the range", Policy{BackoffInitial: time.Hour, BackoffMax: longest}, 90, 0.5, longest},
		{"jitter leaves the range", Policy{BackoffInitial: longest, BackoffMax: longest, Jitter: 1}, 1, 0.99, longest},
		{"jitter above 1", Policy{BackoffInitial: time.Second, BackoffMax: time.Minute, Jitter: 9}, 1, 0, 0},
		{"negative jitter", Policy{BackoffInitial: time.Second, BackoffMax: time.Minute, Jitter: -1}, 1, 0, time.Second},
		{"jitter is no number", Policy{BackoffInitial: time.Second, BackoffMax: time.Minute, Jitter: math.NaN()}, 1, 0, time.Second},
		{"random is no number", Policy{BackoffInitial: time.Second, BackoffMax: time.Minute, Jitter: 0.5}, 1, math.NaN(), time.Second / 2},
		{"negative", Policy{BackoffInitial: -time.Second, BackoffMax: -time.Second}, 4, 0.5, 0},
	}
	for _, tt := range tests {
		if got := tt.p.delay(tt.n, tt.random); got != tt.want {
			t.Errorf("%s: delay(%d, %v) = %v, want %v", tt.name, tt.n, tt.random, got, tt.want)
		}
	}
}
