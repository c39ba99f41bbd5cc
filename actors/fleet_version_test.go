package actors

import (
	"encoding/json"
	"testing"
	"testing/synctest"

	"github.com/aabb9013/hangar/backends"
)

// Whoever lists the tools remembers of which version they are, and lists no more
// until there is another: a version that is there before its tools would hide
// them for good.
func TestToolsAreThereBeforeTheirVersion(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newTestSystem(t, nil, spec("a"))
		s.mustEcho("a")
		synctest.Wait() // the actor rests, so that the test can stand in its place
		cell, before := s.fleet.Load().byID["a"], s.FleetVersion()
		cell.setCatalogue(&backends.Catalogue{Tools: []backends.Tool{{Name: "other", Raw: json.RawMessage(`{"name":"other"}`)}}})
		if s.FleetVersion() != before {
			t.Error("the version grew before the tools are to be seen")
		}
		cell.publish()
		if s.FleetVersion() == before {
			t.Error("the tools changed, and the version did not grow")
		}
	})
}

func TestStartWithTheSameToolsIsNoNewVersion(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newTestSystem(t, nil, spec("a"))
		unknown := s.FleetVersion()
		s.mustEcho("a")
		synctest.Wait()
		known := s.FleetVersion()
		if known == unknown {
			t.Error("the first tools of a server are no new version")
		}
		for range 3 {
			if err := s.Stop(t.Context(), "a", "test"); err != nil {
				t.Fatal(err)
			}
			s.mustEcho("a")
		}
		if n := s.FleetVersion() - known; n != 0 {
			t.Errorf("%d new versions of a fleet whose tools did not change", n)
		}
	})
}
