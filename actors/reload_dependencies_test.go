package actors

import (
	"strings"
	"testing"

	"github.com/aabb9013/hangar/supervisor"
)

func ofFile(s *supervisor.ServerSpec) { s.Provenance = supervisor.FromConfig }

// TestReloadOfDependencies: a file's servers come, change and go one by one, in
// any order; the graph is that of the whole when the last has come.
func TestReloadOfDependencies(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s, l := newLives(t, nil)
		put := func(spec supervisor.ServerSpec, how Replace) {
			t.Helper()
			if err := s.Put(t.Context(), spec, how); err != nil {
				t.Fatal(err)
			}
		}
		put(spec("web", ofFile, needs("db")), DrainInstance) // before what it needs
		put(spec("db", ofFile), DrainInstance)
		s.mustEcho("web")
		l.want(t, "+db +web")

		// The other way round, the one after the other: for a moment a circle.
		put(spec("db", ofFile, needs("web"), strategy(supervisor.AllForOne)), KeepInstance)
		put(spec("web", ofFile), KeepInstance)
		l.want(t, "")
		s.backend.Last("db").Crash(1)
		l.want(t, "-db -web +web +db")

		// It becomes permanent while it rests, and is replaced while it runs.
		put(spec("db", ofFile), KeepInstance)
		if err := s.Stop(t.Context(), "web", "test"); err != nil {
			t.Fatal(err)
		}
		l.want(t, "-web")
		put(spec("web", ofFile, restart(supervisor.Permanent)), KeepInstance)
		l.want(t, "+web")
		put(spec("web", ofFile, restart(supervisor.Permanent), concurrency(3)), DrainInstance)
		l.want(t, "-web +web")
	})
}

func TestReloadTakesADependencyAway(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s, _ := newLives(t, nil, spec("db", ofFile))
		if err := s.Create(t.Context(), spec("api", needs("db"))); err != nil {
			t.Fatal(err)
		}
		wantErr(t, s.Delete(t.Context(), "db"), supervisor.ErrInUse)
		if err := s.Remove(t.Context(), "db", DrainInstance); err != nil {
			t.Fatal(err)
		}
		err := s.echo("api")
		wantErr(t, err, supervisor.ErrStartFailed)
		if !strings.Contains(err.Error(), `"db" is not up: there is no such server`) {
			t.Errorf("%v", err)
		}
		if err := s.Put(t.Context(), spec("db", ofFile), DrainInstance); err != nil {
			t.Fatal(err)
		}
		s.mustEcho("api")
	})
}
