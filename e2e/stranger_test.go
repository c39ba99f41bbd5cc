package e2e_test

import (
	"net"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// What happens to people who hold it wrong: the program ends soon, with a code
// that is not 0, and one clear message instead of a trace.

// goodConfig has nothing wrong, so that the mistake is elsewhere.
func goodConfig(t *testing.T) string {
	t.Helper()
	return writeFile(t, []byte("mcp_servers: {calc: {mode: subprocess, command: [calc]}}\n"))
}

func TestMistakesOnTheCommandLine(t *testing.T) {
	config := goodConfig(t)
	broken := writeFile(t, []byte("mcp_servers:\n  calc:\n    mode: subprocess\n    comand: [x]\n"))
	missing := filepath.Join(t.TempDir(), "nowhere.yaml")
	for _, c := range []struct {
		name  string
		args  []string
		tells []string // what the message must hold
	}{
		{"unknown flag", []string{"serve", "--htpp"}, []string{"--htpp"}},
		{"unknown command", []string{"sevre"}, []string{"sevre"}},
		{"port that is no number", []string{"serve", "--http", "--port", "http", "--config", config}, []string{"port"}},
		{"port out of range", []string{"serve", "--http", "--port", "70000", "--config", config}, []string{"70000"}},
		{"missing configuration", []string{"serve", "--http", "--config", missing}, []string{missing}},
		{"missing configuration, flag before the command", []string{"--config", missing, "serve", "--http"}, []string{missing}},
		{"mistake in the configuration", []string{"serve", "--http", "--config", broken}, []string{broken, "command"}},
		{"open to the network without auth", []string{"serve", "--http", "--host", "0.0.0.0", "--config", config}, []string{"--unsafe-no-auth"}},
		{"unknown example server", []string{"example-server", "nope"}, []string{"nope"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			args := c.args
			if args[0] != "example-server" && args[0] != "sevre" {
				args = append(args, "--data-dir", t.TempDir())
			}
			got := run(t, 10*time.Second, args...)
			if got.code != 1 && got.code != 2 {
				t.Errorf("exit code %d, want 1 or 2", got.code)
			}
			checkReadable(t, got, c.tells...)
		})
	}
}

// checkReadable checks that a failure's message tells these things and is fit to read.
func checkReadable(t *testing.T, got ended, tells ...string) {
	t.Helper()
	for _, want := range tells {
		if !strings.Contains(got.stderr, want) {
			t.Errorf("stderr does not tell %q:\n%s", want, got.stderr)
		}
	}
	if strings.Contains(got.stderr, "goroutine ") || strings.Contains(got.stderr, "panic:") {
		t.Errorf("stderr has a trace:\n%s", got.stderr)
	}
	if got.stdout != "" {
		t.Errorf("stdout, which programs read, has %q", got.stdout)
	}
}

func TestHelpAndVersion(t *testing.T) {
	for _, args := range [][]string{{"--help"}, {"serve", "--help"}, {"version"}} {
		got := run(t, 10*time.Second, args...)
		if got.code != 0 || got.stdout == "" {
			t.Errorf("hangar %s: exit code %d, stdout %q", strings.Join(args, " "), got.code, got.stdout)
		}
	}
}

func TestPortInUse(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	port := strconv.Itoa(listener.Addr().(*net.TCPAddr).Port)
	got := run(t, 10*time.Second, "serve", "--http", "--port", port, "--config", goodConfig(t), "--data-dir", t.TempDir())
	if got.code == 0 {
		t.Error("exit code 0")
	}
	checkReadable(t, got, port, "in use")
}

func TestSecondStartOnTheSameData(t *testing.T) {
	h := start(t, servers{"one": stub()})
	h.mustCall("one", "echo", map[string]any{"text": "x"})
	got := run(t, 10*time.Second, "serve", "--http", "--port", strconv.Itoa(freePort(t)), "--config", h.config, "--data-dir", h.dataDir)
	if got.code == 0 {
		t.Error("exit code 0")
	}
	checkReadable(t, got, h.dataDir, strconv.Itoa(h.command.Process.Pid))
	// The first goes on as if nothing had been.
	h.mustCall("one", "echo", map[string]any{"text": "x"})
}

func TestInterruptEndsCleanly(t *testing.T) {
	h := start(t, servers{"one": stub(), "two": stub("-ignore-eof")})
	h.mustCall("one", "echo", map[string]any{"text": "x"})
	h.mustCall("two", "echo", map[string]any{"text": "x"})
	mine := tagged(t, h.tag)
	h.signal(syscall.SIGINT)
	// 130 is what shells and the reference give to an interrupt.
	if code := h.awaitExit(15 * time.Second); code != 0 && code != 130 {
		t.Errorf("exit after SIGINT: %s, want code 0 or 130", h.command.ProcessState)
	}
	noneLeft(t, mine, time.Second)
	if text := h.output.tail(64 << 10); strings.Contains(text, "goroutine ") {
		t.Errorf("the output has a trace:\n%s", text)
	}
}

func TestSecondInterruptEndsAtOnce(t *testing.T) {
	h := start(t, servers{"stubborn": stub("-ignore-eof", "-ignore-term")})
	h.mustCall("stubborn", "echo", map[string]any{"text": "x"})
	mine := tagged(t, h.tag)
	h.signal(syscall.SIGINT)
	time.Sleep(500 * time.Millisecond)
	if h.hasExited() {
		t.Fatal("the program left without waiting for its server")
	}
	h.signal(syscall.SIGINT)
	h.awaitExit(2 * time.Second)
	noneLeft(t, mine, 2*time.Second)
}

// TestSilentConnectionsDoNotHoldTheEnd: browsers and connection pools open
// connections ahead of need; those that never sent a byte have nothing to
// finish.
func TestSilentConnectionsDoNotHoldTheEnd(t *testing.T) {
	h := start(t, servers{"one": stub()})
	for range 3 {
		conn, err := net.Dial("tcp", "127.0.0.1:"+strconv.Itoa(h.port))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
	}
	h.mustCall("one", "echo", map[string]any{"text": "x"}) // by now they are accepted
	begin := time.Now()
	h.stop()
	if took := time.Since(begin); took > 5*time.Second {
		t.Errorf("the end took %s", took.Round(time.Millisecond))
	}
}
