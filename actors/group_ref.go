package actors

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/aabb9013/hangar/backends"
	"github.com/aabb9013/hangar/supervisor"
)

// minTimeout is the shortest timeout of a call that counts as a member's
// failure when it passes: an impatient caller must not eject anybody. It is the
// second that a caller may ask for, less what the way here takes of that.
const minTimeout = 900 * time.Millisecond

// GroupRef is one group seen from outside of the tree. It stays valid after
// the group was deleted; its calls then fail with supervisor.ErrGroupNotFound.
type GroupRef struct{ group *group }

// ID is the group's id.
func (r GroupRef) ID() string { return r.group.id }

// View shows the group as if it were one server: with the tools of all its
// members, each once.
func (r GroupRef) View() *supervisor.View { return r.group.catalogue().view }

// Do sends the call to a member and waits for the answer at most timeout, as
// Ref.Do does. A call that was certainly not written to the member, or whose
// tool says that it may be repeated, is tried on further members within that
// time and the group's retry budget. supervisor.ErrGroupUnavailable, at once,
// when no member can be picked.
func (r GroupRef) Do(c *backends.Call, timeout time.Duration) error {
	g := r.group
	began := time.Now()
	except := g.catalogue().lacks[c.Tool]
	s, probe, err := g.pick(c, began, except)
	if err != nil {
		return err
	}
	err = s.do(c, began, timeout)
	if err == nil && !probe && !g.measures.Load() && !s.wants.Load() {
		return nil
	}
	g.heard(s, probe, began, timeout, err)
	if err == nil {
		return nil
	}
	return g.failOver(c, began.Add(timeout), s, except, err)
}

// Cancel ends the call with this id at whichever member has it: its Do returns
// cause.
func (r GroupRef) Cancel(id uint64, cause error) {
	now := r.group.now.Load()
	for _, s := range now.seats {
		Ref{s.cell}.Cancel(id, cause)
	}
	for _, s := range now.former {
		Ref{s.cell}.Cancel(id, cause)
	}
}

// pick chooses the member for a call and counts the call as in flight there.
func (g *group) pick(c *backends.Call, now time.Time, except []string) (s *seat, probe bool, err error) {
	p := &g.pool
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.deleted {
		return nil, false, groupNotFound(g.id)
	}
	p.calls++
	p.budget.Called()
	return p.choose(g, c, now, except, nil)
}

// pickNext chooses a further member, if the retry budget allows; last is why.
func (g *group) pickNext(c *backends.Call, now time.Time, except []string, last error) (s *seat, probe bool, err error) {
	p := &g.pool
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.budget.Take() {
		return nil, false, last
	}
	if s, probe, err = p.choose(g, c, now, except, last); err == nil {
		p.retries++
	} else {
		p.budget.Return()
	}
	return s, probe, err
}

func (p *pool) choose(g *group, c *backends.Call, now time.Time, except []string, last error) (*seat, bool, error) {
	i, probe := p.balancer.Select(supervisor.Pick{
		Now: now, Random: rand.Uint64, Session: c.Session, Principal: c.Principal, InFlight: p.inFlight, Except: except, Again: last != nil,
	})
	if i < 0 {
		p.refused++
		return nil, false, &supervisor.GroupUnavailableError{
			Group: g.id, Members: len(p.seats), Circuit: g.now.Load().machine.Breaker.State(), Last: last,
		}
	}
	s := p.seats[i]
	s.cell.active.Add(1)
	return s, probe, nil
}

// do makes the call at the member that pick chose. It is not handed over to
// the same member again: others may be quicker.
func (s *seat) do(c *backends.Call, began time.Time, timeout time.Duration) error {
	defer s.cell.active.Add(-1)
	return s.cell.do(c, began, timeout, 0)
}

// heard tells the group's actor how a call ended, as far as that changes
// anything. A crash and a failed start are told by the server itself, once
// and not for every call they cost.
func (g *group) heard(s *seat, probe bool, began time.Time, timeout time.Duration, err error) {
	switch {
	case err == nil:
		// A call that waited for a start says nothing of the answers.
		if g.measures.Load() && !s.cell.view.Load().ReadySince.After(began) {
			s.calls.Add(1)
			s.took.Add(int64(time.Since(began)))
		}
		if probe || s.wants.CompareAndSwap(true, false) {
			g.sys.tell(g.pid, memberReported{s.cell.id, true})
		}
	case errors.Is(err, supervisor.ErrCallTimeout) && timeout >= minTimeout:
		g.sys.tell(g.pid, memberReported{s.cell.id, false})
	case probe:
		g.sys.tell(g.pid, probeReturned{})
	}
}

// failOver tries further members as long as that is safe, allowed and in time.
func (g *group) failOver(c *backends.Call, deadline time.Time, s *seat, except []string, err error) error {
	tried := append(make([]string, 0, len(except)+4), except...)
	for err != nil && s.mayRepeat(c, err) {
		now := time.Now()
		left := deadline.Sub(now)
		if left <= 0 {
			return err
		}
		tried = append(tried, s.cell.id)
		next, probe, refused := g.pickNext(c, now, tried, err)
		if refused != nil {
			return refused
		}
		s = next
		c.Rewind()
		err = s.do(c, now, left)
		g.heard(s, probe, now, left, err)
	}
	return err
}

// mayRepeat tells whether a call that failed at the member may be made again:
// it had no effect there, or its tool says that a second time does no harm.
func (s *seat) mayRepeat(c *backends.Call, err error) bool {
	var crash *backends.CrashError
	switch {
	case errors.Is(err, supervisor.ErrInternal), errors.Is(err, supervisor.ErrClosing), errors.Is(err, supervisor.ErrCallTimeout),
		errors.As(err, new(nodeFullError)):
		return false
	case errors.As(err, &crash):
		return !crash.Sent || s.isIdempotent(c.Tool)
	}
	return errors.Is(err, supervisor.ErrStartFailed) || errors.Is(err, supervisor.ErrCannotStart) ||
		errors.Is(err, supervisor.ErrStopped) || errors.Is(err, supervisor.ErrOverloaded) ||
		errors.Is(err, supervisor.ErrServerNotFound)
}

// isIdempotent reads the tool's annotations in the member's own list.
func (s *seat) isIdempotent(name string) bool {
	tool := s.cell.view.Load().Catalogue.Tool([]byte(name))
	var hints struct {
		Annotations struct {
			ReadOnly   bool `json:"readOnlyHint"`
			Idempotent bool `json:"idempotentHint"`
		} `json:"annotations"`
	}
	return tool != nil && json.Unmarshal(tool.Raw, &hints) == nil && (hints.Annotations.ReadOnly || hints.Annotations.Idempotent)
}

func groupNotFound(id string) error {
	return fmt.Errorf("%w: %q", supervisor.ErrGroupNotFound, id)
}
