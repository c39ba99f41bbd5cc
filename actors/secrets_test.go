package actors

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aabb9013/hangar/backends"
	"github.com/aabb9013/hangar/backends/fake"
	"github.com/aabb9013/hangar/supervisor"
)

func (s *testSystem) logText(server string) string {
	s.t.Helper()
	synctest.Wait()
	lines, err := s.Logs(server, backends.LogLines)
	if err != nil {
		s.t.Fatal(err)
	}
	var b strings.Builder
	for _, l := range lines {
		b.WriteString(l.Text + "\n")
	}
	return b.String()
}

// The log of a server shows nothing that it was given, however old the line and
// wherever it was cut.
func TestLogsHoldNoSecret(t *testing.T) {
	bubble(t, func(t *testing.T) {
		secret := func(launch uint64) string { return fmt.Sprintf("canary%02d%s", launch, strings.Repeat("y", 20)) }
		env := func(launch uint64) map[string]string { return map[string]string{"DB_PASSWORD": secret(launch)} }
		s := newTestSystem(t, func(_ string, epoch uint64) fake.Script {
			return fake.Script{Stderr: []string{
				fmt.Sprintf("launch %d opens with %s", epoch, secret(epoch)),
				strings.Repeat("-", backends.LogLineBytes-10) + secret(epoch),
				strings.Repeat("\xff", backends.LogLineBytes-10) + secret(epoch),
				"--token canary-argument",
			}}
		}, spec("a", func(s *supervisor.ServerSpec) {
			s.Command, s.Env = []string{"fake", "--token", "canary-argument"}, env(1)
		}))
		const launches = MaxLaunchSecrets + 3
		for n := uint64(1); n <= launches; n++ {
			s.mustEcho("a")
			text := s.logText("a")
			if strings.Contains(text, "canary") || !strings.Contains(text, fmt.Sprintf("launch %d opens with ***", n)) {
				t.Fatalf("after launch %d: %s", n, strings.ReplaceAll(text, "-", ""))
			}
			next := env(n + 1)
			if err := s.Update(t.Context(), "a", supervisor.Patch{Env: &next}); err != nil {
				t.Fatal(err)
			}
			if text := s.logText("a"); strings.Contains(text, "canary") {
				t.Fatalf("after an update: %s", strings.ReplaceAll(text, "-", ""))
			}
			if err := s.Stop(t.Context(), "a", "test"); err != nil {
				t.Fatal(err)
			}
		}
		// What the redactor cannot know any more is not there any more.
		text := s.logText("a")
		for n := 1; n <= launches; n++ {
			if kept := n > launches-MaxLaunchSecrets; strings.Contains(text, fmt.Sprintf("launch %d opens", n)) != kept {
				t.Errorf("launch %d: kept %v, want %v", n, !kept, kept)
			}
		}
		if dropped := s.view("a").Log.Dropped(); dropped != 3*4 {
			t.Errorf("%d lines counted as dropped", dropped)
		}
	})
}

// A dossier keeps less of a line than the ring.
func TestDossiersHoldNoSecretThatWasCut(t *testing.T) {
	bubble(t, func(t *testing.T) {
		for name, fill := range map[string]string{"text": "a", "no text": "\xff"} {
			s := newTestSystem(t, always(fake.Script{
				Stderr: []string{strings.Repeat(fill, backends.LogLineBytes-10) + "canary-of-the-server"}, RunFor: time.Second, ExitCode: 1,
			}), spec("a", func(s *supervisor.ServerSpec) {
				s.Env = map[string]string{"DB_PASSWORD": "canary-of-the-server"}
				s.Restart = supervisor.Temporary
			}))
			s.mustEcho("a")
			time.Sleep(2 * time.Second)
			all := s.dossiers("a")
			if len(all) != 1 || len(all[0].Stderr) != 1 {
				t.Fatalf("%s: %+v", name, all)
			}
			if line := all[0].Stderr[0].Text; strings.Contains(line, "canary") {
				t.Errorf("%s: the last line of stderr ends with %q", name, line[max(0, len(line)-40):])
			}
		}
	})
}

func TestOrdinaryLinesOfTheLogAreShownAsTheyAre(t *testing.T) {
	bubble(t, func(t *testing.T) {
		lines := []string{"listening on http://127.0.0.1:8000", "Traceback: x...", "", strings.Repeat("x", 2*backends.LogLineBytes)}
		s := newTestSystem(t, always(fake.Script{Stderr: lines}), spec("a"))
		s.mustEcho("a")
		want := strings.Join(lines[:3], "\n") + "\n" + lines[3][:backends.LogLineBytes] + cutMark + "\n"
		if got := s.logText("a"); got != want {
			t.Errorf("got %.200q…, %d bytes, want %d", got, len(got), len(want))
		}
	})
}

// What a server answers may hold what it was given.
func TestAFailedListIsLoggedWithoutSecrets(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var log bytes.Buffer
		s := newTestSystemWith(t, nil, func(o *Options) {
			o.Logger = slog.New(slog.NewTextHandler(&log, nil))
			o.Specs = []supervisor.ServerSpec{spec("a", func(s *supervisor.ServerSpec) { s.Env = map[string]string{"DB_PASSWORD": "canary-in-the-answer"} })}
		})
		s.mustEcho("a")
		ref, _ := s.Ref([]byte("a"))
		s.tell(ref.cell.pid, toolsListed{epoch: 1, err: &backends.RPCError{Code: -32603, Message: "cannot log in with canary-in-the-answer"}})
		synctest.Wait()
		if text := log.String(); strings.Contains(text, "canary") || !strings.Contains(text, "cannot log in with ***") {
			t.Errorf("the log says %s", text)
		}
	})
}
