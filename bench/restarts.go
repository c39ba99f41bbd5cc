package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/aabb9013/hangar/bench/driver"
	"github.com/aabb9013/hangar/internal/testserver"
)

// goalRestart is from the start of the program to ready, with all servers known, after kill -9.
const goalRestart = 2 * time.Second

type restarts struct {
	settings
	servers, rounds int
}

// runRestarts makes servers by the API, kills the runtime with kill -9 while they are changed and called, and prints how
// long the next one takes until it is ready with all of them.
func runRestarts(ctx context.Context, args []string) error {
	var r restarts
	fs := trialFlags("restarts", &r.settings)
	fs.IntVar(&r.servers, "servers", 1000, "servers made by the API")
	var err error
	if r.rounds, err = leadingNumber(fs, args, "number of rounds", 1, 20); err != nil {
		return ignoreHelp(err)
	}
	if r.servers < 1 {
		return errors.New("-servers must be positive")
	}
	done, err := r.open()
	if err != nil {
		return err
	}
	defer done()
	took, calls, err := r.run(ctx)
	if err != nil {
		return err
	}
	r.write(os.Stdout, took, calls)
	return nil
}

func (r *restarts) run(ctx context.Context) (took driver.Histogram, calls int64, err error) {
	if r.dataDir, err = os.MkdirTemp(r.dir, "data-"); err != nil {
		return took, 0, err
	}
	t, err := r.start(ctx, 1)
	if err != nil {
		return took, 0, err
	}
	defer func() { t.target.stop() }()
	if err := r.make(t); err != nil {
		return took, 0, err
	}
	random := rand.New(rand.NewPCG(r.seed, 0))
	for range r.rounds {
		n, err := r.killUnderLoad(ctx, t, random)
		calls += n
		if err != nil {
			return took, calls, err
		}
		<-t.done
		began := time.Now()
		if t, err = r.start(ctx, 1); err != nil {
			return took, calls, err
		}
		took.Record(time.Since(began))
		var list struct {
			Servers []standing `json:"mcp_servers"`
		}
		if err := t.request("GET", "/api/mcp_servers", "", &list); err != nil {
			return took, calls, err
		}
		if len(list.Servers) != r.servers+1 {
			return took, calls, fmt.Errorf("%d servers are there, want %d", len(list.Servers), r.servers+1)
		}
	}
	return took, calls, nil
}

// make makes the servers; they are stubs, as those of the configuration.
func (r *restarts) make(t *trial) error {
	t.servers = r.servers
	defer func() { t.servers = 1 }()
	return t.each(func(i int) error {
		return t.request("POST", "/api/mcp_servers", stubSpec(fmt.Sprint("made-", i), r.tag), nil)
	})
}

// stubSpec is the body that makes a stub server.
func stubSpec(id, tag string) string {
	command, env := testserver.Command()
	env[runKey] = tag
	text, _ := json.Marshal(map[string]any{"mcp_server_id": id, "mode": "subprocess", "command": command, "env": env}) // texts only
	return string(text)
}

// killUnderLoad calls the one server and changes others until the runtime is killed, within half a second.
func (r *restarts) killUnderLoad(ctx context.Context, t *trial, random *rand.Rand) (calls int64, err error) {
	if err := t.call(0, "warm"); err != nil {
		return 0, err
	}
	var load sync.WaitGroup
	var answered atomic.Int64
	load.Go(func() {
		for t.call(0, "load") == nil {
			answered.Add(1)
		}
	})
	first := random.IntN(r.servers)
	load.Go(func() {
		for i := first; ; i++ {
			body := fmt.Sprintf(`{"description":"change %d"}`, i)
			if t.request("PUT", fmt.Sprintf("/api/mcp_servers/made-%d", i%r.servers), body, nil) != nil {
				return
			}
		}
	})
	pause(ctx, time.Duration(random.IntN(500))*time.Millisecond)
	err = r.kill(t.pid)
	load.Wait()
	return answered.Load(), errors.Join(err, ctx.Err())
}

func (r *restarts) write(w io.Writer, took driver.Histogram, calls int64) {
	fmt.Fprintf(w, "kill -9 under calls and changes, seed %d, %d calls answered in all; load average %s.\n\n", r.seed, calls, loadAverage())
	fmt.Fprintf(w, "| servers | kills | start to ready p50 | p99 | goal |\n|---:|---:|---|---|---|\n| %d | %d | %s | %s | at most %s |\n",
		r.servers+1, took.Count(), ms(took.Quantile(0.5)), ms(took.Quantile(0.99)), ms(goalRestart))
}
