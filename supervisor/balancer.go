package supervisor

import (
	"math"
	"slices"
	"time"
)

// Balancer picks the member for a call. It holds what strategies remember
// between calls, so that it is changed by every Select and is for one
// goroutine at a time; Select allocates nothing and takes time in proportion
// to the members, however many it is to leave out. Group.Balance makes one.
type Balancer struct {
	spec    GroupSpec
	seats   []seat
	places  map[string]int // seats by member
	from    []int          // seats that a call may go to, in order of the spec
	turn    uint64
	picks   uint64
	canary  int // seat, -1 for none in rotation
	share   int // percent of a call that the canary is owed
	ramping bool
	probing bool // from are members out of rotation: one call is let through
	// probe is the number of that call, probed that of the last one let through.
	probe, probed uint64
	rebalance     uint64 // of the group when it was made
}

// seat is one member's place in the balancer.
type seat struct {
	id       string
	hash     uint64
	weight   int
	priority int
	back     time.Time // when it came back, zero without slow start
	current  int       // of smooth weighted round robin
	picked   uint64    // number of the last pick
}

// Pick says for whom a member is picked. Only what the spec asks for is used.
type Pick struct {
	Now       time.Time
	Random    func() uint64 // uniform
	Session   uint64        // 0: none
	Principal string        // empty: not known
	// InFlight tells how many calls the member at an index of the spec has.
	InFlight func(index int) int
	// Except are members that must not be picked: they were tried for this
	// call, or lack its tool.
	Except []string
	// Again: a member was tried for this call, which is of no canary's share now.
	Again bool

	shut seatSet // of Except
}

// seatSet is a set of seats.
type seatSet [(MaxMembers + 63) / 64]uint64

func (s *seatSet) add(i int)      { s[i/64] |= 1 << (i % 64) }
func (s *seatSet) has(i int) bool { return s[i/64]&(1<<(i%64)) != 0 }

// Select picks a member: its index in the spec, or -1 when no member may be
// picked now. A member out of rotation is picked only as the one probe of a
// half-open breaker, or while it starts for the first time, and only when no
// member is in rotation.
func (b *Balancer) Select(p Pick) (index int, probe bool) {
	for _, id := range p.Except {
		if i := b.seatOf(id); i >= 0 {
			p.shut.add(i)
		}
	}
	index = b.choose(&p)
	if index < 0 {
		return -1, false
	}
	if b.probing {
		if b.probed == b.probe {
			return -1, false
		}
		b.probed = b.probe
	}
	b.picks++
	b.seats[index].picked = b.picks
	return index, b.probing
}

func (b *Balancer) choose(p *Pick) int {
	if len(b.from) == 0 {
		return -1
	}
	if p.Principal != "" {
		if i := b.seatOf(b.spec.Pins[p.Principal]); i >= 0 && b.fits(i, p) {
			return i
		}
	}
	except := -1
	if b.canary >= 0 {
		if b.fits(b.canary, p) && b.canaryTurn(p) {
			return b.canary
		}
		except = b.canary
	}
	i := b.byStrategy(p, except)
	if i < 0 && except >= 0 && b.fits(except, p) {
		return except // nobody else is left
	}
	return i
}

func (b *Balancer) byStrategy(p *Pick, canary int) int {
	if b.spec.Affinity == AffinitySession && p.Session != 0 {
		return b.bySession(p, canary)
	}
	switch b.spec.Strategy {
	case WeightedRoundRobin:
		return b.smooth(p, canary)
	case LeastConnections:
		return b.leastLoaded(p, canary)
	case RandomPick:
		return b.weighted(p, canary)
	case ByPriority:
		return b.inTurn(p, canary, b.firstPriority(p, canary))
	}
	return b.inTurn(p, canary, 0)
}

// open tells whether a seat takes part in the pick.
func (b *Balancer) open(i, canary int, p *Pick) bool {
	return i != canary && !p.shut.has(i)
}

// fits tells whether a seat that is meant by name may be picked.
func (b *Balancer) fits(i int, p *Pick) bool {
	return slices.Contains(b.from, i) && b.open(i, -1, p)
}

// inTurn is round robin over the open seats; priority other than 0 narrows
// them to those of that priority.
func (b *Balancer) inTurn(p *Pick, canary, priority int) int {
	if priority == 0 && canary < 0 && len(p.Except) == 0 {
		b.turn++
		return b.from[(b.turn-1)%uint64(len(b.from))]
	}
	// Turns of which others take some could come to the same seat each time.
	best := -1
	for _, i := range b.from {
		s := &b.seats[i]
		if b.open(i, canary, p) && (priority == 0 || s.priority == priority) && (best < 0 || s.picked < b.seats[best].picked) {
			best = i
		}
	}
	return best
}

func (b *Balancer) firstPriority(p *Pick, canary int) int {
	first := 0
	for _, i := range b.from {
		if s := &b.seats[i]; b.open(i, canary, p) && (first == 0 || s.priority < first) {
			first = s.priority
		}
	}
	return first
}

// smooth is smooth weighted round robin: every seat gains its weight, the
// highest is picked and pays what all gained. Weights 5, 1, 1 give a a b a c a a.
func (b *Balancer) smooth(p *Pick, canary int) int {
	best, total := -1, 0
	for _, i := range b.from {
		if !b.open(i, canary, p) {
			continue
		}
		s := &b.seats[i]
		w := b.effective(s, p)
		s.current += w
		total += w
		if best < 0 || s.current > b.seats[best].current {
			best = i
		}
	}
	if best >= 0 {
		b.seats[best].current -= total
	}
	return best
}

func (b *Balancer) leastLoaded(p *Pick, canary int) int {
	best, least := -1, 0
	for _, i := range b.from {
		if !b.open(i, canary, p) {
			continue
		}
		load := p.InFlight(i)
		if best < 0 || load < least || load == least && b.seats[i].picked < b.seats[best].picked {
			best, least = i, load
		}
	}
	return best
}

func (b *Balancer) weighted(p *Pick, canary int) int {
	total := 0
	for _, i := range b.from {
		if b.open(i, canary, p) {
			total += b.effective(&b.seats[i], p)
		}
	}
	left := int(unit(p.Random()) * float64(total))
	for _, i := range b.from {
		if !b.open(i, canary, p) {
			continue
		}
		if left -= b.effective(&b.seats[i], p); left < 0 {
			return i
		}
	}
	return -1
}

// bySession is weighted rendezvous hashing: a session stays with its member
// while that is there, and only the sessions of a member that went move.
func (b *Balancer) bySession(p *Pick, canary int) int {
	best, highest := -1, 0.0
	for _, i := range b.from {
		if !b.open(i, canary, p) {
			continue
		}
		s := &b.seats[i]
		score := -float64(s.weight) / math.Log(unit(mix(s.hash^p.Session)))
		if best < 0 || score > highest {
			best, highest = i, score
		}
	}
	return best
}

// canaryTurn tells whether the call is one of the canary's share: exactly
// Percent of each hundred calls, and with affinity that share of the sessions.
func (b *Balancer) canaryTurn(p *Pick) bool {
	percent := b.spec.Canary.Percent
	if b.spec.Affinity == AffinitySession && p.Session != 0 {
		return mix(p.Session)%100 < uint64(percent)
	}
	if p.Again {
		return false
	}
	if b.share += percent; b.share < 100 {
		return false
	}
	b.share -= 100
	return true
}

// rampSteps is the resolution of slow start.
const rampSteps = 100

// effective is a seat's weight now. A member that came back begins with a
// tenth of it.
func (b *Balancer) effective(s *seat, p *Pick) int {
	if !b.ramping {
		return s.weight * rampSteps
	}
	since := p.Now.Sub(s.back)
	if s.back.IsZero() || since >= b.spec.SlowStart {
		return s.weight * rampSteps
	}
	grown := int(float64(rampSteps) * float64(since) / float64(b.spec.SlowStart))
	return s.weight * min(max(grown, rampSteps/10), rampSteps)
}

func (b *Balancer) seatOf(id string) int {
	if i, ok := b.places[id]; ok {
		return i
	}
	return -1
}

// unit maps random bits to the open interval from 0 to 1.
func unit(bits uint64) float64 { return (float64(bits>>11) + 0.5) / (1 << 53) }

// mix spreads bits (the finalizer of splitmix64).
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

func hashOf(id string) uint64 {
	h := uint64(14695981039346656037) // FNV-1a
	for i := 0; i < len(id); i++ {
		h = (h ^ uint64(id[i])) * 1099511628211
	}
	return mix(h)
}
