package backendtest

import (
	"errors"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/aabb9013/hangar/backends"
)

var streamCases = []contractCase{
	{"noise on stdout is tolerated", streamBanner},
	{"too much noise ends the instance", streamNoise},
	{"a line over the limit ends the instance in bounded memory", streamHuge},
	{"output byte by byte", streamBytes},
	{"duplicate answers are ignored", streamDup},
	{"answers to unknown ids are ignored", streamWrongID},
	{"requests of the server are answered: roots/list", streamAsk("roots/list", `{"roots":[]}`)},
	{"requests of the server are answered: ping", streamAsk("ping", `{}`)},
	{"requests of the server are answered: unknown", streamAsk("sampling/createMessage", `-32601`)},
	{"list_changed is passed on", streamListChanged},
	{"a flood of notifications does not hold up calls", streamFlood},
	{"stderr goes to the ring", streamStderr},
}

// C01
func streamBanner(b *bench) {
	s := b.ready(Behaviour{Banner: true})
	for range 20 {
		if got := s.text("echo", args{"text": "through"}); got != "through" {
			b.Errorf("got %q", got)
		}
	}
}

// C01
func streamNoise(b *bench) {
	s := b.start(Behaviour{Noise: 10 * backends.MaxNoise})
	s.tryHandshake() // may or may not get that far
	if exit := s.awaitEnd(); !errors.Is(exit.Err, backends.ErrProtocol) {
		b.Errorf("exit %+v", exit)
	}
}

// C02
func streamHuge(b *bench) {
	const limit = 1 << 20
	size := 64 << 20
	if b.h.Virtual() {
		size = 3 * limit
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	s := b.start(Behaviour{HugeLine: size}, func(spec *backends.LaunchSpec) { spec.MaxMessage = limit })
	s.tryHandshake()
	exit := s.awaitEnd()
	if !errors.Is(exit.Err, backends.ErrMessageTooLarge) {
		b.Errorf("exit %+v", exit)
	}
	runtime.ReadMemStats(&after)
	if grown := after.TotalAlloc - before.TotalAlloc; grown > 2*limit && !b.h.Virtual() {
		b.Errorf("allocated %d bytes for a limit of %d", grown, limit)
	}
}

// C03
func streamBytes(b *bench) {
	s := b.ready(Behaviour{ByteAtATime: true})
	text := "zażółć \U0001F600 \u00e9"
	if got := s.text("echo", args{"text": text}); got != text {
		b.Errorf("got %q", got)
	}
}

// C04
func streamDup(b *bench) {
	s := b.ready(Behaviour{DupID: true})
	for i := range 50 {
		want := strconv.Itoa(i)
		if got := s.text("echo", args{"text": want}); got != want {
			b.Errorf("got %q, want %q", got, want)
		}
	}
}

// C04
func streamWrongID(b *bench) {
	s := b.ready(Behaviour{WrongID: true})
	c := s.send("echo", args{"text": "x"})
	if _, err := s.Request(b.Context(), "ping", nil); err != nil {
		b.Fatal(err)
	}
	if n := s.InFlight(); n != 1 || len(c.Done()) != 0 {
		b.Errorf("%d calls in flight; a foreign answer was taken", n)
	}
	if !s.Cancel(c.ID, errGaveUp) {
		b.Error("the call is lost")
	}
}

func streamAsk(method, want string) func(*bench) {
	return func(b *bench) {
		s := b.ready(Behaviour{Ask: []string{method}})
		// The answer goes out before the calls that follow the handshake, but
		// the reader may be slower than the first of them.
		var got string
		for range 100 {
			if got = s.text("roots", nil); got != "null" {
				break
			}
		}
		if !strings.Contains(got, want) {
			b.Errorf("%s was answered %q, want %q in it", method, got, want)
		}
	}
}

func streamListChanged(b *bench) {
	s := b.start(Behaviour{ListChanged: true})
	s.rec.mu.Lock()
	s.rec.notified = make(chan string, 10)
	s.rec.mu.Unlock()
	s.handshake()
	s.text("echo", args{"text": "x"})
	if method := await(b, s.rec.notified, "a notification"); method != "notifications/tools/list_changed" {
		b.Errorf("got %q", method)
	}
	tools, err := backends.ListTools(b.Context(), s)
	if err != nil {
		b.Fatal(err)
	}
	if cat := (&backends.Catalogue{Tools: tools}); !has(cat, "added") || !has(cat, "echo") {
		b.Error("the new list lacks tools")
	}
}

func has(cat *backends.Catalogue, name string) bool {
	return cat.Tool([]byte(name)) != nil
}

// C11
func streamFlood(b *bench) {
	const flood = 30_000
	s := b.ready(Behaviour{NotifyFlood: flood})
	for range 50 {
		if got := s.text("echo", args{"text": "x"}); got != "x" {
			b.Errorf("got %q", got)
		}
	}
	s.Stop(b.Context(), 0)
	s.rec.mu.Lock()
	defer s.rec.mu.Unlock()
	for _, m := range s.rec.methods {
		if m == "notifications/progress" {
			b.Fatal("progress of an unknown token was passed on")
		}
	}
}

func streamStderr(b *bench) {
	const lines = backends.LogLines + 500
	s := b.ready(Behaviour{StderrLines: lines})
	s.Stop(b.Context(), 0) // everything written is in the ring by then
	tail := s.spec.Log.Tail(lines)
	if len(tail) != backends.LogLines || s.spec.Log.Dropped() != lines-backends.LogLines {
		b.Fatalf("%d lines in the ring, %d dropped", len(tail), s.spec.Log.Dropped())
	}
	for i, line := range tail {
		want := "testserver: stderr line " + strconv.Itoa(i+lines-backends.LogLines)
		if line.Text != want || line.Epoch != 42 || line.At.IsZero() || time.Since(line.At) > time.Minute {
			b.Fatalf("line %d is %+v, want %q", i, line, want)
		}
	}
}
