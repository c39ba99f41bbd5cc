package main

import (
	"errors"
	"io"
	"log/slog"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/aabb9013/hangar"
)

// TestFailedListenerIsNoSignal: the first signal after it does not hurry.
func TestFailedListenerIsNoSignal(t *testing.T) {
	var log lockedBuffer
	logger := slog.New(slog.NewTextHandler(&log, nil))
	rt, err := hangar.New(hangar.Options{ConfigFile: fleetFile(t, "", "-ignore-eof", "-ignore-term"), Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	if err := rt.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := rt.Call(t.Context(), "stub", "echo", map[string]any{"text": "x"}); err != nil {
		t.Fatal(err)
	}
	caught := signals{end: make(chan os.Signal)}
	done, ended := make(chan error, 1), make(chan error, 1)
	done <- errors.New("the listener broke")
	go func() { ended <- awaitEnd(rt, logger, true, caught, done) }()
	for i, message := range []string{"the listener has ended", "closing already", "ending without waiting"} {
		if i > 0 {
			select {
			case caught.end <- syscall.SIGTERM:
			case err := <-ended:
				t.Fatalf("it ended before %q: %v\n%s", message, err, log.String())
			}
		}
		for deadline := time.Now().Add(patience); !strings.Contains(log.String(), message); time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("it does not tell %q:\n%s", message, log.String())
			}
		}
	}
	if err := <-ended; err == nil || err.Error() != "the listener broke" {
		t.Errorf("it ended with %v", err)
	}
}

func TestSignalAfterTheEndOfStdinEndsWithoutWaiting(t *testing.T) {
	p := launch(t, nil, "-v", "-c", fleetFile(t, "", "-ignore-eof", "-ignore-term"))
	for _, line := range []string{
		`{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-06-18","capabilities":{},"clientInfo":{"name":"t","version":"1"}}}`,
		`{"jsonrpc":"2.0","method":"notifications/initialized"}`,
		`{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"stub__echo","arguments":{"text":"x"}}}`,
	} {
		if _, err := io.WriteString(p.stdin, line+"\n"); err != nil {
			t.Fatal(err)
		}
	}
	p.stdin.Close()
	p.await("closing, for the client has left")
	p.signal(syscall.SIGTERM)
	p.await("ending without waiting")
	if code := p.exit(); code != 0 {
		t.Errorf("exit code %d", code)
	}
}
