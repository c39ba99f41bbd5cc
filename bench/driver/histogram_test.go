package driver

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

func TestHistogramQuantilesAreCloseToSortedSamples(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for name, sample := range map[string]func() time.Duration{
		"uniform":     func() time.Duration { return time.Duration(random.IntN(1e6)) },
		"exponential": func() time.Duration { return time.Duration(random.ExpFloat64() * 1e6) },
		"small":       func() time.Duration { return time.Duration(random.IntN(50)) },
	} {
		var a, b Histogram
		var samples []time.Duration
		for i := range 20000 {
			d := sample()
			samples = append(samples, d)
			if i%3 == 0 {
				a.Record(d)
			} else {
				b.Record(d)
			}
		}
		a.Merge(&b)
		slices.Sort(samples)
		if a.Count() != uint64(len(samples)) {
			t.Fatalf("%s: count %d, want %d", name, a.Count(), len(samples))
		}
		for _, q := range []float64{0, .5, .9, .99, .999, 1} {
			want := samples[max(int(math.Ceil(q*float64(len(samples))))-1, 0)]
			if got := a.Quantile(q); got < want || float64(got) > float64(want)*1.017+1 {
				t.Errorf("%s: quantile %v is %v, want %v or up to 1.7 %% more", name, q, got, want)
			}
		}
	}
}

func TestHistogramBucketsCoverEveryDuration(t *testing.T) {
	for _, v := range []uint64{0, 1, 63, 64, 65, 127, 128, 1 << 20, 1<<20 + 12345, math.MaxInt64} {
		i := bucket(v)
		if upper(i) < v || (i > 0 && upper(i-1) >= v) {
			t.Errorf("%d is in bucket %d, which ends at %d", v, i, upper(i))
		}
	}
	var h Histogram
	if h.Quantile(.5) != 0 {
		t.Error("an empty histogram has a median")
	}
	h.Record(-time.Second)
	h.Record(math.MaxInt64)
	if h.Count() != 2 || h.Quantile(.5) != 0 {
		t.Errorf("count %d, median %v", h.Count(), h.Quantile(.5))
	}
}
