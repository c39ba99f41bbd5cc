package subprocess

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"go.uber.org/goleak"

	"github.com/aabb9013/hangar/backends"
)

func TestCyclesLeakNothing(t *testing.T) {
	for name, way := range ways {
		t.Run(name, func(t *testing.T) {
			b := open(t, way)
			cycle(t, b, 10) // what is made once is made now
			before, files := goleak.IgnoreCurrent(), descriptors(t)
			cycle(t, b, 200)
			goleak.VerifyNone(t, before)
			if after := descriptors(t); after > files {
				t.Errorf("%d descriptors before, %d after", files, after)
			}
			if z := zombies(t); len(z) > 0 {
				t.Errorf("zombies %v", z)
			}
		})
	}
}

// cycle starts and ends n instances in different ways, four at a time.
func cycle(t *testing.T, b *Backend, n int) {
	var wg sync.WaitGroup
	for worker := range 4 {
		wg.Go(func() {
			for i := range n / 4 {
				e := make(ends, 1)
				spec := e.spec()
				spec.Command, spec.Env = stub()
				in, err := b.Start(t.Context(), spec)
				if err != nil {
					t.Error(err)
					return
				}
				switch (i + worker) % 3 {
				case 0:
					in.Kill(backends.ErrUnresponsive)
				case 1:
					backends.Handshake(t.Context(), "s", in, backends.ClientInfo{})
				}
				in.Stop(t.Context(), 0)
				<-e
			}
		})
	}
	wg.Wait()
}

func descriptors(t *testing.T) int {
	t.Helper()
	runtime.GC() // files that are garbage are not leaked
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

func zombies(t *testing.T) (found []string) {
	t.Helper()
	paths, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range paths {
		stat, _ := os.ReadFile(path)
		_, rest, _ := strings.Cut(string(stat), ") ")
		if fields := strings.Fields(rest); len(fields) > 1 && fields[0] == "Z" && fields[1] == strconv.Itoa(os.Getpid()) {
			found = append(found, path)
		}
	}
	return found
}

func TestWaitersHoldNoThreads(t *testing.T) {
	b := open(t, Options{})
	launchStub(t, b)
	before := threads(t)
	for range 20 {
		launchStub(t, b)
	}
	if after := threads(t); after > before+10 {
		t.Errorf("%d threads before, %d with 20 children more", before, after)
	}
}

func threads(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/task")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

func TestStartWithoutDescriptorsIsAResourceError(t *testing.T) {
	b := open(t, Options{})
	e := make(ends, 1)
	spec := e.spec()
	spec.Command, spec.Env = stub()
	if _, err := b.reading(); err != nil {
		t.Fatal(err)
	}
	before := descriptors(t)
	var old syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &old); err != nil {
		t.Skip(err)
	}
	for spare := range uint64(12) { // each step of the start once lacks one
		tight := old
		tight.Cur = uint64(before) + spare
		if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &tight); err != nil {
			t.Skip(err)
		}
		in, err := b.Start(t.Context(), spec)
		if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &old); err != nil {
			t.Fatal(err)
		}
		if err == nil {
			in.Kill(nil)
			await(t, e)
			if spare == 0 {
				t.Error("a start without descriptors succeeded")
			}
		} else if !errors.Is(err, backends.ErrResource) {
			t.Errorf("with %d spare descriptors: %v", spare, err)
		}
	}
	if after := descriptors(t); after > before {
		t.Errorf("%d descriptors before, %d after", before, after)
	}
}
