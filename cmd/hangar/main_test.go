package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/aabb9013/hangar"
	"github.com/aabb9013/hangar/internal/leaktest"
	"github.com/aabb9013/hangar/internal/testserver"
)

// asProgram makes the test binary be the program, so that the tests see real
// exit codes, signals and streams.
const asProgram = "HANGAR_TEST_AS_PROGRAM"

const patience = 30 * time.Second

func TestMain(m *testing.M) {
	hangar.BeReaper()
	testserver.ExecIfRequested()
	if os.Getenv(asProgram) == "1" {
		main()
	}
	os.Exit(leaktest.Run(m))
}

// lockedBuffer is output that is read while it is written.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// program is one run of hangar.
type program struct {
	t              *testing.T
	command        *exec.Cmd
	stdin          io.WriteCloser
	stdout, stderr lockedBuffer
	exited         chan struct{}
}

// launch starts the program with variables added to a clean environment.
func launch(t *testing.T, env []string, args ...string) *program {
	t.Helper()
	p := &program{t: t, command: exec.Command(os.Args[0], args...), exited: make(chan struct{})}
	p.command.Dir = t.TempDir()
	for _, kv := range os.Environ() {
		if !strings.HasPrefix(kv, "MCP_") && !strings.HasPrefix(kv, "HANGAR_") {
			p.command.Env = append(p.command.Env, kv)
		}
	}
	p.command.Env = append(append(p.command.Env, asProgram+"=1"), env...)
	p.command.Stdout, p.command.Stderr = &p.stdout, &p.stderr
	p.command.WaitDelay = time.Second
	stdin, err := p.command.StdinPipe()
	if err == nil {
		err = p.command.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	p.stdin = stdin
	go func() {
		p.command.Wait()
		close(p.exited)
	}()
	t.Cleanup(func() {
		p.command.Process.Kill()
		<-p.exited
		if t.Failed() {
			t.Logf("hangar %s\nstdout: %s\nstderr: %s", strings.Join(args, " "), &p.stdout, &p.stderr)
		}
	})
	return p
}

func (p *program) exit() int {
	p.t.Helper()
	select {
	case <-p.exited:
	case <-time.After(patience):
		p.t.Fatal("the program does not end")
	}
	return p.command.ProcessState.ExitCode()
}

func (p *program) signal(sig syscall.Signal) {
	p.t.Helper()
	if err := p.command.Process.Signal(sig); err != nil {
		p.t.Fatal(err)
	}
}

// await waits for a text on stderr and returns its first group, or all of it.
func (p *program) await(pattern string) string {
	p.t.Helper()
	re := regexp.MustCompile(pattern)
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if found := re.FindStringSubmatch(p.stderr.String()); found != nil {
			return found[len(found)-1]
		}
		select {
		case <-p.exited:
			if re.MatchString(p.stderr.String()) {
				continue
			}
			p.t.Fatalf("the program ended without telling %q", pattern)
		default:
		}
	}
	p.t.Fatalf("the program does not tell %q", pattern)
	return ""
}

// address waits until the program serves and returns where.
func (p *program) address() string {
	p.t.Helper()
	return p.await(`MCP   http://(127\.0\.0\.1:\d+)/mcp`)
}

func (p *program) call(address, server, tool, args string) int {
	p.t.Helper()
	response, err := http.Post("http://"+address+"/api/mcp_servers/"+server+"/tools/"+tool+"/call", "application/json", strings.NewReader(args))
	if err != nil {
		p.t.Fatal(err)
	}
	response.Body.Close()
	return response.StatusCode
}

func fleetFile(t *testing.T, more string, flags ...string) string {
	t.Helper()
	command, _ := testserver.Command(flags...)
	words, _ := json.Marshal(command)
	path := filepath.Join(t.TempDir(), "fleet.yaml")
	text := fmt.Sprintf("mcp_servers:\n  stub:\n    mode: subprocess\n    command: %s\n    env: {%s: \"1\"}\n%s", words, testserver.EnvKey, more)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func tells(t *testing.T, text string, wants ...string) {
	t.Helper()
	for _, want := range wants {
		if !strings.Contains(text, want) {
			t.Errorf("it does not tell %q:\n%s", want, text)
		}
	}
	if strings.Contains(text, "goroutine ") {
		t.Errorf("there is a trace:\n%s", text)
	}
}

func TestHelpAndVersion(t *testing.T) {
	for _, c := range []struct {
		args  []string
		wants []string
	}{
		{[]string{"--help"}, []string{"Without a subcommand it serves", "serve", "version", "--config", "--unsafe-no-auth", "MCP_CONFIG", "fleet.yaml serve --http"}},
		{[]string{"serve", "--help"}, []string{"--port", "MCP_HTTP_PORT", "SIGTERM", "--data-dir"}},
		{[]string{"version"}, []string{"hangar " + hangar.Version + "\n"}},
		{[]string{"--version"}, []string{"hangar " + hangar.Version + "\n"}},
		{[]string{"-V"}, []string{"hangar " + hangar.Version + "\n"}},
	} {
		p := launch(t, nil, c.args...)
		if code := p.exit(); code != 0 || p.stderr.String() != "" {
			t.Errorf("%v: exit code %d, stderr %s", c.args, code, &p.stderr)
		}
		tells(t, p.stdout.String(), c.wants...)
		if strings.Contains(p.stdout.String(), "example-server") {
			t.Errorf("%v shows what is for the example fleet only", c.args)
		}
	}
}

// TestMistakesAreToldWithWhatToDo: what, which, why, and what to do next.
func TestMistakesAreToldWithWhatToDo(t *testing.T) {
	good := fleetFile(t, "")
	broken := filepath.Join(t.TempDir(), "broken.yaml")
	if err := os.WriteFile(broken, []byte("mcp_servers:\n  a:\n    comand: [x]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name  string
		env   []string
		args  []string
		code  int
		wants []string
	}{
		{"unknown flag", nil, []string{"serve", "--htpp"}, 1, []string{"--htpp", `"hangar serve --help"`}},
		{"mistyped command", nil, []string{"sevre"}, 1, []string{`"sevre"`, `did you mean "serve"`}},
		{"unknown command", nil, []string{"fly"}, 1, []string{`"fly"`, `"hangar --help"`}},
		{"surplus argument", nil, []string{"serve", "now"}, 1, []string{`"now"`}},
		{"port is no number", nil, []string{"--port", "http"}, 1, []string{"--port", `"http"`}},
		{"port out of range", nil, []string{"--port", "70000"}, 1, []string{"--port", "70000", "65535"}},
		{"port of the environment", []string{"MCP_HTTP_PORT=http"}, nil, 1, []string{"MCP_HTTP_PORT", `"http"`}},
		{"port of the environment out of range", []string{"MCP_HTTP_PORT=-1"}, nil, 1, []string{"MCP_HTTP_PORT", "-1"}},
		{"level", nil, []string{"--log-level", "LOUD"}, 1, []string{"--log-level", `"LOUD"`, "DEBUG, INFO"}},
		{"level of the environment", []string{"MCP_LOG_LEVEL=LOUD"}, nil, 1, []string{"MCP_LOG_LEVEL", `"LOUD"`}},
		{"mode of the environment", []string{"MCP_MODE=smoke"}, nil, 1, []string{"MCP_MODE", `"smoke"`, "stdio nor http"}},
		{"JSON of the environment", []string{"MCP_JSON_LOGS=perhaps"}, nil, 1, []string{"MCP_JSON_LOGS", `"perhaps"`}},
		{"loud and quiet", nil, []string{"-v", "-q"}, 1, []string{"--verbose", "--quiet"}},
		{"power in memory", nil, []string{"--durability", "power"}, 1, []string{"--data-dir"}},
		{"durability", nil, []string{"--durability", "eternal"}, 1, []string{`"eternal"`, "process or power"}},
		{"missing config", nil, []string{"--config", "/nowhere.yaml"}, 1, []string{"/nowhere.yaml", "no such file", "next: check the path"}},
		{"missing config of the environment", []string{"MCP_CONFIG=/nowhere.yaml"}, nil, 1, []string{"/nowhere.yaml", "MCP_CONFIG"}},
		{"broken config", nil, []string{"-c", broken}, 1, []string{broken + ":2", "comand", "next: mend"}},
		{"not built", nil, []string{"-c", fleetFile(t, "auth: {enabled: true}\n")}, 1, []string{"auth", "not built", "next: take"}},
		{"open to others", nil, []string{"--http", "--host", "0.0.0.0", "-c", good}, 2, []string{`"0.0.0.0"`, "--unsafe-no-auth", "127.0.0.1"}},
		{"open to others by the environment", []string{"MCP_HTTP_HOST=192.0.2.1", "MCP_MODE=http"}, nil, 2, []string{`"192.0.2.1"`, "--unsafe-no-auth"}},
		{"open to all", nil, []string{"--http", "--host="}, 2, []string{"--unsafe-no-auth"}},
		{"no address of ours", nil, []string{"--http", "--unsafe-no-auth", "--host", "192.0.2.1"}, 6, []string{"192.0.2.1", "choose another --host"}},
		{"log file", nil, []string{"--log-file", "/nowhere/log"}, 1, []string{"/nowhere/log", "--log-file"}},
		{"data directory is a file", nil, []string{"--data-dir", file}, 6, []string{file, "next: name a directory"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := launch(t, c.env, c.args...)
			if code := p.exit(); code != c.code {
				t.Errorf("exit code %d, want %d", code, c.code)
			}
			tells(t, p.stderr.String(), c.wants...)
			if p.stdout.String() != "" {
				t.Errorf("stdout, which programs read, has %q", &p.stdout)
			}
		})
	}
}

func TestPortInUseClosesTheState(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	port := strconv.Itoa(ln.Addr().(*net.TCPAddr).Port)
	dir := t.TempDir()
	p := launch(t, nil, "--http", "--port", port, "--data-dir", dir)
	if code := p.exit(); code != exitUnavailable {
		t.Errorf("exit code %d, want %d", code, exitUnavailable)
	}
	tells(t, p.stderr.String(), "port "+port, "in use", "--port")
	rt, err := hangar.New(hangar.Options{DataDir: dir})
	if err != nil {
		t.Fatal(err)
	}
	rt.Close(t.Context())
}

func TestLockedDirectoryNamesItsHolder(t *testing.T) {
	dir := t.TempDir()
	first := launch(t, nil, "--http", "--port", "0", "--data-dir", dir)
	first.address()
	second := launch(t, nil, "serve", "--http", "--port", "0", "--data-dir", dir)
	if code := second.exit(); code != exitUnavailable {
		t.Errorf("exit code %d, want %d", code, exitUnavailable)
	}
	tells(t, second.stderr.String(), dir, fmt.Sprint("process ", first.command.Process.Pid), "--data-dir")
}

func TestConfigBeforeAndAfterServeAndWithoutIt(t *testing.T) {
	path := fleetFile(t, "")
	for _, c := range []struct {
		env, args []string
	}{
		{nil, []string{"--config", path, "serve", "--http", "--port", "0"}},
		{nil, []string{"serve", "--http", "--port", "0", "-c", path}},
		{nil, []string{"--http", "--port", "0", "--config=" + path}},
		{[]string{"MCP_CONFIG=" + path, "MCP_MODE=HTTP", "MCP_HTTP_PORT=0"}, nil},
		{[]string{"MCP_CONFIG=/nowhere.yaml", "MCP_MODE=http", "MCP_HTTP_PORT=99999", "MCP_HTTP_HOST=192.0.2.1", "MCP_LOG_LEVEL=LOUD"},
			[]string{"serve", "-c", path, "-p", "0", "--host", "127.0.0.1", "--log-level", "info"}},
	} {
		p := launch(t, c.env, c.args...)
		if code := p.call(p.address(), "stub", "echo", `{"text":"x"}`); code != 200 {
			t.Errorf("%v %v: the call answers %d", c.env, c.args, code)
		}
		p.signal(syscall.SIGTERM)
		if code := p.exit(); code != 0 {
			t.Errorf("%v %v: exit code %d after SIGTERM", c.env, c.args, code)
		}
		if p.stdout.String() != "" {
			t.Errorf("stdout has %q", &p.stdout)
		}
	}
}

// TestLogObeysFlagThenVariableThenFile uses stdio, whose end needs no signal.
func TestLogObeysFlagThenVariableThenFile(t *testing.T) {
	const start = "RuntimeStarted" // at INFO
	dir := t.TempDir()
	inFile, byFlag := filepath.Join(dir, "file.log"), filepath.Join(dir, "flag.log")
	for _, c := range []struct {
		name, logging string
		env, args     []string
		where         string // "" = stderr
		has, json     bool
	}{
		{"nothing said", "", nil, nil, "", true, false},
		{"level of the file", "level: ERROR", nil, nil, "", false, false},
		{"variable over file", "level: ERROR", []string{"MCP_LOG_LEVEL=info"}, nil, "", true, false},
		{"flag over variable", "level: DEBUG", []string{"MCP_LOG_LEVEL=info"}, []string{"--log-level", "error"}, "", false, false},
		{"verbose over file", "level: ERROR", nil, []string{"-v"}, "", true, false},
		{"quiet over file", "level: DEBUG", nil, []string{"--quiet"}, "", false, false},
		{"JSON of the file", "json_format: true", nil, nil, "", true, true},
		{"JSON by variable", "", []string{"MCP_JSON_LOGS=true"}, nil, "", true, true},
		{"flag over JSON of file and variable", "json_format: true", []string{"MCP_JSON_LOGS=1"}, []string{"--json-logs=false"}, "", true, false},
		{"path of the file", "file: " + inFile, nil, nil, inFile, true, false},
		{"flag over path", "file: /nowhere/log", nil, []string{"--log-file", byFlag}, byFlag, true, false},
		{"empty flag over path", "file: /nowhere/log", nil, []string{"--log-file="}, "", true, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			// health has no effect, which is worth a warning.
			p := launch(t, c.env, append(c.args, "-c", fleetFile(t, "logging: {"+c.logging+"}\nhealth: {enabled: true}\n"))...)
			p.stdin.Close()
			if code := p.exit(); code != 0 {
				t.Errorf("exit code %d", code)
			}
			log := p.stderr.String()
			if c.where != "" {
				if strings.Contains(log, start) {
					t.Errorf("stderr has the log:\n%s", log)
				}
				text, err := os.ReadFile(c.where)
				if err != nil {
					t.Fatal(err)
				}
				log = string(text)
			}
			if strings.Contains(log, start) != c.has {
				t.Errorf("log has %s: %t, want %t:\n%s", start, !c.has, c.has, log)
			}
			for line := range strings.Lines(log) {
				if c.json && !json.Valid([]byte(line)) {
					t.Errorf("a line is no JSON: %s", line)
				}
			}
			if c.json != strings.Contains(log, `"msg":"`+start+`"`) {
				t.Errorf("JSON is not %t:\n%s", c.json, log)
			}
			if c.has && c.where == "" {
				tells(t, log, "health")
			}
		})
	}
}

func TestStdioSpeaksOnlyJSONRPC(t *testing.T) {
	p := launch(t, nil, "-v", "-c", fleetFile(t, "", "-banner", "-stderr-lines", "20"))
	for _, line := range []string{
		`{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-06-18","capabilities":{},"clientInfo":{"name":"t","version":"1"}}}`,
		`{"jsonrpc":"2.0","method":"notifications/initialized"}`,
		`{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"stub__echo","arguments":{"text":"over stdio"}}}`,
		`{"jsonrpc":"2.0","id":3,"method":"tools/call","params":{"name":"stub__fail"}}`,
		`nonsense`,
	} {
		if _, err := io.WriteString(p.stdin, line+"\n"); err != nil {
			t.Fatal(err)
		}
	}
	p.stdin.Close()
	if code := p.exit(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	answers := 0
	for line := range strings.Lines(p.stdout.String()) {
		var message struct {
			JSONRPC string          `json:"jsonrpc"`
			ID      json.RawMessage `json:"id"`
		}
		if err := json.Unmarshal([]byte(line), &message); err != nil || message.JSONRPC != "2.0" {
			t.Errorf("stdout has a line that is no JSON-RPC: %s", line)
		}
		if message.ID != nil {
			answers++
		}
	}
	if answers != 4 || !strings.Contains(p.stdout.String(), "over stdio") {
		t.Errorf("%d answers, want 4:\n%s", answers, &p.stdout)
	}
}

func TestHangupReloads(t *testing.T) {
	p := launch(t, nil, "--http", "--port", "0", "-c", fleetFile(t, ""))
	address := p.address()
	p.signal(syscall.SIGHUP)
	p.await("ConfigurationReloaded.*SIGHUP")
	if code := p.call(address, "stub", "echo", `{"text":"x"}`); code != 200 {
		t.Errorf("after SIGHUP the call answers %d", code)
	}
	p.signal(syscall.SIGTERM)
	if code := p.exit(); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

func TestSecondSignalEndsWithoutWaiting(t *testing.T) {
	p := launch(t, nil, "--http", "--port", "0", "-c", fleetFile(t, "", "-ignore-eof", "-ignore-term"))
	if code := p.call(p.address(), "stub", "echo", `{"text":"x"}`); code != 200 {
		t.Fatalf("the call answers %d", code)
	}
	p.signal(syscall.SIGTERM)
	p.await("closing, a second signal ends without waiting")
	begin := time.Now()
	p.signal(syscall.SIGINT)
	if code := p.exit(); code != exitInterrupted {
		t.Errorf("exit code %d, want %d", code, exitInterrupted)
	}
	if took := time.Since(begin); took > 5*time.Second { // the stop ladder would take 7 s
		t.Errorf("it took %s", took)
	}
}

// TestGoneReaderOfTheLogDoesNotKill: as in `hangar serve --http 2>&1 | head`.
func TestGoneReaderOfTheLogDoesNotKill(t *testing.T) {
	reader, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	command := exec.Command(os.Args[0], "--http", "--port", "0", "-v", "-c", fleetFile(t, ""))
	command.Env = append(os.Environ(), asProgram+"=1")
	command.Stderr = writer
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	defer command.Process.Kill()
	writer.Close()
	var seen []byte
	found := regexp.MustCompile(`MCP   http://(\S+)/mcp[\s\S]*Try next`)
	for buf := make([]byte, 4096); !found.Match(seen); {
		n, err := reader.Read(buf)
		if err != nil {
			t.Fatalf("%v after %s", err, seen)
		}
		seen = append(seen, buf[:n]...)
	}
	reader.Close()
	p := &program{t: t}
	if code := p.call(string(found.FindSubmatch(seen)[1]), "stub", "echo", `{"text":"x"}`); code != 200 {
		t.Errorf("the call answers %d", code)
	}
	command.Process.Signal(syscall.SIGTERM)
	if err := command.Wait(); err != nil {
		t.Errorf("the end: %v", err)
	}
}
