package supervisor

import (
	"slices"
	"time"
)

// Latency is how long one member's calls took on average in a measurement.
type Latency struct {
	ID    string
	Calls int
	Mean  time.Duration
}

// measured ejects members that are much slower than the median of all, slowest
// first. Fewer than three judged members have no median worth the name.
func (s *groupStep) measured(all []Latency) {
	p := s.g.Spec.Outlier
	judged := slices.DeleteFunc(slices.Clone(all), func(l Latency) bool { return l.Calls < p.MinCalls })
	if p.Factor <= 0 || len(judged) < 3 {
		return
	}
	slices.SortFunc(judged, func(a, b Latency) int { return int(b.Mean - a.Mean) })
	limit := time.Duration(p.Factor * float64(judged[len(judged)/2].Mean))
	for _, l := range judged {
		m := s.member(l.ID)
		if m == nil || !m.InRotation || l.Mean <= limit {
			continue
		}
		if s.eject(m, reasonSlow); !m.InRotation {
			m.slow, m.ejectedUntil = true, s.now.Add(p.Ejection)
		}
	}
}
