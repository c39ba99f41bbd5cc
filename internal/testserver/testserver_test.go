package testserver

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/aabb9013/hangar/internal/leaktest"
)

func TestMain(m *testing.M) {
	ExecIfRequested()
	os.Exit(leaktest.Run(m))
}

// stub is a server in a process of its own and the pipes to it.
type stub struct {
	t      *testing.T
	cmd    *exec.Cmd
	stdin  *os.File
	stdout *bufio.Reader
	raw    *os.File
	stderr bytes.Buffer
	exited chan error
}

type answer struct {
	ID     json.RawMessage
	Method string
	Params json.RawMessage
	Result *struct {
		ProtocolVersion string
		Content         []struct{ Text string }
		IsError         bool
		NextCursor      string
		Tools           []struct{ Name string }
	}
	Error *struct {
		Code    int
		Message string
	}
}

func start(t *testing.T, flags ...string) *stub {
	t.Helper()
	command, env := Command(flags...)
	s := &stub{t: t, cmd: exec.Command(command[0], command[1:]...), exited: make(chan error, 1)}
	for key, value := range env {
		s.cmd.Env = append(os.Environ(), key+"="+value)
	}
	childIn, stdin, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, childOut, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	s.stdin, s.raw, s.stdout = stdin, stdout, bufio.NewReader(stdout)
	s.cmd.Stdin, s.cmd.Stdout, s.cmd.Stderr = childIn, childOut, &s.stderr
	s.cmd.WaitDelay = time.Second // a grandchild may hold stderr
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	childIn.Close()
	childOut.Close()
	go func() { s.exited <- s.cmd.Wait() }()
	t.Cleanup(func() {
		s.cmd.Process.Kill()
		stdin.Close()
		stdout.Close()
	})
	stdout.SetReadDeadline(time.Now().Add(20 * time.Second))
	return s
}

// ready starts a server and does the handshake.
func ready(t *testing.T, flags ...string) *stub {
	t.Helper()
	s := start(t, flags...)
	s.send(`{"jsonrpc":"2.0","id":"init","method":"initialize","params":{"protocolVersion":"2025-06-18","capabilities":{},"clientInfo":{"name":"t","version":"1"}}}`)
	a := s.receive()
	if a.Result == nil || a.Result.ProtocolVersion != "2025-06-18" {
		t.Fatalf("initialize: got %+v", a)
	}
	s.send(`{"jsonrpc":"2.0","method":"notifications/initialized"}`)
	return s
}

func (s *stub) send(lines ...string) {
	s.t.Helper()
	if _, err := io.WriteString(s.stdin, strings.Join(lines, "\n")+"\n"); err != nil {
		s.t.Fatal(err)
	}
}

// receive returns the next line that is a JSON object, as a careful client does.
func (s *stub) receive() answer {
	s.t.Helper()
	for {
		line, err := s.stdout.ReadBytes('\n')
		if err != nil {
			s.t.Fatalf("read: %v; stderr: %s", err, s.stderr.String())
		}
		var a answer
		if json.Unmarshal(line, &a) == nil {
			return a
		}
	}
}

func (s *stub) call(id int, tool, arguments string) answer {
	s.t.Helper()
	s.send(callLine(id, tool, arguments))
	return s.receive()
}

func (s *stub) wait() int {
	s.t.Helper()
	select {
	case <-s.exited:
		return s.cmd.ProcessState.ExitCode()
	case <-time.After(10 * time.Second):
		s.t.Fatal("the server did not exit")
		return 0
	}
}

func callLine(id int, tool, arguments string) string {
	return fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"method":"tools/call","params":{"name":%q,"arguments":%s}}`, id, tool, arguments)
}

func (a answer) text() string {
	if a.Result == nil || len(a.Result.Content) != 1 {
		return fmt.Sprintf("no text: %+v", a)
	}
	return a.Result.Content[0].Text
}

func TestEchoAnswersItsText(t *testing.T) {
	t.Parallel()
	s := ready(t)
	for i, text := range []string{"hello", "", `quote " backslash \ newline ` + "\n é \x00", strings.Repeat("0123456789abcdef", 20<<10)} {
		quoted, _ := json.Marshal(text)
		a := s.call(i, "echo", `{"text":`+string(quoted)+`}`)
		if got := a.text(); got != text {
			t.Errorf("got %.80q, want %.80q", got, text)
		}
		if string(a.ID) != strconv.Itoa(i) {
			t.Errorf("got id %s, want %d", a.ID, i)
		}
	}
	s.stdin.Close()
	if code := s.wait(); code != 0 {
		t.Errorf("exit code at the end of input: %d", code)
	}
}

func TestEchoAnswersABurst(t *testing.T) {
	t.Parallel()
	s := ready(t)
	const n = 2000
	go func() {
		var lines []string
		for i := range n {
			lines = append(lines, callLine(i, "echo", fmt.Sprintf(`{"text":"t%d"}`, i)))
		}
		io.WriteString(s.stdin, strings.Join(lines, "\n")+"\n")
	}()
	for i := range n {
		if a := s.receive(); string(a.ID) != strconv.Itoa(i) || a.text() != fmt.Sprintf("t%d", i) {
			t.Fatalf("answer %d: got id %s text %q", i, a.ID, a.text())
		}
	}
}

func TestSleepLeavesOtherCallsAlone(t *testing.T) {
	t.Parallel()
	s := ready(t)
	s.send(callLine(1, "sleep", `{"ms":300}`), callLine(2, "sleep", `{"ms":150}`), callLine(3, "echo", `{"text":"x"}`))
	for _, want := range []string{"3", "2", "1"} {
		if a := s.receive(); string(a.ID) != want {
			t.Errorf("got id %s, want %s", a.ID, want)
		}
	}
}

func TestSleepIsCancelled(t *testing.T) {
	t.Parallel()
	s := ready(t)
	s.send(callLine(1, "sleep", `{"ms":200}`), callLine(2, "sleep", `{"ms":400}`),
		`{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}`)
	if a := s.receive(); string(a.ID) != "2" {
		t.Errorf("got an answer to %s, want only 2", a.ID)
	}
}

func TestProtocolIsStrict(t *testing.T) {
	t.Parallel()
	s := start(t)
	check := func(line string, code int) {
		t.Helper()
		s.send(line)
		if a := s.receive(); a.Error == nil || a.Error.Code != code {
			t.Errorf("%s: got %+v, want code %d", line, a.Error, code)
		}
	}
	check(callLine(1, "echo", `{"text":"x"}`), notInitialized)
	check(`{"jsonrpc":"2.0","id":2,"method":"server/discover"}`, methodNotFound)
	check(`{"jsonrpc":"2.0","id":3,"method":"tools/li`, parseError)
	check(`[{"jsonrpc":"2.0","id":3,"method":"ping"}]`, invalidRequest)
	check(`{"id":3,"method":"ping"}`, invalidRequest)
	s.send(`{"jsonrpc":"2.0","id":4,"method":"ping"}`)
	if a := s.receive(); a.Result == nil {
		t.Errorf("ping before initialize: %+v", a)
	}
	s.send(`{"jsonrpc":"2.0","id":5,"method":"initialize","params":{"protocolVersion":"2031-01-01"}}`)
	if a := s.receive(); a.Result == nil || a.Result.ProtocolVersion != "2025-11-25" {
		t.Errorf("initialize with an unknown version: %+v", a.Result)
	}
	check(`{"jsonrpc":"2.0","id":6,"method":"tools/list"}`, notInitialized)
	s.send(`{"jsonrpc":"2.0","method":"notifications/initialized"}`)
	check(`{"jsonrpc":"2.0","id":7,"method":"initialize","params":{}}`, invalidRequest)
	check(callLine(8, "nothing", `{}`), invalidParams)
	check(callLine(9, "echo", `{"text":1}`), invalidParams)
	check(`{"jsonrpc":"2.0","id":10,"method":"tools/list","params":{"cursor":"x"}}`, invalidParams)
	check(callLine(11, "rpcerror", `{}`), -32050)
	if a := s.call(12, "fail", `{}`); a.Result == nil || !a.Result.IsError {
		t.Errorf("fail: %+v", a.Result)
	}
}

func TestToolsListPages(t *testing.T) {
	t.Parallel()
	s := ready(t, "-tools", "20", "-page", "7")
	var names []string
	params := `{}`
	for page := 0; page < 10; page++ {
		s.send(`{"jsonrpc":"2.0","id":1,"method":"tools/list","params":` + params + `}`)
		a := s.receive()
		if a.Result == nil || len(a.Result.Tools) > 7 {
			t.Fatalf("page %d: %+v", page, a)
		}
		for _, tool := range a.Result.Tools {
			names = append(names, tool.Name)
		}
		if a.Result.NextCursor == "" {
			break
		}
		params = fmt.Sprintf(`{"cursor":%q}`, a.Result.NextCursor)
	}
	if want := len(builtin) + 20; len(names) != want || names[0] != "echo" || names[want-1] != "dummy_19" {
		t.Errorf("got %d tools, want %d: %v", len(names), want, names)
	}
}

func TestProgressIsNotified(t *testing.T) {
	t.Parallel()
	s := ready(t)
	s.send(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"progress","arguments":{"n":3,"delay_ms":5},"_meta":{"progressToken":"p\u0031"}}}`)
	for i := 1; i <= 3; i++ {
		a := s.receive()
		if want := fmt.Sprintf(`{"progressToken":"p\u0031","progress":%d,"total":3}`, i); a.Method != "notifications/progress" || string(a.Params) != want {
			t.Errorf("got %s %s, want %s", a.Method, a.Params, want)
		}
	}
	if a := s.receive(); string(a.ID) != "1" || a.text() != "done" {
		t.Errorf("answer: %+v", a)
	}
}

func TestBannerIsNoJSON(t *testing.T) {
	t.Parallel()
	s := ready(t, "-banner")
	if a := s.call(1, "echo", `{"text":"x"}`); a.text() != "x" {
		t.Errorf("got %+v", a)
	}
	s = start(t, "-banner")
	if line, _ := s.stdout.ReadString('\n'); !strings.HasPrefix(line, "\xef\xbb\xbfStarting") {
		t.Errorf("first line %q", line)
	}
}

func TestToolsTellAboutTheProcess(t *testing.T) {
	t.Parallel()
	s := ready(t)
	if got, want := s.call(1, "pid", `{}`).text(), strconv.Itoa(s.cmd.Process.Pid); got != want {
		t.Errorf("pid: got %s, want %s", got, want)
	}
	if got := s.call(2, "env", `{"name":"`+EnvKey+`"}`).text(); got != "1" {
		t.Errorf("env: got %q", got)
	}
	if got := s.call(3, "count", `{}`).text(); got != "3" {
		t.Errorf("count: got %q", got)
	}
	if got := len(s.call(4, "big", `{"bytes":300000}`).text()); got != 300000 {
		t.Errorf("big: got %d bytes", got)
	}
	s.send(callLine(5, "crash", `{"code":7}`))
	if code := s.wait(); code != 7 {
		t.Errorf("crash: exit code %d", code)
	}
}

func TestExitFlags(t *testing.T) {
	t.Parallel()
	if code := start(t, "-crash-loop").wait(); code != 1 {
		t.Errorf("-crash-loop: exit code %d", code)
	}
	if code := ready(t, "-exit-after-init", "0").wait(); code != 0 {
		t.Errorf("-exit-after-init 0: exit code %d", code)
	}
	if code := start(t, "-no-such-flag").wait(); code != 2 {
		t.Errorf("unknown flag: exit code %d", code)
	}
	s := start(t, "-init-crash")
	s.send(`{"jsonrpc":"2.0","id":1,"method":"initialize","params":{}}`)
	if code := s.wait(); code != 3 {
		t.Errorf("-init-crash: exit code %d", code)
	}
	s = ready(t, "-crash-after", "2")
	s.call(1, "echo", `{"text":"x"}`)
	s.send(callLine(2, "echo", `{"text":"x"}`))
	if code := s.wait(); code != 4 {
		t.Errorf("-crash-after: exit code %d", code)
	}
}

func TestAnswerFlags(t *testing.T) {
	t.Parallel()
	s := ready(t, "-wrong-id")
	if a := s.call(1, "echo", `{"text":"x"}`); string(a.ID) == "1" {
		t.Errorf("-wrong-id: got the right id")
	}
	s = start(t, "-dup-id", "-byte-at-a-time", "-init-delay", "20")
	s.send(`{"jsonrpc":"2.0","id":1,"method":"initialize","params":{}}`)
	if a, b := s.receive(), s.receive(); string(a.ID) != "1" || string(b.ID) != "1" {
		t.Errorf("-dup-id: got %s and %s", a.ID, b.ID)
	}
	s = start(t, "-init-bad-version")
	s.send(`{"jsonrpc":"2.0","id":1,"method":"initialize","params":{}}`)
	if a := s.receive(); a.Result == nil || a.Result.ProtocolVersion != "1999-01-01" {
		t.Errorf("-init-bad-version: %+v", a)
	}
	s = ready(t, "-list-changed")
	s.call(1, "echo", `{"text":"x"}`)
	if a := s.receive(); a.Method != "notifications/tools/list_changed" {
		t.Errorf("-list-changed: %+v", a)
	}
	if got := s.call(2, "added", `{}`).text(); got != "added" {
		t.Errorf("the added tool: %q", got)
	}
	s = ready(t, "-roots")
	if a := s.receive(); a.Method != "roots/list" || string(a.ID) != rootsID {
		t.Errorf("-roots: %+v", a)
	}
	s.send(`{"jsonrpc":"2.0","id":` + rootsID + `,"result":{"roots":[]}}`)
	if got := s.call(1, "roots", `{}`).text(); got != `{"roots":[]}` {
		t.Errorf("roots: %q", got)
	}
	s = ready(t, "-notify-flood", "1000")
	for range 1000 {
		if a := s.receive(); a.Method == "" {
			t.Fatalf("-notify-flood: %+v", a)
		}
	}
}

func TestStreamFlags(t *testing.T) {
	t.Parallel()
	s := ready(t, "-close-stdout")
	if _, err := s.stdout.ReadByte(); err != io.EOF {
		t.Errorf("-close-stdout: read error %v, want EOF", err)
	}
	s = ready(t, "-huge-line", "300000")
	line := make([]byte, 300000)
	if _, err := io.ReadFull(s.stdout, line); err != nil || bytes.ContainsRune(line, '\n') {
		t.Errorf("-huge-line: %v", err)
	}
	s = start(t, "-stderr-lines", "5", "-stderr-bytes", "100000", "-init-hang", "-start-cost", "1")
	s.send(`{"jsonrpc":"2.0","id":1,"method":"initialize","params":{}}`, `{"jsonrpc":"2.0","id":2,"method":"ping"}`)
	if a := s.receive(); string(a.ID) != "2" {
		t.Errorf("-init-hang: got an answer to %s", a.ID)
	}
	s = ready(t, "-never-read", "-ignore-eof", "-ignore-term")
	s.stdin.SetWriteDeadline(time.Now().Add(300 * time.Millisecond))
	if _, err := s.stdin.Write(make([]byte, 1<<20)); err == nil {
		t.Errorf("-never-read: 1 MiB was read")
	}
	s.stdin.Close()
	s.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-s.exited:
		t.Error("-ignore-eof -ignore-term: the server exited")
	case <-time.After(200 * time.Millisecond):
	}
	s = ready(t, "-close-stdin")
	s.stdin.SetWriteDeadline(time.Now().Add(10 * time.Second))
	for {
		if _, err := s.stdin.Write(make([]byte, 1<<10)); err != nil {
			if !strings.Contains(err.Error(), "broken pipe") {
				t.Errorf("-close-stdin: %v", err)
			}
			break
		}
	}
	s = ready(t, "-stall-at-call")
	s.send(callLine(1, "echo", `{"text":"x"}`), `{"jsonrpc":"2.0","id":2,"method":"ping"}`)
	s.raw.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
	if line, err := s.stdout.ReadString('\n'); err == nil {
		t.Errorf("-stall-at-call: answered %q", line)
	}
}

func TestGrandchildOutlivesTheServer(t *testing.T) {
	t.Parallel()
	s := ready(t, "-grandchild", "-ignore-term")
	pid, err := strconv.Atoi(s.call(1, "grandchild", `{}`).text())
	if err != nil || pid <= 0 {
		t.Fatalf("pid %d: %v", pid, err)
	}
	t.Cleanup(func() { syscall.Kill(pid, syscall.SIGKILL) })
	s.stdin.Close()
	s.wait()
	syscall.Kill(pid, syscall.SIGTERM)
	s.raw.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
	if _, err := s.stdout.ReadByte(); err == nil || err == io.EOF {
		t.Errorf("stdout ended with the server (%v): the grandchild does not hold it", err)
	}
	if sid, _, errno := syscall.Syscall(syscall.SYS_GETSID, uintptr(pid), 0, 0); errno != 0 || int(sid) != pid {
		t.Errorf("session %d of grandchild %d: %v", sid, pid, errno)
	}
}

// TestRunNeedsNoProcess proves that Run serves any pair of streams.
func TestRunNeedsNoProcess(t *testing.T) {
	in := strings.NewReader(`{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2024-11-05"}}` + "\n" +
		`{"jsonrpc":"2.0","method":"notifications/initialized"}` + "\n" + callLine(2, "echo", `{"text":"x"}`) + "\n")
	var out bytes.Buffer
	if code := Run(in, &out, io.Discard, Options{}); code != 0 || strings.Count(out.String(), "\n") != 2 {
		t.Errorf("code %d, output %q", code, out.String())
	}
}

// TestEchoDoesNotAllocate keeps the stub out of what benchmarks measure.
func TestEchoDoesNotAllocate(t *testing.T) {
	s := newServer(io.Discard, io.Discard, Options{})
	s.phase = operating
	line := []byte(callLine(7, "echo", `{"text":"0123456789"}`))
	if got := testing.AllocsPerRun(100, func() { s.handle(line); s.flush() }); got > 0 {
		t.Errorf("%v allocations per echo", got)
	}
}

func TestToolsForFaults(t *testing.T) {
	t.Parallel()
	s := ready(t)
	if a := s.call(7, "id", "{}"); a.text() != "7" {
		t.Errorf("id: got %q", a.text())
	}
	s.send(callLine(8, "sleep", `{"ms":50,"deaf":true}`), `{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":8}}`)
	if a := s.receive(); string(a.ID) != "8" || a.text() != "slept" {
		t.Errorf("a deaf sleep that was cancelled: got id %s, %q", a.ID, a.text())
	}
	s.send(`{"jsonrpc":"2.0","id":9,"method":"tools/list"}`)
	s.receive()
	if a := s.call(10, "seen", "{}"); a.text() != `{"cancelled":["8"],"lists":1}` {
		t.Errorf("seen: got %q", a.text())
	}
	raw := base64.StdEncoding.EncodeToString([]byte("noise\xff\n" + `{"jsonrpc":"2.0","id":"r$ID"}` + "\n"))
	if a := s.call(11, "raw", `{"base64":"`+raw+`"}`); string(a.ID) != `"r11"` {
		t.Errorf("raw: got id %s", a.ID)
	}
	if a := s.receive(); a.text() != "written" {
		t.Errorf("raw answered %q", a.text())
	}
	s.send(callLine(12, "close", `{"name":"stdout"}`))
	if line, err := s.stdout.ReadBytes('\n'); err != io.EOF {
		t.Errorf("after close: got %q, %v", line, err)
	}
}
