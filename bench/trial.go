package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/aabb9013/hangar/bench/driver"
)

// trials are what this binary does besides measuring the call path, by its first argument: they do to hangar what
// production does, and tell how it took it.
var trials = map[string]func(ctx context.Context, args []string) error{
	"-recovery": runRecovery,
	"-soak":     runSoak,
	"-orphans":  runOrphans,
	"-reloads":  runReloads,
	"-restarts": runRestarts,
	"-times":    runTimes,
}

const (
	requestTime = 30 * time.Second
	readyAgain  = 60 * time.Second // how long a server may take to come back before a trial gives up
	lookAgain   = 5 * time.Millisecond
)

// settings are the flags that trials share.
type settings struct {
	host
	seed uint64
}

func trialFlags(name string, s *settings) *flag.FlagSet {
	fs := flag.NewFlagSet("bench -"+name, flag.ContinueOnError)
	fs.StringVar(&s.hangar, "hangar", "bin/hangar", "`path` of the hangar binary")
	fs.Uint64Var(&s.seed, "seed", rand.Uint64(), "seed of everything random")
	return fs
}

// leadingNumber reads the number that a trial wants first, and the flags behind it. what says which it is, example one.
func leadingNumber(fs *flag.FlagSet, args []string, what string, least, example int) (n int, err error) {
	trial := strings.TrimPrefix(fs.Name(), "bench ")
	if len(args) == 0 {
		return 0, fmt.Errorf("%s needs a %s, for example %s %d", trial, what, trial, example)
	}
	if n, err = strconv.Atoi(args[0]); err != nil || n < least {
		return 0, fmt.Errorf("%s: %q is no %s", trial, args[0], what)
	}
	return n, fs.Parse(args[1:])
}

// open makes the place where the trial's processes work; close ends what is left of them.
func (s *settings) open() (close func(), err error) {
	s.tag = fmt.Sprintf("%d-%d", os.Getpid(), time.Now().UnixNano())
	if s.self, err = os.Executable(); err != nil {
		return nil, err
	}
	if s.dir, err = os.MkdirTemp("", "hangar-trial-"); err != nil {
		return nil, err
	}
	return func() {
		if left := s.sweep(); left > 0 {
			fmt.Fprintf(os.Stderr, "bench: killed %d processes that outlived their runtime\n", left)
		}
		os.RemoveAll(s.dir)
	}, nil
}

// trial is one hangar with its servers s0, s1, ….
type trial struct {
	*target
	http    *fasthttp.Client
	servers int
	seed    uint64
}

func (s *settings) start(ctx context.Context, servers int) (*trial, error) {
	running, err := s.host.start(ctx, "hangar", servers, true)
	if err != nil {
		return nil, err
	}
	return &trial{running, &fasthttp.Client{MaxConnsPerHost: 512}, servers, s.seed}, nil
}

// request makes one REST request; an answer that is no success is an error.
func (t *trial) request(method, path, body string, out any) error {
	request, response := fasthttp.AcquireRequest(), fasthttp.AcquireResponse()
	defer fasthttp.ReleaseRequest(request)
	defer fasthttp.ReleaseResponse(response)
	request.Header.SetMethod(method)
	request.SetRequestURI("http://" + t.addr + path)
	if body != "" {
		request.Header.SetContentType("application/json")
		request.SetBodyString(body)
	}
	if err := t.http.DoTimeout(request, response, requestTime); err != nil {
		return fmt.Errorf("%s %s: %w", method, path, err)
	}
	if status := response.StatusCode(); status >= 300 {
		return fmt.Errorf("%s %s: status %d: %.300s", method, path, status, response.Body())
	}
	if out == nil {
		return nil
	}
	return json.Unmarshal(response.Body(), out)
}

func serverPath(i int) string { return "/api/mcp_servers/s" + strconv.Itoa(i) }

// startServer starts server i, unless it runs.
func (t *trial) startServer(i int) error { return t.request("POST", serverPath(i)+"/start", "", nil) }

var errWrongAnswer = errors.New("the answer is another call's")

// call makes one call of echo and checks the answer.
func (t *trial) call(i int, text string) error {
	var answer struct {
		Result struct {
			Content []struct{ Text string }
		}
	}
	if err := t.request("POST", serverPath(i)+"/tools/echo/call", `{"text":"`+text+`"}`, &answer); err != nil {
		return err
	}
	if c := answer.Result.Content; len(c) != 1 || c[0].Text != text {
		return fmt.Errorf("s%d: %w: %v instead of %q", i, errWrongAnswer, c, text)
	}
	return nil
}

// each runs f for every server, a few at a time.
func (t *trial) each(f func(i int) error) error {
	const workers = 16
	var group sync.WaitGroup
	errs := make([]error, workers)
	for w := range workers {
		group.Go(func() {
			for i := w; i < t.servers && errs[w] == nil; i += workers {
				errs[w] = f(i)
			}
		})
	}
	group.Wait()
	return errors.Join(errs...)
}

// prime calls every server, so that all of them are up.
func (t *trial) prime() error {
	return t.each(func(i int) error { return t.call(i, "prime") })
}

// standing is how one server stands.
type standing struct {
	State    string `json:"state"`
	Epoch    uint64 `json:"epoch"`
	PID      int    `json:"pid"`
	Restarts int    `json:"restarts"`
	Meta     struct {
		StartedAt float64 `json:"started_at"` // Unix seconds
	} `json:"meta"`
}

func (s standing) readySince() time.Time { return time.UnixMicro(int64(s.Meta.StartedAt * 1e6)) }

func (t *trial) standing(i int) (s standing, err error) {
	err = t.request("GET", serverPath(i), "", &s)
	return s, err
}

// next waits for the ready instance that follows the one of that epoch.
func (t *trial) next(ctx context.Context, i int, epoch uint64) (standing, error) {
	for deadline := time.Now().Add(readyAgain); ; pause(ctx, lookAgain) {
		s, err := t.standing(i)
		switch {
		case err != nil:
			return s, err
		case s.State == "ready" && s.Epoch > epoch:
			return s, nil
		case ctx.Err() != nil:
			return s, ctx.Err()
		case time.Now().After(deadline):
			return s, fmt.Errorf("s%d is %s in epoch %d, not ready %s after epoch %d", i, s.State, s.Epoch, readyAgain, epoch)
		}
	}
}

// kill kills the process of a server, after a look that it is one of ours.
func (h *host) kill(pid int) error {
	if pid <= 0 || !h.owns(pid) {
		return fmt.Errorf("process %d is not of this run", pid)
	}
	return syscall.Kill(pid, syscall.SIGKILL)
}

// vitals are what must not grow with time.
type vitals struct {
	Goroutines  int
	Descriptors int   // without the store's files: it opens and closes tables as its log goes on
	StoreFiles  int   // the descriptors of those
	Memory      int64 // bytes of its own: the store's mapped files are not in it
}

func (t *trial) vitals() (v vitals, err error) {
	var answer struct{ System struct{ Goroutines int } }
	if err := t.request("GET", "/api/system", "", &answer); err != nil {
		return v, err
	}
	v.Goroutines = answer.System.Goroutines
	if v.Descriptors, v.StoreFiles, err = openFiles(t.pid, filepath.Dir(t.file)); err != nil {
		return v, err
	}
	v.Memory, err = driver.OwnMemory(t.pid)
	return v, err
}

// openFiles counts the descriptors of a process, those of files below a directory for themselves.
func openFiles(pid int, dir string) (others, below int, err error) {
	all := filepath.Join("/proc", strconv.Itoa(pid), "fd")
	entries, err := os.ReadDir(all)
	if err != nil {
		return 0, 0, err
	}
	for _, e := range entries {
		target, err := os.Readlink(filepath.Join(all, e.Name()))
		switch {
		case err != nil: // closed meanwhile
		case strings.HasPrefix(target, dir):
			below++
		default:
			others++
		}
	}
	return others, below, nil
}
