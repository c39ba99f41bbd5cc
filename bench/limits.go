package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/aabb9013/hangar/bench/driver"
	"github.com/valyala/fasthttp"
)

// roles are what this binary can be besides the harness, by its first argument.
var roles = map[string]func(ctx context.Context, args []string) error{
	"driver": runDriver,
	"echo":   runEcho,
	"floor":  runFloor,
	"pipes":  runPipes,
	"turns":  runTurns,
}

func loadFlags(fs *flag.FlagSet) *driver.Config {
	c := &driver.Config{}
	fs.IntVar(&c.Servers, "servers", 1, "number of servers")
	fs.IntVar(&c.InFlight, "inflight", 16, "calls in flight")
	fs.IntVar(&c.Payload, "payload", 64, "bytes of text")
	fs.DurationVar(&c.Warmup, "warmup", 500*time.Millisecond, "time that is not measured")
	fs.DurationVar(&c.Duration, "duration", 3*time.Second, "time that is measured")
	return c
}

// runDriver prints one driver.Result.
func runDriver(ctx context.Context, args []string) error {
	fs := flag.NewFlagSet("driver", flag.ContinueOnError)
	c := loadFlags(fs)
	fs.StringVar(&c.Addr, "addr", "", "address of the endpoint")
	fs.IntVar(&c.PID, "pid", 0, "process whose CPU is read")
	fs.BoolVar(&c.Prime, "prime", false, "call every server once before")
	fs.BoolVar(&c.Storm, "storm", false, "call every server once, all at the same time")
	fs.BoolVar(&c.EchoBody, "echo-body", false, "the endpoint answers the body")
	if err := fs.Parse(args); err != nil {
		return err
	}
	result, err := driver.Run(ctx, *c)
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(result)
}

// turns is what the role of that name is told, in JSON.
type turns struct {
	Turn    time.Duration
	Targets []driver.Config
}

// runTurns prints the driver.Results of each target.
func runTurns(ctx context.Context, args []string) error {
	var told turns
	if err := json.Unmarshal([]byte(strings.Join(args, " ")), &told); err != nil {
		return err
	}
	results, err := driver.Turns(ctx, told.Turn, told.Targets)
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(results)
}

func runEcho(ctx context.Context, args []string) error {
	fs := flag.NewFlagSet("echo", flag.ContinueOnError)
	addr := fs.String("addr", "127.0.0.1:0", "listen address")
	if err := fs.Parse(args); err != nil {
		return err
	}
	return serve(ctx, *addr, echo)
}

func runFloor(ctx context.Context, args []string) error {
	fs := flag.NewFlagSet("floor", flag.ContinueOnError)
	addr := fs.String("addr", "127.0.0.1:0", "listen address")
	servers := fs.Int("servers", 1, "number of children")
	cold := fs.Bool("cold", false, "start a child at its first call instead of at boot")
	if err := fs.Parse(args); err != nil {
		return err
	}
	f := &floor{children: make(fleet, *servers)}
	defer f.children.close()
	if !*cold {
		if err := f.children.boot(); err != nil {
			return err
		}
	}
	return serve(ctx, *addr, f.serve)
}

// serve returns when ctx ends. Connections that are open then end with the process.
func serve(ctx context.Context, addr string, handler fasthttp.RequestHandler) error {
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- newHTTPServer(handler).Serve(listener) }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
		return nil
	}
}

// runPipes drives children without any HTTP and prints one driver.Result, whose CPU is that of making the requests,
// sending them, demultiplexing and checking the answers: all there is.
func runPipes(ctx context.Context, args []string) error {
	fs := flag.NewFlagSet("pipes", flag.ContinueOnError)
	c := loadFlags(fs)
	if err := fs.Parse(args); err != nil {
		return err
	}
	if err := c.Validate(); err != nil {
		return err
	}
	children := make(fleet, c.Servers)
	defer children.close()
	if err := children.boot(); err != nil {
		return err
	}
	var measuring, stopping atomic.Bool
	var group sync.WaitGroup
	histograms := make([]driver.Histogram, c.InFlight)
	errs := make([]error, c.InFlight)
	for worker := range c.InFlight {
		group.Go(func() {
			server := worker * c.Servers / c.InFlight
			for !stopping.Load() && errs[worker] == nil {
				took, err := callPipe(children, server%c.Servers, c.Payload)
				if measuring.Load() {
					histograms[worker].Record(took)
				}
				errs[worker] = err
				server++
			}
		})
	}
	pause(ctx, c.Warmup)
	cpu, err := driver.CPU(os.Getpid())
	begin := time.Now()
	measuring.Store(true)
	pause(ctx, c.Duration)
	measuring.Store(false)
	elapsed := time.Since(begin)
	after, err2 := driver.CPU(os.Getpid())
	stopping.Store(true)
	group.Wait()
	if err := errors.Join(append(errs, err, err2, ctx.Err())...); err != nil {
		return err
	}
	var all driver.Histogram
	for i := range histograms {
		all.Merge(&histograms[i])
	}
	return json.NewEncoder(os.Stdout).Encode(driver.Summarize(&all, elapsed, after-cpu, 0))
}

var requests = sync.Pool{New: func() any { return &driver.Request{} }}

func callPipe(children fleet, server, payload int) (time.Duration, error) {
	l, err := children.get(server)
	if err != nil {
		return 0, err
	}
	request := requests.Get().(*driver.Request)
	defer requests.Put(request)
	c := calls.Get().(*call)
	defer calls.Put(c)
	n := l.ids.Add(1)
	request.Build(n, "echo", payload)
	c.id = append(c.id[:0], request.ID...)
	c.line = append(append(c.line[:0], request.Body...), '\n')
	begin := time.Now()
	if err := l.do(n, c); err != nil {
		return 0, err
	}
	took := time.Since(begin)
	if err := request.Verify(c.reply); err != nil {
		return 0, fmt.Errorf("s%s: %w", strconv.Itoa(server), err)
	}
	return took, nil
}

func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}
