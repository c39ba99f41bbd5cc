package e2e_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// These tests are about servers that misbehave: what is told of it, and that
// nobody else feels it. The limits are those of ARCHITECTURE.md.

// raw makes the stub write these bytes to its stdout, then answer.
func (h *hangar) raw(server, bytes string) (toolResult, error) {
	return h.call(server, "raw", map[string]any{"base64": []byte(bytes)})
}

func (h *hangar) mustEcho(server, text string) {
	h.t.Helper()
	if got := h.mustCall(server, "echo", map[string]any{"text": text}).text(); got != text {
		h.t.Errorf("%s: got %q, want %q", server, got, text)
	}
}

// TestNoiseOnStdoutIsCountedAndSurvived proves C01.
func TestNoiseOnStdoutIsCountedAndSurvived(t *testing.T) {
	h := start(t, servers{"noisy": stub("-banner")})
	for i := range 30 {
		h.mustEcho("noisy", fmt.Sprint("through ", i))
	}
	before := h.detail("noisy").Health.Noise
	if before == 0 {
		t.Error("the banner was not counted")
	}
	noise := "\xef\xbb\xbfBOM\r\n\x1b[31mred\x1b[0m\n\n   \n{not json}\n[1,2\nnull\n\"text\"\n"
	if _, err := h.raw("noisy", noise); err != nil {
		t.Fatal(err)
	}
	d := h.detail("noisy")
	// The stub adds three lines of its own before each answer.
	if got, want := d.Health.Noise-before, uint64(strings.Count(noise, "\n")+3); got != want || d.Epoch != 1 {
		t.Errorf("%d lines of noise counted in epoch %d, want %d in the first", got, d.Epoch, want)
	}
	var logs struct {
		Logs []struct{ Line, Stream string }
	}
	h.get("/api/mcp_servers/noisy/logs?lines=1000", &logs)
	shown := 0
	for _, l := range logs.Logs {
		if l.Stream == "stdout" {
			shown++
		}
	}
	if shown == 0 {
		t.Error("none of the noise is in the log")
	}
	// More than 1,000 lines of nothing else in a row are no protocol any more.
	_, err := h.raw("noisy", strings.Repeat("no message\n", 1100))
	var refused *refusal
	if !errors.As(err, &refused) || !strings.Contains(refused.Message, "protocol_error") {
		t.Errorf("after 1,100 lines of noise: got %v, want a protocol error", err)
	}
	if d := h.readyAgain("noisy", 1); !strings.Contains(d.LastError, "protocol_error") {
		t.Errorf("the last error is %q", d.LastError)
	}
	h.mustEcho("noisy", "again")
}

// TestEndlessLineEndsOnlyItsServer proves C02.
func TestEndlessLineEndsOnlyItsServer(t *testing.T) {
	const limit = 16 << 20
	h := start(t, servers{"huge": stub(), "other": stub()})
	h.mustEcho("huge", "up")
	h.mustEcho("other", "up")
	base := h.vitals().memory
	stop, peak := h.undisturbed("other"), h.peak()
	_, err := h.call("huge", "big", map[string]any{"bytes": 64 << 20})
	d := h.readyAgain("huge", 1)
	stop()
	grownBy(t, base, peak(), 2*limit)
	var refused *refusal
	if !errors.As(err, &refused) || !strings.Contains(refused.Message, "message_too_large") || !strings.Contains(d.LastError, fmt.Sprint(limit)) {
		t.Errorf("a line of 64 MiB: got %v, last error %q", err, d.LastError)
	}
	h.mustEcho("huge", "again")
}

// TestBytesArriveOneByOne proves C03: every byte a write of its own, so that
// messages and characters are split anywhere, and many messages in one write.
func TestBytesArriveOneByOne(t *testing.T) {
	h := start(t, servers{"split": stub("-byte-at-a-time"), "joined": stub("-dup-id")})
	for _, text := range []string{"zażółć gęślą jaźń", "\U0001F600\u2028\x00\"\\", strings.Repeat("é", 2000)} {
		h.mustEcho("split", text)
	}
	var wg sync.WaitGroup
	for i := range 64 {
		wg.Go(func() {
			for n := range 10 {
				text := fmt.Sprint("joined ", i, " ", n)
				if result, err := h.call("joined", "echo", map[string]any{"text": text}); err != nil || result.text() != text {
					t.Errorf("got %q, %v; want %q", result.text(), err, text)
				}
			}
		})
	}
	wg.Wait()
	// Each of its answers came twice, in one write.
	h.await("joined", "all repeated answers", func(d detail) bool { return d.Health.DroppedAnswers >= 640 })
}

// TestHostileMessagesHurtOnlyTheirCall proves C04; the scanner's own fuzz tests
// are in internal/jsonrpc. $ID is the id of the call.
func TestHostileMessagesHurtOnlyTheirCall(t *testing.T) {
	h := start(t, servers{"hostile": stub()})
	good := `{"content":[{"type":"text","text":"good"}]}`
	for name, c := range map[string]struct {
		line string
		want string // the text of the answer, or a part of the error
	}{
		"invalid UTF-8":            {`{"jsonrpc":"2.0","id":$ID,"result":{"content":[{"type":"text","text":"` + "\xff\xfe" + `"}]}}`, "protocol_error"},
		"NUL in a string":          {`{"jsonrpc":"2.0","id":$ID,"result":{"content":[{"type":"text","text":"` + "\x00" + `"}]}}`, "protocol_error"},
		"depth of 100,000":         {`{"jsonrpc":"2.0","id":$ID,"result":` + strings.Repeat(`{"a":`, 100_000) + "1" + strings.Repeat("}", 100_000) + `}`, "protocol_error"},
		"depth before the id":      {`{"jsonrpc":"2.0","result":` + strings.Repeat(`[`, 100_000) + strings.Repeat("]", 100_000) + `,"id":$ID}`, "written"},
		"duplicate id":             {`{"jsonrpc":"2.0","id":$ID,"id":$ID,"result":` + good + `}`, "written"},
		"duplicate result":         {`{"jsonrpc":"2.0","id":$ID,"result":` + good + `,"result":{"content":[]}}`, "protocol_error"},
		"Result in another case":   {`{"jsonrpc":"2.0","id":$ID,"Result":` + good + `}`, "protocol_error"},
		"ID in another case":       {`{"jsonrpc":"2.0","ID":$ID,"result":` + good + `}`, "written"},
		"JSONRPC in another case":  {`{"JSONRPC":"2.0","id":$ID,"result":` + good + `}`, "protocol_error"},
		"the id as a string":       {`{"jsonrpc":"2.0","id":"$ID","result":` + good + `}`, "good"}, // some servers answer so
		"the id with a fraction":   {`{"jsonrpc":"2.0","id":$ID.0,"result":` + good + `}`, "written"},
		"an id that nobody sent":   {`{"jsonrpc":"2.0","id":18446744073709551615,"result":` + good + `}`, "written"},
		"an id that is too large":  {`{"jsonrpc":"2.0","id":1e400,"result":` + good + `}`, "written"},
		"a huge number elsewhere":  {`{"jsonrpc":"2.0","id":$ID,"result":{"content":[{"type":"text","text":"good"}],"n":1e400}}`, "good"},
		"a batch":                  {`[{"jsonrpc":"2.0","id":$ID,"result":` + good + `}]`, "written"},
		"the good answer twice":    {`{"jsonrpc":"2.0","id":$ID,"result":` + good + "}\n" + `{"jsonrpc":"2.0","id":$ID,"result":{"content":[]}}`, "good"},
		"two messages on one line": {`{"jsonrpc":"2.0","id":$ID,"result":` + good + `}{"jsonrpc":"2.0","id":$ID,"result":` + good + `}`, "protocol_error"},
	} {
		result, err := h.raw("hostile", c.line+"\n")
		got := result.text()
		if err != nil {
			got = err.Error()
		}
		if !strings.Contains(got, c.want) {
			t.Errorf("%s: got %.200q, want %q", name, got, c.want)
		}
		h.mustEcho("hostile", "after "+name)
	}
	if d := h.detail("hostile"); d.Epoch != 1 || d.State != "ready" {
		t.Errorf("a hostile message cost the server its instance: %+v", d)
	}
}

// TestStalledStdinEndsOnlyItsServer proves C05.
func TestStalledStdinEndsOnlyItsServer(t *testing.T) {
	t.Parallel()
	h := start(t, servers{"deaf": stub("-stall-at-call"), "other": stub()})
	h.mustEcho("other", "up")
	if err := h.request("POST", "/api/mcp_servers/deaf/start", nil, nil); err != nil {
		t.Fatal(err)
	}
	client := h.newRPC()
	stop := h.undisturbed("other")
	first := make(chan error, 1)
	go func() {
		_, err := h.call("deaf", "echo", map[string]any{"text": "x"})
		first <- err
	}()
	h.await("deaf", "the first call under way", func(d detail) bool { return d.Health.Invocations > 0 })
	begin := time.Now()
	_, err := client.call("deaf__echo", map[string]any{"text": strings.Repeat("x", 10<<20)})
	took := time.Since(begin)
	stop()
	for _, err := range []error{<-first, err} {
		if err == nil || !strings.Contains(err.Error(), "stdin_stalled") {
			t.Errorf("a call of a server that does not read ended with %v", err)
		}
	}
	if took < 4*time.Second || took > patience {
		t.Errorf("10 MiB that nobody reads were given up after %s, want some 5 s", took)
	}
	if d := h.readyAgain("deaf", 1); !strings.Contains(d.LastError, "stdin_stalled") {
		t.Errorf("the last error is %q", d.LastError)
	}
}

// TestStderrFloodCostsABoundedRing proves C06. It takes two minutes, for a flood
// is read slowly; the tests beside it are those that wait, too.
func TestStderrFloodCostsABoundedRing(t *testing.T) {
	t.Parallel()
	const line = 100
	flood := 1 << 30
	if raceBuilt() {
		flood = 128 << 20
	}
	h := start(t, servers{"loud": stub("-stderr-bytes", fmt.Sprint(flood)), "other": stub()})
	h.mustEcho("other", "up")
	base := h.vitals().memory
	stop, peak := h.undisturbed("other"), h.peak()
	begin := time.Now()
	h.mustEcho("loud", "up")
	var d detail
	if !eventually(6*time.Minute, func() bool {
		d = h.detail("loud")
		return int(d.Health.DroppedLines) >= flood/line-1000-1
	}) {
		t.Errorf("only %d lines of %d were drained", d.Health.DroppedLines, flood/line)
	}
	t.Logf("%d MiB of stderr drained in %s", flood>>20, time.Since(begin).Round(time.Millisecond))
	stop()
	grownBy(t, base, peak(), 16<<20)
	h.mustEcho("loud", "still here")
	if d := h.detail("loud"); d.Epoch != 1 {
		t.Errorf("the flood cost the server its instance: %+v", d)
	}
}

// TestClosedStreamsAndCleanExit proves C07.
func TestClosedStreamsAndCleanExit(t *testing.T) {
	t.Parallel()
	h := start(t, servers{"out": stub("-ignore-eof"), "in": stub(), "done": stub()})
	h.mustEcho("out", "up")
	if _, err := h.call("out", "close", map[string]any{"name": "stdout"}); err == nil || !strings.Contains(err.Error(), "stdout_closed") {
		t.Errorf("a call of a server that closed its stdout: %v", err)
	}
	if d := h.readyAgain("out", 1); !strings.Contains(d.LastError, "stdout_closed") || d.Restarts != 1 {
		t.Errorf("after a closed stdout: %+v", d)
	}

	stdin := fmt.Sprintf("/proc/%d/fd/0", childPID(t, h, "in"))
	closed := make(chan error, 1)
	go func() {
		_, err := h.call("in", "close", map[string]any{"name": "stdin"})
		closed <- err
	}()
	if !eventually(patience, func() bool { _, err := os.Lstat(stdin); return os.IsNotExist(err) }) {
		t.Fatal("the child did not close its stdin")
	}
	// Whoever calls finds out: the call was not sent, so the next instance has it.
	h.mustEcho("in", "again")
	if err := <-closed; err == nil || !strings.Contains(err.Error(), "stdin closed") {
		t.Errorf("the call in flight at a closed stdin: %v", err)
	}
	if d := h.detail("in"); !strings.Contains(d.LastError, "stdin closed") || d.Restarts != 1 {
		t.Errorf("after a closed stdin: %+v", d)
	}

	h.mustEcho("done", "up")
	if _, err := h.call("done", "crash", map[string]any{"code": 0}); err == nil {
		t.Error("a call of a server that exited was answered")
	}
	// A transient server that exits normally is at rest, not restarted, until a call comes.
	if d := h.await("done", "the end", func(d detail) bool { return d.State != "ready" }); d.State != "cold" || d.Restarts != 0 || d.Health.InstanceFailures != 0 {
		t.Errorf("after exit code 0: %+v", d)
	}
	h.mustEcho("done", "again")
}

// TestFloodOfNotificationsIsCoalesced proves C11.
func TestFloodOfNotificationsIsCoalesced(t *testing.T) {
	const calls = 300
	h := start(t, servers{"flood": stub("-notify-flood", "1000000000"), "other": stub()})
	h.mustEcho("other", "up")
	base := h.vitals().memory
	begin := time.Now()
	stop, peak := h.undisturbed("other"), h.peak()
	for i := range calls {
		h.mustEcho("flood", fmt.Sprint(i))
	}
	// One list in the handshake; after that one in a second at most, of which
	// the first comes at once.
	eventually(patience, func() bool { return time.Since(begin) > 3*time.Second && h.seen("flood").Lists > 2 })
	lists, took := h.seen("flood").Lists, time.Since(begin)
	stop()
	t.Logf("%d lists in %s", lists, took.Round(time.Millisecond))
	if most := int(took.Seconds()) + 3; lists < 3 || lists > most {
		t.Errorf("%d lists in %s, want 3 to %d", lists, took, most)
	}
	grownBy(t, base, peak(), 16<<20)
	if d := h.detail("flood"); d.Epoch != 1 || d.Health.Noise != 0 {
		t.Errorf("the flood cost the server its instance: %+v", d)
	}
}

// TestHandshakesThatFail proves C12.
func TestHandshakesThatFail(t *testing.T) {
	hang := stub("-init-hang")
	hang["start_timeout_s"] = 1
	h := start(t, servers{
		"hang": hang, "version": stub("-init-bad-version"), "crash": stub("-init-crash"), "twice": stub("-dup-id"),
	})
	for server, want := range map[string][]string{
		"hang":    {"hang", "initialize", "init_timeout"},
		"version": {"version", "1999-01-01", "2025-11-25"},
		"crash":   {"crash", "initialize", "exit code 3"},
	} {
		_, err := h.call(server, "echo", map[string]any{"text": "x"})
		var refused *refusal
		if !errors.As(err, &refused) || refused.Name != "McpServerStartError" {
			t.Errorf("%s: got %v, want McpServerStartError", server, err)
			continue
		}
		for _, text := range want {
			if !strings.Contains(refused.Message, text) {
				t.Errorf("%s: the message %q lacks %q", server, refused.Message, text)
			}
		}
		if d := h.detail(server); d.Health.InstanceFailures != 1 || d.PID != 0 || d.State == "ready" {
			t.Errorf("%s after a failed start: %+v", server, d)
		}
	}
	h.mustEcho("twice", "answered twice, taken once")
}

// TestStartsThatCannotWorkAreNotRepeated proves C13; an argument list that is
// too long does not fit the API and is proved beside the backend.
func TestStartsThatCannotWorkAreNotRepeated(t *testing.T) {
	folder := t.TempDir()
	file := func(name, text string, mode os.FileMode) string {
		path := filepath.Join(folder, name)
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	missing := filepath.Join(folder, "missing")
	plain, garbage := file("plain", "#!/bin/sh\n", 0o644), file("garbage", "\x00\x01\x02 no program", 0o755)
	script := file("script", "#!/no/such/interpreter\n", 0o755)
	nowhere := command("/bin/true")
	nowhere["cwd"] = filepath.Join(folder, "nowhere")
	broken := map[string]struct {
		spec map[string]any
		want []string
	}{
		"missing":     {command(missing), []string{missing, "no such file"}},
		"plain":       {command(plain), []string{plain, "permission denied"}},
		"format":      {command(garbage), []string{garbage, "exec format error"}},
		"interpreter": {command(script), []string{script, "no such file"}},
		"cwd":         {nowhere, []string{filepath.Join(folder, "nowhere"), "no such file"}},
		"name":        {command("no-such-program-anywhere"), []string{"no-such-program-anywhere", "not found"}},
	}
	fleet := servers{}
	for id, b := range broken {
		fleet[id] = b.spec
	}
	h := start(t, fleet)
	for id, b := range broken {
		_, err := h.call(id, "echo", map[string]any{"text": "x"})
		var refused *refusal
		if !errors.As(err, &refused) || refused.Name != "McpServerStartError" {
			t.Errorf("%s: got %v, want McpServerStartError", id, err)
			continue
		}
		for _, text := range append(b.want, "permanent") {
			if !strings.Contains(refused.Message, text) {
				t.Errorf("%s: the message %q lacks %q", id, refused.Message, text)
			}
		}
	}
	for id := range broken {
		if d := h.detail(id); d.State != "dead" || d.Epoch != 1 || d.NextRetryAt != nil || d.Restarts != 0 {
			t.Errorf("%s after its one attempt: %+v, want it dead without a plan", id, d)
		}
	}
}
