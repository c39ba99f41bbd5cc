package main

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aabb9013/hangar/bench/driver"
	"github.com/aabb9013/hangar/internal/leaktest"
	"github.com/aabb9013/hangar/internal/testserver"
	"gopkg.in/yaml.v3"
)

// TestMain lets this binary be everything that the harness starts: the stub, the roles of bench, and a hangar.
func TestMain(m *testing.M) {
	testserver.ExecIfRequested()
	if len(os.Args) > 1 {
		if os.Args[1] == "serve" {
			fakeHangar(os.Args[2:])
		}
		if roles[os.Args[1]] != nil {
			main()
			os.Exit(0)
		}
	}
	// A binary under the race detector sleeps for a second at its exit; many of them are started here.
	os.Setenv("GORACE", "atexit_sleep_ms=0")
	code := leaktest.Run(m, leaktest.FasthttpDialer)
	if builtDir != "" {
		os.RemoveAll(builtDir)
	}
	os.Exit(code)
}

// fakeHangar is the floor behind the command line and the configuration file of hangar.
func fakeHangar(args []string) {
	fs := flag.NewFlagSet("serve", flag.ExitOnError)
	fs.Bool("http", false, "")
	port, host, config := fs.String("port", "", ""), fs.String("host", "", ""), fs.String("config", "", "")
	fs.String("data-dir", "", "")
	fs.String("log-level", "", "")
	fs.Parse(args)
	text, err := os.ReadFile(*config)
	if err != nil {
		panic(err)
	}
	var file struct {
		Servers map[string]struct {
			Mode    string
			Command []string
			Env     map[string]string
		} `yaml:"mcp_servers"`
	}
	if err := yaml.Unmarshal(text, &file); err != nil {
		panic(err)
	}
	for name, s := range file.Servers {
		if s.Mode != "subprocess" || len(s.Command) != 1 || s.Env[testserver.EnvKey] != "1" {
			panic("server " + name + " is not the stub")
		}
	}
	f := &floor{children: make(fleet, len(file.Servers))}
	panic(newHTTPServer(f.serve).ListenAndServe(*host + ":" + *port))
}

func pipeLink(t *testing.T) (*link, *os.File) {
	t.Helper()
	stdout, out, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	_, stdin, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	return &link{stdin: stdin, stdout: stdout, pending: map[uint64]*call{}}, out
}

func TestHarnessMeasuresEverySystem(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "figures.json")
	args := []string{"-hangar", self, "-servers", "1,3", "-inflight", "2", "-payload", "64,65536", "-storm", "4",
		"-warmup", "10ms", "-duration", "300ms", "-turn", "120ms", "-rounds", "1", "-json", file, "-quiet"}
	if err := harness(t.Context(), args); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var r report
	if err := json.Unmarshal(text, &r); err != nil {
		t.Fatal(err)
	}
	// pipes, floor and hangar with two numbers of servers, echo with one; two payloads each.
	if len(r.Cells) != 14 || len(r.Storms) != 2 || len(r.Memory) != 10 {
		t.Errorf("%d cells, %d storms, %d memory figures", len(r.Cells), len(r.Storms), len(r.Memory))
	}
	for _, c := range r.Cells {
		if want := 2 - strings.Count(c.System, "pipes"); len(c.Turns) != want || c.of(rate) <= 0 {
			t.Errorf("%v: %d turns, want %d: %+v", c.cellKey, len(c.Turns), want, c.Turns)
		}
		if n, first := failures(c.Turns); n > 0 {
			t.Errorf("%v: %d errors: %s", c.cellKey, n, first)
		}
	}
}

func TestHarnessLeavesNothingBehind(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	h := &host{self: self, hangar: self, dir: t.TempDir(), tag: "leaves-nothing"}
	ctx, cancel := context.WithCancel(t.Context())
	target, err := h.start(ctx, "floor", 5, false)
	if err != nil {
		t.Fatal(err)
	}
	driving := make(chan error, 1)
	go func() {
		_, err := h.drive(ctx, target, driver.Config{Servers: 5, InFlight: 2, Payload: 64, Duration: 1 << 40})
		driving <- err
	}()
	cancel() // what Ctrl-C does
	if err := <-driving; err == nil {
		t.Error("a cancelled measurement has a result")
	}
	target.stop()
	if left := h.sweep(); left != 0 {
		t.Errorf("%d processes were left by a target that was stopped", left)
	}
	// A target that is killed leaves nothing that the sweep would not find.
	if target, err = h.start(t.Context(), "floor", 5, false); err != nil {
		t.Fatal(err)
	}
	if h.sweep() == 0 {
		t.Error("the sweep did not find the target")
	}
	<-target.done
	if _, err := h.start(t.Context(), "hangar", 1, false); err != nil {
		t.Error(err)
	}
	h.sweep()
}

func TestCheckNamesMissedGoals(t *testing.T) {
	build := func(hangarRate, hangarCPU float64, errors uint64) *report {
		r := &report{plan: &plan{systems: []string{"floor", "hangar"}, servers: []int{1}, inFlight: []int{16}, payloads: []int{64}}}
		key := cellKey{System: "floor", Servers: 1, InFlight: 16, Payload: 64}
		r.addCell(key, []driver.Result{{Rate: 40000, CPU: 20}})
		key.System = "hangar"
		r.addCell(key, []driver.Result{{Rate: hangarRate, CPU: hangarCPU, Errors: errors, FirstError: "wrong id"}})
		return r
	}
	for name, c := range map[string]struct {
		report *report
		want   []string
	}{
		"met":      {build(36000, 24, 0), nil},
		"slow":     {build(30000, 24, 0), []string{"0.75 of the floor's throughput"}},
		"costly":   {build(36000, 30, 0), []string{"1.50 of the floor's CPU"}},
		"wrong":    {build(36000, 24, 3), []string{"3 errors: wrong id"}},
		"nothing":  {&report{}, []string{"no cell"}},
		"all ways": {build(1, 300, 1), []string{"throughput", "CPU", "errors"}},
	} {
		err := c.report.check()
		if (err == nil) != (c.want == nil) {
			t.Errorf("%s: got %v", name, err)
		}
		for _, want := range c.want {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s: got %v, want %q", name, err, want)
			}
		}
	}
	var out bytes.Buffer
	build(36000, 24, 3).write(&out)
	if want := "| 1 | 16 | 40000 (20.0; 0/0/0) | 36000 (24.0; 0/0/0) **3 errors: wrong id** | 0.90 | 1.20 |"; !strings.Contains(out.String(), want) {
		t.Errorf("the table lacks %q:\n%s", want, out.String())
	}
}

func TestMedian(t *testing.T) {
	for _, c := range []struct {
		values []float64
		want   float64
	}{{nil, 0}, {[]float64{3}, 3}, {[]float64{9, 1, 2}, 2}, {[]float64{4, 1, 3, 2}, 2.5}} {
		if got := median(c.values); got != c.want {
			t.Errorf("median of %v: got %v, want %v", c.values, got, c.want)
		}
	}
}
