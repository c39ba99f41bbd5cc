package actors

import (
	"slices"
	"time"

	"github.com/aabb9013/hangar/backends"
)

// MaxWaiting bounds the calls that wait in front of one server; one more is
// refused with supervisor.ErrOverloaded.
const MaxWaiting = 1000

// fairQueue holds waiting calls: in order within a session, sessions in turn,
// so that one client's burst does not starve another's call.
type fairQueue struct {
	lines map[uint64]*sessionLine
	turns []*sessionLine // sessions with waiting calls, in order of turn
	size  int
}

type sessionLine struct {
	session uint64
	calls   []*backends.Call
}

// push appends a call; false if the queue is full.
func (q *fairQueue) push(c *backends.Call) bool {
	if q.size >= MaxWaiting {
		return false
	}
	line := q.lines[c.Session]
	if line == nil {
		if q.lines == nil {
			q.lines = make(map[uint64]*sessionLine)
		}
		line = &sessionLine{session: c.Session}
		q.lines[c.Session] = line
		q.turns = append(q.turns, line)
	}
	line.calls = append(line.calls, c)
	q.size++
	return true
}

// pop takes the next call of the session whose turn it is.
func (q *fairQueue) pop() *backends.Call {
	if q.size == 0 {
		return nil
	}
	line := q.turns[0]
	q.turns[0] = nil
	q.turns = q.turns[1:]
	c := line.calls[0]
	line.calls[0] = nil
	line.calls = line.calls[1:]
	q.size--
	if len(line.calls) > 0 {
		q.turns = append(q.turns, line)
	} else {
		delete(q.lines, line.session)
	}
	return c
}

// unpop puts back what pop just took: it is the next again.
func (q *fairQueue) unpop(c *backends.Call) {
	line := q.lines[c.Session]
	if line != nil { // pop sent the line to the end of the turns
		q.turns = q.turns[:len(q.turns)-1]
	} else {
		if q.lines == nil {
			q.lines = make(map[uint64]*sessionLine)
		}
		line = &sessionLine{session: c.Session}
		q.lines[c.Session] = line
	}
	line.calls = slices.Insert(line.calls, 0, c)
	q.turns = slices.Insert(q.turns, 0, line)
	q.size++
}

// remove takes the call with this id out; nil if it does not wait here. It
// looks at every waiting call: cancelling is rare.
func (q *fairQueue) remove(id uint64) *backends.Call {
	for t, line := range q.turns {
		for i, c := range line.calls {
			if c.ID != id {
				continue
			}
			line.calls = slices.Delete(line.calls, i, i+1)
			q.size--
			if len(line.calls) == 0 {
				delete(q.lines, line.session)
				q.turns = slices.Delete(q.turns, t, t+1)
			}
			return c
		}
	}
	return nil
}

// expire takes out every call whose deadline is not after now and returns the
// earliest deadline of the rest.
func (q *fairQueue) expire(now time.Time, due func(*backends.Call)) (next time.Time) {
	var turns []*sessionLine
	for _, line := range q.turns {
		kept := line.calls[:0]
		for _, c := range line.calls {
			if at := c.Deadline; !at.IsZero() && !at.After(now) {
				q.size--
				due(c)
				continue
			} else if !at.IsZero() && (next.IsZero() || at.Before(next)) {
				next = at
			}
			kept = append(kept, c)
		}
		clear(line.calls[len(kept):])
		line.calls = kept
		if len(kept) > 0 {
			turns = append(turns, line)
		} else {
			delete(q.lines, line.session)
		}
	}
	q.turns = turns
	return next
}
