package hangar_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"time"

	"github.com/aabb9013/hangar"
	"github.com/aabb9013/hangar/internal/testserver"
)

// The servers of these examples are the stub server of the project's tests;
// command and env are what starts it. In a program of yours they are those of
// any MCP server over stdio.

// started returns a running runtime; the end of an example closes it.
func started() (*hangar.Runtime, func()) {
	rt, err := hangar.New(hangar.Options{})
	if err != nil {
		log.Fatal(err)
	}
	if err := rt.Start(context.Background()); err != nil {
		log.Fatal(err)
	}
	return rt, func() { rt.Close(context.Background()) }
}

// The whole life of a runtime.
func Example() {
	ctx := context.Background()
	rt, err := hangar.New(hangar.Options{}) // in memory; DataDir keeps the state
	if err != nil {
		log.Fatal(err)
	}
	defer rt.Close(ctx)
	if err := rt.Start(ctx); err != nil {
		log.Fatal(err)
	}

	command, env := testserver.Command()
	err = rt.Servers().Create(ctx, hangar.ServerSpec{ID: "stub", Command: command, Env: env})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(rt.Servers().List()[0].State)

	result, err := rt.Call(ctx, "stub", "echo", map[string]any{"text": "hello"})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(string(result.Raw))
	fmt.Println(rt.Servers().List()[0].State)
	// Output:
	// cold
	// {"content":[{"type":"text","text":"hello"}]}
	// ready
}

func ExampleServers_Create() {
	rt, closeRuntime := started()
	defer closeRuntime()

	command, env := testserver.Command()
	err := rt.Servers().Create(context.Background(), hangar.ServerSpec{
		ID:             "stub",
		Description:    "a server for tests",
		Command:        command, // program and arguments, never through a shell
		Env:            env,
		IdleTTL:        10 * time.Minute,
		MaxConcurrency: 8,
	})
	if err != nil {
		log.Fatal(err)
	}
	view, _ := rt.Servers().Get("stub")
	fmt.Println(view.State, view.Spec.IdleTTL, view.Spec.HealthCheckInterval)

	err = rt.Servers().Create(context.Background(), hangar.ServerSpec{ID: "no command"})
	fmt.Println(err != nil)
	// Output:
	// cold 10m0s 1m0s
	// true
}

func ExampleRuntime_Call() {
	rt, closeRuntime := started()
	defer closeRuntime()
	command, env := testserver.Command()
	if err := rt.Servers().Create(context.Background(), hangar.ServerSpec{ID: "stub", Command: command, Env: env}); err != nil {
		log.Fatal(err)
	}

	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	result, err := rt.Call(ctx, "stub", "fail", nil)
	if err != nil {
		log.Fatal(err) // no answer: not started, crashed, timed out
	}
	var answer struct {
		Content []struct{ Text string }
	}
	if err := json.Unmarshal(result.Raw, &answer); err != nil {
		log.Fatal(err)
	}
	fmt.Println(result.IsError, answer.Content[0].Text) // an answer: the tool reports a failure
	// Output: true failed as asked
}

func ExampleRuntime_Serve() {
	rt, closeRuntime := started()
	defer closeRuntime()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- rt.Serve(ctx, ln) }()

	response, err := http.Get("http://" + ln.Addr().String() + "/api/mcp_servers")
	if err != nil {
		log.Fatal(err)
	}
	body, _ := io.ReadAll(response.Body)
	response.Body.Close()
	fmt.Println(response.StatusCode, string(body))

	stop()
	fmt.Println(<-done)
	// Output:
	// 200 {"mcp_servers":[]}
	// <nil>
}

// A group shares its calls among servers that serve the same tools.
func ExampleGroups() {
	ctx := context.Background()
	rt, end := started()
	defer end()
	command, env := testserver.Command()
	for _, id := range []string{"stub-1", "stub-2", "stub-3"} {
		if err := rt.Servers().Create(ctx, hangar.ServerSpec{ID: id, Command: command, Env: env}); err != nil {
			log.Fatal(err)
		}
		if _, err := rt.Servers().Start(ctx, id); err != nil {
			log.Fatal(err)
		}
	}
	err := rt.Groups().Create(ctx, hangar.GroupSpec{
		ID: "stubs", Strategy: "weighted_round_robin",
		Members: []hangar.GroupMember{{ID: "stub-1"}, {ID: "stub-2"}, {ID: "stub-3", Weight: 2}},
	})
	if err != nil {
		log.Fatal(err)
	}
	for range 8 {
		if _, err := rt.Call(ctx, "stubs", "echo", map[string]any{"text": "hello"}); err != nil {
			log.Fatal(err)
		}
	}
	pool, err := rt.Groups().Get("stubs")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(pool.State, pool.Circuit, pool.Healthy, "of", len(pool.Members))
	for _, v := range rt.Servers().List() {
		fmt.Println(v.Spec.ID, v.Counters.Calls.Load())
	}
	// Output:
	// healthy closed 3 of 3
	// stub-1 2
	// stub-2 2
	// stub-3 4
}
