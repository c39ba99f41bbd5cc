package hangar

import (
	"hash/fnv"

	"github.com/aabb9013/hangar/backends"
)

// CallOption says more of one Call.
type CallOption func(*backends.Call)

// AsPrincipal says who calls: a group that pins the principal sends the call to
// that member while it is in rotation. Nothing is checked or granted by it.
func AsPrincipal(id string) CallOption {
	return func(c *backends.Call) { c.Principal = id }
}

// embeddedSession marks the sessions of embedding programs, so that they never
// meet the key of an MCP session.
const embeddedSession = 1 << 61

// InSession makes the call one of a session: sessions take turns where calls
// wait, and a group with affinity keeps a session with one member. Calls
// without it are of one session that has no affinity.
func InSession(id string) CallOption {
	h := fnv.New64a()
	_, _ = h.Write([]byte(id))
	key := embeddedSession | h.Sum64()>>3
	return func(c *backends.Call) { c.Session = key }
}
