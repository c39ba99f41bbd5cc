// Package leaktest fails the tests of a package that leave a goroutine behind.
// The TestMain of every package ends with
//
//	os.Exit(leaktest.Run(m))
//
// Only tests use it. It looks in two ways: goleak tells which goroutines are
// there when all tests are done, and Go's own profile "goroutineleak" which of
// them wait for what nobody can reach, also among those that goleak is told to
// ignore. A test binary has the profile if it was built with
// GOEXPERIMENT=goroutineleakprofile, or by Go 1.27 and later.
package leaktest

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"runtime/pprof"
	"strings"
	"time"

	"go.uber.org/goleak"
)

// What libraries leave behind though all is closed that can be. A package names
// those that its tests meet.
var (
	// FasthttpWorkers is the cleaner of the workers of a fasthttp server. It
	// ends with the server, but first sleeps out its 10 s.
	FasthttpWorkers = goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.(*workerPool).Start.func2")
	// FasthttpDate is the clock of fasthttp's Date header, one for the whole
	// process, which stays.
	FasthttpDate = goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.updateServerDate.func1")
	// FasthttpDialer looks once in a second for addresses that its clients have
	// not dialled for two minutes, and ends when it knows none.
	FasthttpDialer = goleak.IgnoreAnyFunction("github.com/valyala/fasthttp.(*TCPDialer).tcpAddrsClean")
	// BadgerCache and BadgerAllocators are what badger leaves behind when it
	// fails to open. A store that was not closed has more.
	BadgerCache      = goleak.IgnoreTopFunction("github.com/dgraph-io/badger/v4.(*DB).monitorCache")
	BadgerAllocators = goleak.IgnoreTopFunction("github.com/dgraph-io/ristretto/v2/z.(*AllocatorPool).freeupAllocators")
)

// patience is how long goroutines that are about to end may take for it: the
// actor library counts dead letters for one second more, and a loaded host is
// slow. Only a leak costs it.
const patience = 20 * time.Second

// Tests is what Run needs of a *testing.M.
type Tests interface{ Run() int }

// Run runs the tests and, if they passed, looks for goroutines that they left,
// those apart that ignored names. It returns the exit code for the process: the
// tests' own, or 1 if a goroutine was left, whose stack it prints to stderr.
// Tests that failed may have had no chance to close what they started.
func Run(m Tests, ignored ...goleak.Option) int { return run(m, patience, ignored) }

func run(m Tests, patience time.Duration, ignored []goleak.Option) int {
	if code := m.Run(); code != 0 {
		return code
	}
	if err := errors.Join(find(patience, ignored), profiled()); err != nil {
		fmt.Fprintln(os.Stderr, "after all tests:", err)
		return 1
	}
	return 0
}

// Find waits a while for every goroutine to end that is not ignored and tells
// of those that do not, with their stacks. A single test calls it with
// goleak.IgnoreCurrent() of its beginning, and not in parallel to others.
func Find(ignored ...goleak.Option) error { return find(patience, ignored) }

func find(patience time.Duration, ignored []goleak.Option) error {
	http.DefaultClient.CloseIdleConnections() // tests use it; each idle connection is two goroutines
	for deadline := time.Now().Add(patience); ; {
		if err := goleak.Find(ignored...); err == nil || time.Now().After(deadline) {
			return err
		}
	}
}

// profiled tells of the goroutines that the runtime proves to wait for ever, if
// it can.
func profiled() error {
	profile := pprof.Lookup("goroutineleak")
	if profile == nil {
		return nil
	}
	var stacks strings.Builder
	if err := profile.WriteTo(&stacks, 1); err != nil { // collects garbage and looks on the way
		return fmt.Errorf("cannot read the profile of leaked goroutines: %w", err)
	}
	if profile.Count() == 0 { // of the collection that WriteTo made
		return nil
	}
	return errors.New(stacks.String())
}
