// Package driver puts load on an MCP endpoint and checks every answer. It runs in a process of its own, so that the
// processor time of the system under test can be read for that alone.
package driver

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// Config says what to send where. All fields but PID and EchoBody are needed.
type Config struct {
	Addr     string        // host:port of the endpoint; the path is /mcp
	Servers  int           // tools s0__echo to s(n-1)__echo
	InFlight int           // workers, each with a connection of its own
	Payload  int           // bytes of text; at least 16
	Warmup   time.Duration // not measured
	Duration time.Duration
	PID      int  // whose processor time is measured; 0: nobody's
	Prime    bool // call every server once before the warm-up
	Storm    bool // instead of a load: every server is called once, all at the same time
	EchoBody bool // the endpoint answers the body of the request
}

// Limits of a run, whatever the endpoint does.
const (
	grace     = 60 * time.Second // what starting servers and finishing calls may take on top of the durations
	giveUp    = 5                // failed calls in a row after which a worker stops
	MinText   = 16               // the unique part of a text
	maxWorker = 1 << 12
)

// Validate reports every fault of the configuration.
func (c Config) Validate() error {
	var errs []error
	if c.Servers < 1 || c.InFlight < 1 || c.InFlight > maxWorker {
		errs = append(errs, fmt.Errorf("%d servers, %d in flight: out of range", c.Servers, c.InFlight))
	}
	if c.Payload < MinText {
		errs = append(errs, fmt.Errorf("payload of %d bytes: at least %d are needed to tell calls apart", c.Payload, MinText))
	}
	return errors.Join(errs...)
}

// Result is one measurement.
type Result struct {
	Calls      uint64  `json:"calls"`
	Errors     uint64  `json:"errors"`
	FirstError string  `json:"first_error,omitempty"`
	Seconds    float64 `json:"seconds"`
	Rate       float64 `json:"calls_per_second"`
	P50        float64 `json:"p50_us"`
	P90        float64 `json:"p90_us"`
	P99        float64 `json:"p99_us"`
	Max        float64 `json:"max_us"`
	CPU        float64 `json:"target_cpu_us_per_call"`
	DriverCPU  float64 `json:"driver_cpu_us_per_call"`
}

// Summarize turns counts into a result. Rates are 0 when nothing was measured.
func Summarize(h *Histogram, elapsed, target, driver time.Duration) Result {
	us := func(d time.Duration) float64 { return float64(d) / 1e3 }
	r := Result{
		Calls: h.Count(), Seconds: elapsed.Seconds(),
		P50: us(h.Quantile(.5)), P90: us(h.Quantile(.9)), P99: us(h.Quantile(.99)), Max: us(h.Quantile(1)),
	}
	if n := float64(r.Calls); n > 0 && elapsed > 0 {
		r.Rate = n / elapsed.Seconds()
		r.CPU = us(target) / n
		r.DriverCPU = us(driver) / n
	}
	return r
}

// Text appends the text of call number n: its number in 16 digits and filler up to size.
func Text(b []byte, n uint64, size int) []byte {
	const filler = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_"
	start := len(b)
	for shift := 60; shift >= 0; shift -= 4 {
		b = append(b, "0123456789abcdef"[n>>shift&15])
	}
	for len(b)-start < size {
		b = append(b, filler[:min(len(filler), size-(len(b)-start))]...)
	}
	return b
}

// Request builds tools/call messages and keeps what the answer to the last one must hold.
type Request struct {
	Body []byte
	ID   []byte
	Text []byte
}

// Build makes the message of call number n. Its memory is used again by the next one; of the text only the number is
// written again while the size stays the same.
func (r *Request) Build(n uint64, tool string, size int) {
	if len(r.Text) != size {
		r.Text = Text(r.Text[:0], n, size)
	} else {
		Text(r.Text[:0], n, MinText)
	}
	r.ID = strconv.AppendUint(r.ID[:0], n, 10)
	r.Body = append(r.Body[:0], `{"jsonrpc":"2.0","id":`...)
	r.Body = append(r.Body, r.ID...)
	r.Body = append(r.Body, `,"method":"tools/call","params":{"name":"`...)
	r.Body = append(r.Body, tool...)
	r.Body = append(r.Body, `","arguments":{"text":"`...)
	r.Body = append(r.Body, r.Text...)
	r.Body = append(r.Body, `"}}}`...)
}

// Verify checks the answer to the last message that was built.
func (r *Request) Verify(message []byte) error { return verify(message, r.ID, r.Text) }

// Run does one measurement. Calls that fail are counted, and make no error; that nothing could be measured does.
func Run(ctx context.Context, c Config) (Result, error) {
	if err := c.Validate(); err != nil {
		return Result{}, err
	}
	r := newRun(c, time.Now().Add(c.Warmup+c.Duration+grace))
	defer r.close()
	if c.Storm {
		return r.storm(ctx)
	}
	return r.load(ctx)
}

type run struct {
	Config
	deadline time.Time
	tools    []string
	workers  []*worker

	measuring atomic.Bool
	stopping  atomic.Bool
	errors    atomic.Uint64
	mu        sync.Mutex
	first     string
}

func newRun(c Config, deadline time.Time) *run {
	r := &run{Config: c, deadline: deadline}
	for i := range c.Servers {
		r.tools = append(r.tools, "s"+strconv.Itoa(i)+"__echo")
	}
	return r
}

// open makes the workers. Those that were made are there to be closed when one could not be.
func (r *run) open(n int) error {
	for i := range n {
		w, err := r.worker(i)
		if err != nil {
			return err
		}
		// Workers start at different servers, so that they do not walk the fleet in step.
		w.next = i * len(r.tools) / n
		r.workers = append(r.workers, w)
	}
	return nil
}

func (r *run) close() {
	for _, w := range r.workers {
		w.close()
	}
}

func (r *run) load(ctx context.Context) (Result, error) {
	if r.Prime {
		if err := r.prime(); err != nil {
			return Result{}, err
		}
	}
	if r.Duration == 0 {
		return Result{}, nil
	}
	if err := r.open(r.InFlight); err != nil {
		return Result{}, err
	}
	return r.turn(ctx, r.Warmup, r.Duration), ctx.Err()
}

// turn has the workers call for both times and measures the second.
func (r *run) turn(ctx context.Context, warmup, duration time.Duration) Result {
	r.stopping.Store(false)
	var group sync.WaitGroup
	for _, w := range r.workers {
		w.histogram = Histogram{}
		group.Go(w.loop)
	}
	wait(ctx, warmup)
	target, driver, begin := r.cpu(), ownCPU(), time.Now()
	r.measuring.Store(true)
	wait(ctx, duration)
	r.measuring.Store(false)
	elapsed := time.Since(begin)
	target, driver = r.cpu()-target, ownCPU()-driver
	r.stopping.Store(true)
	group.Wait()
	return r.result(elapsed, target, driver)
}

// storm calls every server once, all at the same time, each over a connection that was opened before.
func (r *run) storm(ctx context.Context) (Result, error) {
	if err := r.open(len(r.tools)); err != nil {
		return Result{}, err
	}
	var group sync.WaitGroup
	start := make(chan struct{})
	for i, w := range r.workers {
		group.Go(func() {
			<-start
			w.call(i)
		})
	}
	r.measuring.Store(true)
	target, driver, begin := r.cpu(), ownCPU(), time.Now()
	close(start)
	group.Wait()
	elapsed := time.Since(begin)
	return r.result(elapsed, r.cpu()-target, ownCPU()-driver), ctx.Err()
}

// prime calls every server once, a few at a time, so that all of them are up.
func (r *run) prime() error {
	var group sync.WaitGroup
	errs := make([]error, min(16, len(r.tools)))
	for i := range errs {
		group.Go(func() {
			w, err := r.worker(maxWorker + i) // other numbers than those of the load
			if err != nil {
				errs[i] = err
				return
			}
			defer w.close()
			for server := i; server < len(r.tools); server += len(errs) {
				if err := w.call(server); err != nil {
					errs[i] = fmt.Errorf("first call of s%d: %w", server, err)
					return
				}
			}
		})
	}
	group.Wait()
	return errors.Join(errs...)
}

// result takes the errors with it, so that each turn tells its own.
func (r *run) result(elapsed, target, driver time.Duration) Result {
	var all Histogram
	for _, w := range r.workers {
		all.Merge(&w.histogram)
	}
	result := Summarize(&all, elapsed, target, driver)
	result.Errors, result.FirstError, r.first = r.errors.Swap(0), r.first, ""
	return result
}

func (r *run) cpu() time.Duration {
	if r.PID == 0 {
		return 0
	}
	used, err := CPU(r.PID)
	if err != nil {
		r.failed(err)
	}
	return used
}

func (r *run) failed(err error) {
	r.errors.Add(1)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.first == "" {
		r.first = err.Error()
	}
}

// worker has one call in flight at a time.
type worker struct {
	run       *run
	client    *client
	request   Request
	number    uint64 // of the last call; its high bits tell the worker, so that numbers are unique
	next      int    // server that is called next
	histogram Histogram
}

func (r *run) worker(index int) (*worker, error) {
	w := &worker{run: r, number: uint64(index+1) << 36}
	return w, w.connect()
}

func (w *worker) connect() error {
	c, err := dial(w.run.Addr, w.run.deadline)
	if err != nil {
		return err
	}
	if err := c.open(); err != nil {
		c.close()
		return err
	}
	w.client = c
	return nil
}

func (w *worker) close() {
	if w.client != nil {
		w.client.close()
	}
}

// loop ends when the turn does, or after some failures in a row.
func (w *worker) loop() {
	for failures := 0; failures < giveUp && !w.run.stopping.Load(); {
		if w.next >= len(w.run.tools) {
			w.next = 0
		}
		if err := w.call(w.next); err != nil {
			failures++
			time.Sleep(time.Millisecond) // a target that refuses at once must not be hammered
		} else {
			failures = 0
		}
		w.next++
	}
}

// call does one call and counts it when the run is measuring. After a broken connection it opens another.
func (w *worker) call(server int) error {
	w.number++
	w.request.Build(w.number, w.run.tools[server], w.run.Payload)
	begin := time.Now()
	response, err := w.client.post(w.request.Body)
	took := time.Since(begin)
	broken := err != nil || w.client.closing
	switch {
	case err != nil:
	case response.status != 200:
		err = fmt.Errorf("status %d: %.200s", response.status, response.body)
	case w.run.EchoBody:
		if string(response.body) != string(w.request.Body) {
			err = errors.New("the body was not echoed")
		}
	default:
		err = w.request.Verify(response.message())
	}
	if broken {
		w.client.close()
		if again := w.connect(); again != nil {
			err = errors.Join(err, again)
		}
	}
	if err != nil {
		w.run.failed(err)
		return err
	}
	if w.run.measuring.Load() {
		w.histogram.Record(took)
	}
	return nil
}

func ownCPU() time.Duration {
	used, err := CPU(os.Getpid())
	if err != nil {
		return 0
	}
	return used
}

func wait(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}
