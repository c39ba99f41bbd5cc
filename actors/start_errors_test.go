package actors

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/aabb9013/hangar/backends"
	"github.com/aabb9013/hangar/backends/fake"
	"github.com/aabb9013/hangar/supervisor"
)

// What a caller is told of a start that failed says each thing once.
func TestErrorsOfStartsAreToldOnce(t *testing.T) {
	scripts := func(server string, _ uint64) fake.Script {
		switch server {
		case "db":
			return fake.Script{StartErr: fmt.Errorf("%w: no such program", backends.ErrPermanent)}
		case "crash":
			return fake.Script{InitCrash: true, ExitCode: 3}
		case "hang":
			return fake.Script{InitHang: true}
		case "short":
			return fake.Script{StartErr: fmt.Errorf("%w: no process left", backends.ErrResource)}
		case "loop":
			return fake.Script{RunFor: time.Millisecond, ExitCode: 1}
		}
		return fake.Script{}
	}
	bubble(t, func(t *testing.T) {
		s := newTestSystem(t, scripts, spec("db"), spec("api", needs("db")), spec("web", needs("api")),
			spec("crash"), spec("hang"), spec("short"), spec("loop"))
		for id, want := range map[string]struct {
			text string
			is   error // besides ErrStartFailed
			last string
		}{
			"db": {`server "db" did not start: spawn: permanent start error: no such program`, backends.ErrPermanent,
				`start failed: spawn: permanent start error: no such program`},
			"web": {`server "web" did not start: its dependency is not up: server "api" did not start: its dependency is not up: ` +
				`server "db" did not start: spawn: permanent start error: no such program`, supervisor.ErrStartFailed,
				`its dependency is not up: server "api" did not start: its dependency is not up: ` +
					`server "db" did not start: spawn: permanent start error: no such program`},
			"crash": {`server "crash" did not start: initialize: server crashed during the handshake (exit code 3)`, supervisor.ErrStartFailed,
				`start failed: initialize: server crashed during the handshake (exit code 3)`},
			"hang": {`server "hang" did not start: initialize: init_timeout: no answer in time; raise start_timeout_s if the server is only slow`,
				supervisor.ErrStartFailed, ""},
			"short": {`server "short" did not start: spawn: resource_exhausted: no process left`, backends.ErrResource, ""},
		} {
			err := s.echo(id)
			if err == nil || err.Error() != want.text || !errors.Is(err, supervisor.ErrStartFailed) || !errors.Is(err, want.is) {
				t.Errorf("%s: got %v\nwant %s", id, err, want.text)
			}
			if last := s.view(id).LastError; want.last != "" && last != want.last {
				t.Errorf("%s: last error %q, want %q", id, last, want.last)
			}
		}
		if _, err := s.Start(t.Context(), "loop"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(20 * time.Second)
		err := s.echo("loop")
		if err == nil || !strings.HasPrefix(err.Error(), `server "loop" cannot start now: gave up: too many restarts; retry in `) {
			t.Errorf("after giving up: %v", err)
		}
	})
}

// A permanent server is not to end, so an exit without an error is one.
func TestNormalExitOfAPermanentServerIsAFailure(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newTestSystem(t, nil, spec("a", restart(supervisor.Permanent)), spec("b"))
		s.startAll()
		for _, id := range []string{"a", "b"} {
			s.backend.Last(id).Crash(0)
		}
		time.Sleep(time.Second)
		if v := s.view("a"); v.LastError != "ended: exit code 0" || v.TotalFailures != 1 || v.Failures != 1 || v.Restarts != 1 {
			t.Errorf("permanent: %+v", v)
		}
		if v := s.view("b"); v.LastError != "" || v.TotalFailures != 0 || v.Failures != 0 || v.Restarts != 0 {
			t.Errorf("transient: %+v", v)
		}
	})
}
