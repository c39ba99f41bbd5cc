package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/aabb9013/hangar/bench/driver"
	"github.com/aabb9013/hangar/internal/testserver"
	"github.com/valyala/fasthttp"
)

const (
	readyWait = 60 * time.Second
	stopWait  = 15 * time.Second
	logTail   = 4 << 10
	runKey    = "HANGAR_BENCH_RUN" // in the environment of everything a run starts
)

// host is where the processes of one run are started, and by what they are found at its end.
type host struct {
	self   string // this binary
	hangar string
	dir    string
	tag    string
	prof   string // CPU profile of hangar

	stubFlags   []string             // of every server
	stubFlagsOf func(i int) []string // of each server by its number, if set
	dataDir     string               // of hangar; empty: a new one for each start
	sections    string               // of hangar's configuration, above its servers
}

// target is one running system under test.
type target struct {
	name string
	addr string
	pid  int
	cmd  *exec.Cmd
	log  *tail
	done chan struct{}

	file string // hangar's configuration
}

// start runs a system with that many servers and returns when it answers.
func (h *host) start(ctx context.Context, system string, servers int, cold bool) (*target, error) {
	addr, err := freeAddr()
	if err != nil {
		return nil, err
	}
	var cmd *exec.Cmd
	var file string
	switch system {
	case "echo":
		cmd = exec.Command(h.self, "echo", "-addr", addr)
	case "floor":
		cmd = exec.Command(h.self, "floor", "-addr", addr, "-servers", strconv.Itoa(servers), "-cold="+strconv.FormatBool(cold))
	case "hangar", "group":
		if cmd, file, err = h.hangarCommand(addr, servers, system == "group"); err != nil {
			return nil, err
		}
	default:
		return nil, fmt.Errorf("%s is not a system that listens", system)
	}
	t := &target{name: system, addr: addr, cmd: cmd, log: &tail{}, done: make(chan struct{}), file: file}
	cmd.Stdout, cmd.Stderr = t.log, t.log
	h.adopt(cmd)
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	t.pid = cmd.Process.Pid
	go func() {
		cmd.Wait()
		close(t.done)
	}()
	if err := t.ready(ctx); err != nil {
		t.stop()
		return nil, fmt.Errorf("%s with %d servers: %w\n%s", system, servers, err, t.log)
	}
	return t, nil
}

// adopt gives a process a group of its own and the tag of the run.
func (h *host) adopt(cmd *exec.Cmd) {
	cmd.Env = append(append(os.Environ(), runKey+"="+h.tag), cmd.Env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.WaitDelay = time.Second
}

func (h *host) hangarCommand(addr string, servers int, grouped bool) (cmd *exec.Cmd, file string, err error) {
	dir, err := os.MkdirTemp(h.dir, "hangar-")
	if err != nil {
		return nil, "", err
	}
	config := append([]byte(h.sections), hangarConfig(servers, h.tag, grouped, h.flagsOf)...)
	file = filepath.Join(dir, "hangar.yaml")
	if err := os.WriteFile(file, config, 0o600); err != nil {
		return nil, "", err
	}
	ip, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, "", err
	}
	data := h.dataDir
	if data == "" {
		data = filepath.Join(dir, "data")
	}
	cmd = exec.Command(h.hangar, "serve", "--http", "--port", port, "--host", ip, "--config", file,
		"--data-dir", data, "--log-level", "ERROR")
	if h.prof != "" {
		cmd.Env = []string{"HANGAR_CPUPROFILE=" + h.prof}
	}
	return cmd, file, nil
}

// hangarConfig is a configuration file with n stub servers that stay up once they are up. It is written by hand, as is
// everything that the children would pay for at their start, being this binary.
//
// With groups, s0 and so on are groups of one server each, so that the same number of processes does the same work and
// only the group is between.
func hangarConfig(n int, tag string, grouped bool, flagsOf func(i int) []string) []byte {
	text := []byte("mcp_servers:\n")
	for i := range n {
		command, env := testserver.Command(flagsOf(i)...)
		words := ""
		for j, word := range command {
			words += ", "[:2*min(j, 1)] + strconv.Quote(word)
		}
		server := fmt.Sprintf("mode: subprocess, command: [%s], env: {%s: %q, %s: %q}, idle_ttl_s: 3600",
			words, testserver.EnvKey, env[testserver.EnvKey], runKey, tag)
		if grouped {
			text = fmt.Appendf(text, "  s%d: {mode: group, members: [{id: m%d, %s}]}\n", i, i, server)
		} else {
			text = fmt.Appendf(text, "  s%d: {%s}\n", i, server)
		}
	}
	return text
}

func (h *host) flagsOf(i int) []string {
	if h.stubFlagsOf != nil {
		return h.stubFlagsOf(i)
	}
	return h.stubFlags
}

// ready waits until the target answers GET /health/ready with 200. The echo server answers anything with that.
func (t *target) ready(ctx context.Context) error {
	for deadline := time.Now().Add(readyWait); time.Now().Before(deadline); {
		if status, _, err := fasthttp.GetTimeout(nil, "http://"+t.addr+"/health/ready", time.Second); err == nil && status == fasthttp.StatusOK {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-t.done:
			return fmt.Errorf("it ended: %s", t.cmd.ProcessState)
		case <-time.After(10 * time.Millisecond):
		}
	}
	return fmt.Errorf("not ready after %v", readyWait)
}

// stop ends the target, and its process group when it does not end by itself.
func (t *target) stop() {
	t.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-t.done:
	case <-time.After(stopWait):
		syscall.Kill(-t.pid, syscall.SIGKILL)
		<-t.done
	}
}

// drive runs the driver against a target, in a process of its own.
func (h *host) drive(ctx context.Context, t *target, c driver.Config) (result driver.Result, err error) {
	args := append(loadArgs("driver", c), "-addr", t.addr, "-pid", strconv.Itoa(t.pid),
		"-prime="+strconv.FormatBool(c.Prime), "-storm="+strconv.FormatBool(c.Storm), "-echo-body="+strconv.FormatBool(t.name == "echo"))
	if err = h.measure(ctx, args, &result); err != nil {
		err = fmt.Errorf("%s: %w\n%s", t.name, err, t.log)
	}
	return result, err
}

// driveTurns runs the driver against all of them in turns, and returns the results of each.
func (h *host) driveTurns(ctx context.Context, targets []*target, turn time.Duration, c driver.Config) ([][]driver.Result, error) {
	told := turns{Turn: turn}
	for _, t := range targets {
		c.Addr, c.PID, c.EchoBody = t.addr, t.pid, t.name == "echo"
		told.Targets = append(told.Targets, c)
	}
	text, err := json.Marshal(told)
	if err != nil {
		return nil, err
	}
	var results [][]driver.Result
	if err = h.measure(ctx, []string{"turns", string(text)}, &results); err != nil {
		for _, t := range targets {
			err = fmt.Errorf("%w\n%s: %s", err, t.name, t.log)
		}
	}
	return results, err
}

// pipes runs the limit that is its own driver.
func (h *host) pipes(ctx context.Context, c driver.Config) (result driver.Result, err error) {
	return result, h.measure(ctx, loadArgs("pipes", c), &result)
}

func loadArgs(role string, c driver.Config) []string {
	return []string{role, "-servers", strconv.Itoa(c.Servers), "-inflight", strconv.Itoa(c.InFlight), "-payload", strconv.Itoa(c.Payload),
		"-warmup", c.Warmup.String(), "-duration", c.Duration.String()}
}

// measure runs a role of this binary and takes what it prints.
func (h *host) measure(ctx context.Context, args []string, result any) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, h.self, args...)
	h.adopt(cmd)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = stopWait
	var errors bytes.Buffer
	cmd.Stderr = &errors
	out, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("%s: %w: %s", args[0], err, strings.TrimSpace(errors.String()))
	}
	return json.Unmarshal(out, result)
}

// sweep kills what is left of a run and returns how many processes that were.
func (h *host) sweep() int {
	killed := 0
	for _, pid := range h.tagged() {
		if syscall.Kill(pid, syscall.SIGKILL) == nil {
			killed++
		}
	}
	return killed
}

// tagged are the processes of a run that have not ended, by the mark in their environment, which outlives the death of
// a parent.
func (h *host) tagged() (pids []int) {
	processes, err := filepath.Glob("/proc/[0-9]*/environ")
	if err != nil {
		return nil
	}
	for _, path := range processes {
		if pid, err := strconv.Atoi(strings.Split(path, "/")[2]); err == nil && pid != os.Getpid() && h.owns(pid) {
			pids = append(pids, pid)
		}
	}
	return pids
}

// owns tells whether a process has the run's mark. One that has ended has no environment any more.
func (h *host) owns(pid int) bool {
	environ, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "environ"))
	if err != nil {
		return false
	}
	mark := []byte(runKey + "=" + h.tag)
	for variable := range bytes.SplitSeq(environ, []byte{0}) {
		if bytes.Equal(variable, mark) {
			return true
		}
	}
	return false
}

func freeAddr() (string, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer listener.Close()
	return listener.Addr().String(), nil
}

// tail keeps the end of what a target prints.
type tail struct {
	mu   sync.Mutex
	text []byte
}

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.text = append(t.text, p...)
	if len(t.text) > 2*logTail {
		t.text = append(t.text[:0], t.text[len(t.text)-logTail:]...)
	}
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.text)
}
