package actors

import (
	"fmt"
	"time"

	"github.com/aabb9013/hangar/backends"
	"github.com/aabb9013/hangar/supervisor"
)

// shed refuses a call whose turn would come after its deadline: to let it wait
// would only keep others waiting behind it.
func (c *cell) shed(call *backends.Call) bool {
	if c.queue.size == 0 {
		return false
	}
	ahead := c.queue.ahead(call.Session)
	wait, late := c.drain.TooLate(ahead, time.Now(), call.Deadline)
	if late {
		c.refuse(call, fmt.Errorf("%w: %d calls before this one at server %q take about %s, which is beyond its deadline",
			supervisor.ErrOverloaded, ahead, c.id, wait.Round(time.Millisecond)))
	}
	return late
}

// queued notes the moment from which calls wait for a ready server.
func (c *cell) queued() {
	if c.queue.size == 1 {
		c.drain = c.drain.Begin(time.Now())
	}
}

// ahead counts the calls that get their turn before the next one of a session:
// sessions take turns, so that of each other session at most as many go first.
func (q *fairQueue) ahead(session uint64) int {
	own := 0
	if line := q.lines[session]; line != nil {
		own = len(line.calls)
	}
	n := own
	for _, line := range q.turns {
		if line.session != session {
			n += min(len(line.calls), own+1)
		}
	}
	return n
}
