package actors

import "github.com/aabb9013/hangar/supervisor"

// wakeServer: group → server; starts it as a call would, and answers nobody.
type wakeServer struct{}

func (c *cell) onWake() {
	if c.retired == "" && !c.sys.closing.Load() {
		c.step(supervisor.StartWanted{Cause: supervisor.CauseCall})
	}
}

// watched is what the groups of a server were told last.
type watched struct {
	condition supervisor.Condition
	failures  uint64
}

// tellGroups tells the groups that have the server as a member how it is, when
// that is new, and of each further failure.
func (c *cell) tellGroups(v *supervisor.View) {
	is := watched{condition: v.Condition}
	if v.Condition == supervisor.ConditionFailed {
		is.failures = v.TotalFailures
	}
	if is == c.watched {
		return
	}
	c.watched = is
	if groups := c.groups.Load(); groups != nil {
		for _, g := range *groups {
			c.sys.tell(g.pid, memberChanged{c.id, is.condition})
		}
	}
}

// tellChecked tells the groups of a health check, or of calls that were as good.
func (c *cell) tellChecked(ok bool) {
	if groups := c.groups.Load(); groups != nil {
		for _, g := range *groups {
			c.sys.tell(g.pid, memberReported{c.id, ok})
		}
	}
}
