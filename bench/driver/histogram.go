package driver

import (
	"math/bits"
	"time"
)

const (
	subBits = 6 // 64 buckets per power of two: an error of at most 1.6 %
	sub     = 1 << subBits
)

// Histogram counts durations in buckets whose width grows with the value. It is not safe for concurrent use: every
// worker has its own, and they are merged at the end.
type Histogram struct {
	counts [(64 - subBits) * sub]uint64
	total  uint64
}

// Record counts one duration; a negative one counts as 0.
func (h *Histogram) Record(d time.Duration) {
	h.counts[bucket(uint64(max(d, 0)))]++
	h.total++
}

// Merge adds the counts of another histogram.
func (h *Histogram) Merge(other *Histogram) {
	for i, n := range other.counts {
		h.counts[i] += n
	}
	h.total += other.total
}

// Count returns the number of recorded durations.
func (h *Histogram) Count() uint64 { return h.total }

// Quantile returns a duration that at least the share q of the recorded ones did not exceed, exact to a bucket, and 0
// when nothing was recorded.
func (h *Histogram) Quantile(q float64) time.Duration {
	if h.total == 0 {
		return 0
	}
	want := max(uint64(q*float64(h.total)+0.9999999), 1)
	var seen uint64
	for i, n := range h.counts {
		if seen += n; seen >= want {
			return time.Duration(upper(i))
		}
	}
	return 0
}

// bucket maps values below 64 to themselves, and larger ones by their highest seven bits.
func bucket(v uint64) int {
	if v < sub {
		return int(v)
	}
	shift := bits.Len64(v) - subBits - 1
	return (shift+1)<<subBits + int(v>>shift) - sub
}

// upper is the largest value of a bucket.
func upper(i int) uint64 {
	if i < sub {
		return uint64(i)
	}
	shift := i>>subBits - 1
	return (uint64(i&(sub-1))+sub+1)<<shift - 1
}
