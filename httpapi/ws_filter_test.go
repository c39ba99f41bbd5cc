package httpapi

import (
	"fmt"
	"testing"
)

func TestMatcherRemembers(t *testing.T) {
	m := newMatcher([]string{"a*[0-4]", "b"})
	names := func(from, to int, check func(name string, want bool)) {
		for i := from; i < to; i++ {
			check(fmt.Sprint("a", i), i%10 < 5)
		}
	}
	right := func(name string, want bool) {
		t.Helper()
		if got := m.matches(name); got != want {
			t.Errorf("%s matches: %v, want %v", name, got, want)
		}
		if len(m.found) > maxMatched {
			t.Fatalf("%d names are remembered", len(m.found))
		}
	}
	names(0, maxMatched, right)
	m.patterns = []string{"[!"} // whoever is looked at now matches nothing
	names(0, maxMatched, right)
	// One more, and all are looked at again.
	names(maxMatched, maxMatched+1, func(name string, _ bool) { right(name, false) })
	names(0, maxMatched, func(name string, _ bool) { right(name, false) })
}
