package e2e_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/aabb9013/hangar/internal/leaktest"
	"github.com/aabb9013/hangar/internal/testserver"
)

const (
	readyWithin = 30 * time.Second
	stopWithin  = 20 * time.Second
)

func TestMain(m *testing.M) {
	testserver.ExecIfRequested()
	code := leaktest.Run(m)
	if buildDir != "" {
		os.RemoveAll(buildDir)
	}
	os.Exit(code)
}

var buildDir string // set once by binary

// binary is the path of the program under test.
var binary = sync.OnceValues(func() (string, error) {
	if path := os.Getenv("HANGAR_BIN"); path != "" {
		return path, nil
	}
	var err error
	if buildDir, err = os.MkdirTemp("", "hangar-e2e-"); err != nil {
		return "", err
	}
	path := filepath.Join(buildDir, "hangar")
	args := append([]string{"build", "-o", path}, strings.Fields(os.Getenv("HANGAR_BUILD_FLAGS"))...)
	if output, err := exec.Command("go", append(args, "../cmd/hangar")...).CombinedOutput(); err != nil {
		return "", fmt.Errorf("cannot build the program: %w\n%s", err, output)
	}
	return path, nil
})

// program prepares one run of the program, in a process group of its own as a
// shell would start it. env adds to the environment.
func program(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	command := exec.Command(path, args...)
	command.Dir = t.TempDir() // where a default such as ./data would land
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	command.WaitDelay = time.Second
	return command
}

// hangar is one run of the program that serves HTTP.
type hangar struct {
	t       *testing.T
	url     string // http://127.0.0.1:port
	port    int
	dataDir string
	config  string // path of the file
	tag     string
	command *exec.Cmd
	output  *output
	exited  chan struct{}
}

type servers = map[string]any

// stub is the configuration of a server that is this test binary again.
func stub(flags ...string) map[string]any {
	command, env := testserver.Command(flags...)
	return map[string]any{"mode": "subprocess", "command": command, "env": env, "description": "stub"}
}

// start runs the program with these servers and waits until it is ready.
func start(t *testing.T, fleet servers) *hangar {
	t.Helper()
	return startConfig(t, map[string]any{"mcp_servers": fleet})
}

// startConfig takes the whole configuration; JSON is YAML.
func startConfig(t *testing.T, config map[string]any) *hangar {
	t.Helper()
	h := &hangar{t: t, dataDir: t.TempDir(), tag: newTag()}
	if fleet, ok := config["mcp_servers"].(servers); ok {
		for _, spec := range fleet {
			h.mark(spec.(map[string]any))
		}
	}
	text, err := json.MarshalIndent(config, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	return h.launch(writeFile(t, text))
}

// startFile runs the program with a configuration file as it stands.
func startFile(t *testing.T, path string) *hangar {
	t.Helper()
	return (&hangar{t: t, dataDir: t.TempDir(), tag: newTag()}).launch(path)
}

// again starts the program on the data, configuration and mark of a run that
// has ended.
func (h *hangar) again() *hangar {
	h.t.Helper()
	return (&hangar{t: h.t, dataDir: h.dataDir, tag: h.tag}).launch(h.config)
}

func (h *hangar) launch(config string) *hangar {
	t := h.t
	t.Helper()
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	h.config, h.port, h.output, h.exited = config, freePort(t), &output{}, make(chan struct{})
	h.url = "http://127.0.0.1:" + strconv.Itoa(h.port)
	h.command = program(t, "--config", config, "serve", "--http", "--host", "127.0.0.1", "--port", strconv.Itoa(h.port), "--data-dir", h.dataDir)
	h.command.Env = append(os.Environ(), tagEnv+"="+h.tag, "HANGAR_BIN="+path)
	h.command.Stdout, h.command.Stderr = h.output, h.output
	if err := h.command.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		h.command.Wait()
		close(h.exited)
	}()
	t.Cleanup(h.cleanup)
	h.waitReady()
	return h
}

func (h *hangar) waitReady() {
	h.t.Helper()
	ready := eventually(readyWithin, func() bool {
		if h.hasExited() {
			return true
		}
		response, err := http.Get(h.url + "/health/ready")
		if err != nil {
			return false
		}
		response.Body.Close()
		return response.StatusCode == http.StatusOK
	})
	if h.hasExited() {
		h.t.Fatalf("the program ended at its start: %s", h.command.ProcessState)
	}
	if !ready {
		h.t.Fatalf("the program was not ready within %s", readyWithin)
	}
}

func (h *hangar) hasExited() bool {
	select {
	case <-h.exited:
		return true
	default:
		return false
	}
}

// signal goes to the whole process group, as from a terminal.
func (h *hangar) signal(signal syscall.Signal) {
	h.t.Helper()
	if err := syscall.Kill(-h.command.Process.Pid, signal); err != nil {
		h.t.Fatalf("cannot send %s: %v", signal, err)
	}
}

// awaitExit returns the exit code, -1 when a signal ended the program.
func (h *hangar) awaitExit(within time.Duration) int {
	h.t.Helper()
	select {
	case <-h.exited:
	case <-time.After(within):
		h.t.Fatalf("the program did not end within %s", within)
	}
	return h.command.ProcessState.ExitCode()
}

// stop ends the program as a service manager does and holds it to its
// promises: exit code 0, and no process of its left.
func (h *hangar) stop() {
	h.t.Helper()
	mine := tagged(h.t, h.tag)
	h.signal(syscall.SIGTERM)
	if code := h.awaitExit(stopWithin); code != 0 {
		h.t.Errorf("exit after SIGTERM: %s, want code 0", h.command.ProcessState)
	}
	noneLeft(h.t, mine, 2*time.Second)
}

// kill is kill -9 of the program alone; it returns the processes that were
// there, so that the caller can see that they end too.
func (h *hangar) kill() []process {
	h.t.Helper()
	mine := tagged(h.t, h.tag)
	if err := h.command.Process.Kill(); err != nil {
		h.t.Fatal(err)
	}
	h.awaitExit(5 * time.Second)
	return mine
}

// cleanup stops the program if the test has not, and leaves nothing running
// whatever happened.
func (h *hangar) cleanup() {
	if !h.hasExited() && !h.t.Failed() {
		h.stop()
	}
	if h.t.Failed() {
		h.t.Logf("the program's output:\n%s", h.output.tail(8<<10))
	}
	if !h.hasExited() {
		h.command.Process.Kill()
		<-h.exited
	}
	for _, p := range tagged(h.t, h.tag) {
		syscall.Kill(p.pid, syscall.SIGKILL)
	}
}

// mark puts the run's tag into a server's environment, or into those of the
// servers that a group defines.
func (h *hangar) mark(spec map[string]any) map[string]any {
	if spec["mode"] == "group" {
		for _, member := range spec["members"].([]map[string]any) {
			if member["command"] != nil {
				h.mark(member)
			}
		}
		return spec
	}
	env := map[string]string{tagEnv: h.tag}
	if own, ok := spec["env"].(map[string]string); ok {
		maps.Copy(env, own)
	}
	spec["env"] = env
	return spec
}

var lastTag atomic.Int64

func newTag() string { return fmt.Sprintf("%d-%d", os.Getpid(), lastTag.Add(1)) }

func writeFile(t *testing.T, text []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "config.yaml")
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

var lastPort atomic.Int32

// freePort finds a port below those that the kernel gives to clients: a
// client's connection would otherwise take it before the program does.
func freePort(t *testing.T) int {
	t.Helper()
	lastPort.CompareAndSwap(0, 18000+rand.Int32N(10000))
	for range 100 {
		port := int(lastPort.Add(1))
		listener, err := net.Listen("tcp", "127.0.0.1:"+strconv.Itoa(port))
		if err == nil {
			listener.Close()
			return port
		}
	}
	t.Fatal("no free port")
	return 0
}

// output collects what the program prints; it is safe for concurrent use.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(p)
}

func (o *output) tail(n int) string {
	o.mu.Lock()
	defer o.mu.Unlock()
	text := o.text.Bytes()
	return string(text[max(0, len(text)-n):])
}

// ended is how a run of the program that was expected to end did so.
type ended struct {
	code           int
	stdout, stderr string
	took           time.Duration
}

// run runs the program to its end.
func run(t *testing.T, within time.Duration, args ...string) ended {
	t.Helper()
	var stdout, stderr bytes.Buffer
	command := program(t, args...)
	// A terminal at which nobody types.
	stdin, typist, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer stdin.Close()
	defer typist.Close()
	command.Stdout, command.Stderr, command.Stdin = &stdout, &stderr, stdin
	begin := time.Now()
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	overdue := time.AfterFunc(within, func() { command.Process.Kill() })
	err = command.Wait()
	if !overdue.Stop() {
		t.Fatalf("hangar %s did not end within %s\n%s%s", strings.Join(args, " "), within, &stdout, &stderr)
	}
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) && !errors.Is(err, exec.ErrWaitDelay) {
		t.Fatal(err)
	}
	return ended{command.ProcessState.ExitCode(), stdout.String(), stderr.String(), time.Since(begin)}
}
