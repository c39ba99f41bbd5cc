package actors

import (
	"maps"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/aabb9013/hangar/backends"
	"github.com/aabb9013/hangar/internal/redact"
	"github.com/aabb9013/hangar/supervisor"
)

// MaxLaunchSecrets bounds the different commands and environments whose secrets
// a server's log may still hold; the lines of older launches go with them.
const MaxLaunchSecrets = 8

// launchSecrets knows what the instances that the log has lines of were given.
// The log itself is kept as it was written: a flood of lines costs nothing, and
// who reads pays.
type launchSecrets struct {
	of    []launched // oldest first, no two in a row are the same; the actor's own
	known atomic.Pointer[redact.Redactor]
}

// launched is what the instances from an epoch on were given.
type launched struct {
	from    uint64
	command []string
	env     map[string]string
}

func (l launched) same(spec *supervisor.ServerSpec) bool {
	return slices.Equal(l.command, spec.Command) && maps.Equal(l.env, spec.Env)
}

// launching notes what the instance of an epoch is about to be given.
func (c *cell) launching(spec *supervisor.ServerSpec, epoch uint64) {
	s := &c.launchSecrets
	if n := len(s.of); n > 0 && s.of[n-1].same(spec) {
		return
	}
	s.of = append(s.of, launched{epoch, spec.Command, spec.Env})
	if len(s.of) <= MaxLaunchSecrets {
		s.known.Store(s.known.Load().Add(spec.Command, spec.Env))
		return
	}
	s.of = slices.Delete(s.of, 0, 1)
	c.log.DropBefore(s.of[0].from) // before the redactor forgets them
	var known *redact.Redactor
	for _, l := range s.of {
		known = known.Add(l.command, l.env)
	}
	s.known.Store(known)
}

// secrets knows what must not be shown of this server: what it is to be started
// with, and what the instances of its log were.
func (c *cell) secrets() *redact.Redactor {
	s := &c.launchSecrets
	if n := len(s.of); n > 0 && s.of[n-1].same(&c.spec) {
		return s.known.Load()
	}
	return s.known.Load().Add(c.spec.Command, c.spec.Env)
}

// shownLog is the end of the server's log as people may see it. Any goroutine
// may call it.
func (c *cell) shownLog(n int) []backends.LogLine {
	known := c.launchSecrets.known.Load()
	lines := c.log.Tail(n)
	// A launch between the two knows other secrets, and has other lines.
	for now := c.launchSecrets.known.Load(); now != known; now = c.launchSecrets.known.Load() {
		known, lines = now, c.log.Tail(n)
	}
	for i := range lines {
		lines[i].Text = shownLine(known, lines[i])
	}
	return lines
}

// cutMark ends a line that was longer than backends.LogLineBytes.
const cutMark = "..."

// shownLine is a line without secrets, also one that the ring cut open, in valid
// UTF-8.
func shownLine(known *redact.Redactor, line backends.LogLine) string {
	text := known.Excerpt(line.Text, backends.LogLineBytes, line.Cut)
	if line.Cut && !strings.HasSuffix(text, redact.CutMark) {
		text += cutMark
	}
	return text
}
