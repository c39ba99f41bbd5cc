package hangar_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/aabb9013/hangar"
	"github.com/aabb9013/hangar/internal/leaktest"
	"github.com/aabb9013/hangar/internal/testserver"
)

func writeConfig(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "fleet.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// stubYAML is a configuration with stub servers.
func stubYAML(ids ...string) string {
	command, _ := testserver.Command()
	text := "mcp_servers:\n"
	for _, id := range ids {
		text += fmt.Sprintf("  %s:\n    mode: subprocess\n    command: [%q]\n    env: {%s: \"1\"}\n    description: of the file\n", id, command[0], testserver.EnvKey)
	}
	return text
}

func ids(rt *hangar.Runtime) string {
	var list []string
	for _, v := range rt.Servers().List() {
		list = append(list, v.Spec.ID)
	}
	return strings.Join(list, " ")
}

func TestOptionsValidate(t *testing.T) {
	openLog := func(hangar.LogSettings) (*slog.Logger, error) { return slog.Default(), nil }
	for _, c := range []struct {
		name string
		opts hangar.Options
		want []string // in the text; none: valid
	}{
		{"zero", hangar.Options{}, nil},
		{"process in memory", hangar.Options{Durability: hangar.DurabilityProcess}, nil},
		{"power on disk", hangar.Options{Durability: hangar.DurabilityPower, DataDir: "d"}, nil},
		{"power in memory", hangar.Options{Durability: hangar.DurabilityPower}, []string{"data directory"}},
		{"unknown durability", hangar.Options{Durability: "eternal"}, []string{`"eternal"`, "process or power"}},
		{"starts", hangar.Options{MaxParallelStarts: -1}, []string{"starts", "-1"}},
		{"timeout", hangar.Options{CallTimeout: -time.Second}, []string{"timeout", "-1s"}},
		{"two logs", hangar.Options{Logger: slog.Default(), OpenLog: openLog}, []string{"OpenLog"}},
		{"all at once", hangar.Options{Durability: "x", MaxParallelStarts: -1, CallTimeout: -1}, []string{"durability", "starts", "timeout"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := c.opts.Validate()
			if (err == nil) != (c.want == nil) {
				t.Fatalf("got %v", err)
			}
			for _, want := range c.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%q does not tell %q", err, want)
				}
			}
			if err != nil {
				if _, newErr := hangar.New(c.opts); newErr == nil || newErr.Error() != err.Error() {
					t.Errorf("New answers %v", newErr)
				}
			}
		})
	}
}

func TestCallsInTheWrongOrderAreRefused(t *testing.T) {
	ctx := t.Context()
	rt, err := hangar.New(hangar.Options{})
	if err != nil {
		t.Fatal(err)
	}
	use := func() map[string]error {
		_, called := rt.Call(ctx, "x", "y", nil)
		_, got := rt.Servers().Get("x")
		_, startedErr := rt.Servers().Start(ctx, "x")
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		served := rt.Serve(ctx, ln)
		if _, err := ln.Accept(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("a refused Serve leaves the listener open: %v", err)
		}
		return map[string]error{
			"Call": called, "Get": got, "Start": startedErr, "Serve": served,
			"Create": rt.Servers().Create(ctx, stub("x")),
			"Update": rt.Servers().Update(ctx, "x", hangar.Patch{}),
			"Delete": rt.Servers().Delete(ctx, "x"), "Stop": rt.Servers().Stop(ctx, "x", "test"),
			"ServeStdio": rt.ServeStdio(ctx, strings.NewReader(""), io.Discard),
		}
	}
	for name, err := range use() {
		if err == nil || !strings.Contains(err.Error(), "not started") {
			t.Errorf("%s before Start: %v", name, err)
		}
	}
	if rt.Handler() != nil || rt.Servers().List() != nil {
		t.Error("there is a handler or a list before Start")
	}
	if err := rt.Start(ctx); err != nil {
		t.Fatal(err)
	}
	if err := rt.Start(ctx); err == nil || !strings.Contains(err.Error(), "started before") {
		t.Errorf("second Start: %v", err)
	}
	if rt.Handler() == nil {
		t.Error("no handler after Start")
	}
	shut(t, rt)
	for name, err := range use() {
		if !errors.Is(err, hangar.ErrClosing) {
			t.Errorf("%s after Close: %v", name, err)
		}
	}
	if err := rt.Start(ctx); !errors.Is(err, hangar.ErrClosing) {
		t.Errorf("Start after Close: %v", err)
	}
}

func TestStartWithADoneContextCanBeRepeated(t *testing.T) {
	rt, err := hangar.New(hangar.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer shut(t, rt)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := rt.Start(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if err := rt.Start(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestCloseWithoutStartAndTwiceAndTogether(t *testing.T) {
	for _, start := range []bool{false, true} {
		dir := t.TempDir()
		rt, err := hangar.New(hangar.Options{DataDir: dir})
		if err != nil {
			t.Fatal(err)
		}
		if start {
			if err := rt.Start(t.Context()); err != nil {
				t.Fatal(err)
			}
			create(t, rt, stub("a"), stub("b", "-ignore-eof"))
			echo(t, rt, "a")
			echo(t, rt, "b")
		}
		var all sync.WaitGroup
		for range 8 {
			all.Go(func() { shut(t, rt) })
		}
		all.Wait()
		shut(t, rt)
		// The directory is free again.
		again, err := hangar.New(hangar.Options{DataDir: dir})
		if err != nil {
			t.Fatalf("after Close: %v", err)
		}
		shut(t, again)
	}
}

func TestCloseEndsServe(t *testing.T) {
	rt := open(t, hangar.Options{})
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	in, inWriter := io.Pipe()
	outReader, out := io.Pipe()
	defer outReader.Close()
	done := make(chan error, 2)
	go func() { done <- rt.Serve(context.Background(), ln) }()
	go func() { done <- rt.ServeStdio(context.Background(), in, out) }()
	// Both must serve before the end: one that begins after it is refused.
	if _, err := io.WriteString(inWriter, `{"jsonrpc":"2.0","id":1,"method":"ping"}`+"\n"); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(outReader).ReadString('\n'); err != nil {
		t.Fatalf("%q: %v", line, err)
	}
	response, err := http.Get("http://" + ln.Addr().String() + "/health/ready")
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	shut(t, rt)
	for range 2 {
		select {
		case err := <-done:
			if err != nil {
				t.Error(err)
			}
		case <-time.After(patience):
			t.Fatal("Serve or ServeStdio goes on after Close")
		}
	}
	inWriter.Close() // ends the read of the client's stream
}

func TestCloseKillsWhatDoesNotStopInTime(t *testing.T) {
	rt := open(t, hangar.Options{})
	create(t, rt, stub("stubborn", "-ignore-eof", "-ignore-term"))
	echo(t, rt, "stubborn")
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	begin := time.Now()
	if err := rt.Close(ctx); err != nil {
		t.Error(err)
	}
	if took := time.Since(begin); took > 4*time.Second { // the ladder would take 7 s
		t.Errorf("Close took %s", took)
	}
}

func TestTwoRuntimesInOneProcess(t *testing.T) {
	one, two := open(t, hangar.Options{DataDir: t.TempDir()}), open(t, hangar.Options{DataDir: t.TempDir()})
	create(t, one, stub("same"), stub("first"))
	create(t, two, stub("same"))
	echo(t, one, "same")
	echo(t, two, "same")
	echo(t, one, "first")
	if _, err := two.Call(t.Context(), "first", "echo", nil); !errors.Is(err, hangar.ErrServerNotFound) {
		t.Errorf("a server of the other runtime: %v", err)
	}
	a, _ := one.Servers().Get("same")
	b, _ := two.Servers().Get("same")
	if a.PID == b.PID || a.PID == 0 {
		t.Errorf("processes %d and %d", a.PID, b.PID)
	}
	shut(t, one)
	echo(t, two, "same")
}

func TestSecondRuntimeOnADirectoryIsToldWhoHasIt(t *testing.T) {
	dir := t.TempDir()
	open(t, hangar.Options{DataDir: dir})
	begin := time.Now()
	_, err := hangar.New(hangar.Options{DataDir: dir})
	if !errors.Is(err, hangar.ErrLocked) || !strings.Contains(err.Error(), dir) || !strings.Contains(err.Error(), fmt.Sprint("process ", os.Getpid())) {
		t.Errorf("got %v", err)
	}
	if took := time.Since(begin); took > 2*time.Second {
		t.Errorf("it took %s", took)
	}
}

func TestDirectoriesThatCannotBeUsed(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{file, filepath.Join(file, "below"), "/proc/hangar"} {
		_, err := hangar.New(hangar.Options{DataDir: dir})
		if !errors.Is(err, hangar.ErrUnwritable) || !strings.Contains(err.Error(), dir) {
			t.Errorf("%s: %v", dir, err)
		}
	}
}

func TestConfigurationFilesThatAreRefused(t *testing.T) {
	for _, c := range []struct {
		name, text string
		notBuilt   bool
		want       []string
	}{
		{"every mistake with its line", "mcp_servers:\n  a:\n    mode: subprocess\n    comand: [x]\n  b:\n    mode: subprocess\n    command: [x]\n    idle_ttl_s: soon\n",
			false, []string{"fleet.yaml:2", "fleet.yaml:4", "comand", "fleet.yaml:8", "idle_ttl_s"}},
		{"no YAML", "mcp_servers: [", false, []string{"fleet.yaml:1"}},
		{"auth", stubYAML("a") + "auth:\n  enabled: true\n", true, []string{"auth", "not built"}},
		{"docker", "mcp_servers:\n  a:\n    mode: docker\n    image: x\n", true, []string{"fleet.yaml:3", "mcp_servers.a.mode", "only subprocess"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "data")
			_, err := hangar.New(hangar.Options{ConfigFile: writeConfig(t, c.text), DataDir: dir})
			if !errors.Is(err, hangar.ErrConfig) || errors.Is(err, hangar.ErrNotBuilt) != c.notBuilt {
				t.Fatalf("got %v", err)
			}
			for _, want := range c.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%q does not tell %q", err, want)
				}
			}
			if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("the state was touched: %v", err)
			}
		})
	}
	_, err := hangar.New(hangar.Options{ConfigFile: "/nowhere/fleet.yaml"})
	if !errors.Is(err, hangar.ErrConfig) || !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), "/nowhere/fleet.yaml") {
		t.Errorf("a missing file: %v", err)
	}
}

func TestOpenLogHearsTheFileAndWarningsReachIt(t *testing.T) {
	path := writeConfig(t, stubYAML("a")+"logging: {level: ERROR, json_format: true, file: x.log}\nhealth: {enabled: true}\n")
	var heard hangar.LogSettings
	var log bytes.Buffer
	rt, err := hangar.New(hangar.Options{ConfigFile: path, OpenLog: func(s hangar.LogSettings) (*slog.Logger, error) {
		heard = s
		return slog.New(slog.NewTextHandler(&log, nil)), nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer shut(t, rt)
	if want := (hangar.LogSettings{Level: "ERROR", JSON: true, File: "x.log"}); heard != want {
		t.Errorf("got %+v, want %+v", heard, want)
	}
	if !strings.Contains(log.String(), "health") {
		t.Errorf("the log does not warn of health: %s", &log)
	}
	refusal := errors.New("no log today")
	_, err = hangar.New(hangar.Options{OpenLog: func(s hangar.LogSettings) (*slog.Logger, error) {
		if s != (hangar.LogSettings{}) {
			t.Errorf("without a file: %+v", s)
		}
		return nil, refusal
	}})
	if !errors.Is(err, refusal) {
		t.Errorf("got %v", err)
	}
}

func TestServersMadeByAPISurviveARestart(t *testing.T) {
	dir := t.TempDir()
	rt := open(t, hangar.Options{DataDir: dir})
	special := stub("c", "-tools", "3")
	special.Description, special.IdleTTL, special.MaxConcurrency = "the special one", 7*time.Minute, 5
	special.Provenance = "config" // nobody but the file makes those
	create(t, rt, special, stub("a"), stub("b"), stub("gone"))
	echo(t, rt, "c")
	text := "patched"
	if err := rt.Servers().Update(t.Context(), "a", hangar.Patch{Description: &text}); err != nil {
		t.Fatal(err)
	}
	if err := rt.Servers().Delete(t.Context(), "gone"); err != nil {
		t.Fatal(err)
	}
	before, _ := rt.Servers().Get("c")
	shut(t, rt)

	rt = open(t, hangar.Options{DataDir: dir})
	if got := ids(rt); got != "c a b" {
		t.Fatalf("servers %q", got)
	}
	after, _ := rt.Servers().Get("c")
	if fmt.Sprintf("%+v", after.Spec) != fmt.Sprintf("%+v", before.Spec) || after.Spec.Provenance != "api" {
		t.Errorf("spec\n%+v, before\n%+v", after.Spec, before.Spec)
	}
	if after.State.String() != "cold" || after.PID != 0 || !after.ToolsStale || len(after.Catalogue.Tools) != len(before.Catalogue.Tools) {
		t.Errorf("view %+v", after)
	}
	if a, _ := rt.Servers().Get("a"); a.Spec.Description != "patched" {
		t.Errorf("description %q", a.Spec.Description)
	}
	echo(t, rt, "c")
	create(t, rt, stub("d"))
	shut(t, rt)
	if got := ids(open(t, hangar.Options{DataDir: dir})); got != "c a b d" {
		t.Errorf("servers %q", got)
	}
}

func TestConfigurationWinsOverAPI(t *testing.T) {
	dir := t.TempDir()
	rt := open(t, hangar.Options{DataDir: dir})
	mine := stub("both")
	mine.Description = "of the API"
	create(t, rt, stub("api"), mine)
	shut(t, rt)
	rt = open(t, hangar.Options{DataDir: dir, ConfigFile: writeConfig(t, stubYAML("file", "both"))})
	if got := ids(rt); got != "file both api" {
		t.Errorf("servers %q", got)
	}
	v, err := rt.Servers().Get("both")
	if err != nil || v.Spec.Description != "of the file" || v.Spec.Provenance != "config" {
		t.Errorf("spec %+v, %v", v.Spec, err)
	}
	echo(t, rt, "both")
	shut(t, rt)
	// Without the file, what the API made is there again.
	if got := ids(open(t, hangar.Options{DataDir: dir})); got != "api both" {
		t.Errorf("servers %q", got)
	}
}

func TestCloseLeavesNoGoroutine(t *testing.T) {
	http.DefaultClient.CloseIdleConnections()
	before := goleak.IgnoreCurrent()
	rt := open(t, hangar.Options{DataDir: t.TempDir()})
	f, done := serveUntilClose(t, rt)
	create(t, rt, stub("a"), stub("b"), stub("loop", "-crash-loop"))
	echo(t, rt, "a")
	echo(t, rt, "b")
	if _, err := rt.Call(t.Context(), "loop", "echo", nil); !errors.Is(err, hangar.ErrStartFailed) {
		t.Errorf("crash loop: %v", err)
	}
	response, err := http.Get(f.url + "/api/mcp_servers")
	if err != nil {
		t.Fatal(err)
	}
	io.Copy(io.Discard, response.Body)
	response.Body.Close()
	shut(t, rt)
	<-done
	if err := leaktest.Find(before, leaktest.FasthttpWorkers, leaktest.FasthttpDate); err != nil {
		t.Error(err)
	}
}

func TestHostKeepsItsOwnChildren(t *testing.T) {
	rt := open(t, hangar.Options{})
	create(t, rt, stub("steady"), stub("crashing"))
	var hosts sync.WaitGroup
	for range 4 {
		hosts.Go(func() {
			for i := range 25 {
				err := exec.Command("sh", "-c", fmt.Sprint("exit ", i)).Run()
				var exit *exec.ExitError
				if i == 0 && err != nil || i > 0 && (!errors.As(err, &exit) || exit.ExitCode() != i) {
					t.Errorf("the host's child: %v, want exit code %d", err, i)
				}
			}
		})
	}
	for range 5 {
		echo(t, rt, "steady")
		rt.Call(t.Context(), "crashing", "crash", map[string]any{"code": 9})
	}
	hosts.Wait()
	// Also one that outlives the runtime.
	child := exec.Command("sh", "-c", "read line; exit 7")
	in, err := child.StdinPipe()
	if err == nil {
		err = child.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	shut(t, rt)
	in.Close()
	var exit *exec.ExitError
	if err := child.Wait(); !errors.As(err, &exit) || exit.ExitCode() != 7 {
		t.Errorf("the host's child: %v", err)
	}
}
