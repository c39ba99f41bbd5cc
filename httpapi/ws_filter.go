package httpapi

import (
	"path"
	"strings"
)

// maxMatched bounds the names of which a list of patterns remembers whether
// they match; when it is full they are all forgotten.
const maxMatched = 1024

// eventFilter says which events a stream shows: those that match both lists. A
// nil list matches all, an empty one nothing.
type eventFilter struct{ kinds, servers []string }

// wants returns a function that tells whether an event is shown. It remembers
// what it found, because the feed of all streams waits for it, event by event.
// It is for one goroutine at a time.
func (f eventFilter) wants() func(kind, server string) bool {
	kinds, servers := newMatcher(f.kinds), newMatcher(f.servers)
	return func(kind, server string) bool {
		return (kinds == nil || kinds.matches(kind)) &&
			// An event about no server has no mcp_server_id that could match.
			(servers == nil || server != "" && servers.matches(server))
	}
}

// matcher is a list of patterns and what it found of names.
type matcher struct {
	patterns []string
	found    map[string]bool
}

// newMatcher is nil for the list that matches all.
func newMatcher(patterns []string) *matcher {
	if patterns == nil {
		return nil
	}
	return &matcher{patterns: patterns, found: map[string]bool{}}
}

func (m *matcher) matches(name string) bool {
	if found, ok := m.found[name]; ok {
		return found
	}
	if len(m.found) >= maxMatched {
		clear(m.found)
	}
	found := m.look(name)
	m.found[strings.Clone(name)] = found // not a part of what was read
	return found
}

func (m *matcher) look(name string) bool {
	for _, p := range m.patterns {
		if ok, _ := path.Match(p, name); ok {
			return true
		}
	}
	return false
}
