package reaper

import (
	"bufio"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/aabb9013/hangar/internal/leaktest"
	"github.com/aabb9013/hangar/internal/procs"
)

func TestMain(m *testing.M) {
	ExecIfRequested()
	os.Exit(leaktest.Run(m))
}

const patience = 30 * time.Second

// open starts a reaper that ends with the test.
func openClient(t testing.TB, opts Options) *Client {
	t.Helper()
	if opts.Owner == 0 {
		opts.Owner = NewOwner()
	}
	opts.RunTag = opts.Owner.Tag(1)
	c, err := New(opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// running is a child with its streams.
type running struct {
	*Child
	t    testing.TB
	in   *os.File
	out  *bufio.Reader
	pipe *os.File
}

var instances = 0

// startShell runs a script as an instance; all its output can be read.
func startShell(t testing.TB, c *Client, script string, args ...string) *running {
	t.Helper()
	childIn, in, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	out, childOut, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer childIn.Close()
	defer childOut.Close()
	t.Cleanup(func() { in.Close(); out.Close() })
	instances++
	name := "s/" + strconv.Itoa(instances)
	child, err := c.Start(t.Context(), Command{
		Path: "/bin/sh", Argv: append([]string{"sh", "-c", script, "sh"}, args...),
		Env:  []string{"PATH=" + os.Getenv("PATH"), RunEnv + "=" + c.opts.RunTag, InstanceEnv + "=" + name},
		Name: name, Files: [3]*os.File{childIn, childOut, childOut},
	})
	if err != nil {
		t.Fatal(err)
	}
	return &running{child, t, in, bufio.NewReader(out), out}
}

// line reads one line that the script prints.
func (r *running) line() string {
	r.t.Helper()
	r.pipe.SetReadDeadline(time.Now().Add(patience))
	line, err := r.out.ReadString('\n')
	if err != nil {
		r.t.Fatalf("after %q: %v", line, err)
	}
	return strings.TrimSpace(line)
}

// pid reads one that the script prints.
func (r *running) readPID() procs.Info {
	r.t.Helper()
	line := r.line()
	pid, err := strconv.Atoi(line)
	if err != nil {
		r.t.Fatalf("%q is no pid", line)
	}
	info, err := procs.Read(pid)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() {
		if alive(info) {
			syscall.Kill(pid, syscall.SIGKILL)
		}
	})
	return info
}

func (r *running) await() Exit {
	r.t.Helper()
	ended := make(chan Exit, 1)
	go func() { ended <- r.Wait() }()
	select {
	case exit := <-ended:
		return exit
	case <-time.After(patience):
		r.t.Fatal("no end was told")
		return Exit{}
	}
}

// alive tells whether the process runs; a zombie does not.
func alive(p procs.Info) bool {
	now, err := procs.Read(p.PID)
	return err == nil && now.Start == p.Start && !now.Dead()
}

// eventually asks until the answer is yes.
func eventually(t testing.TB, what string, yes func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !yes(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within %s: %s", patience, what)
		}
	}
}

// need skips without a program.
func need(t testing.TB, programs ...string) {
	t.Helper()
	for _, p := range programs {
		if _, err := exec.LookPath(p); err != nil {
			t.Skipf("no %s: %v", p, err)
		}
	}
}
