package subprocess

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/aabb9013/hangar/backends"
)

// BenchmarkStart is a whole life of the smallest program, from Start to its
// reported end, one after the other and many at a time. The CPU time is that of
// this process and of the reaper, without that of the children.
func BenchmarkStart(b *testing.B) {
	for name, way := range ways {
		for _, parallel := range []int{1, 8} {
			b.Run(fmt.Sprintf("%s/parallel=%d", name, parallel), func(b *testing.B) {
				backend := open(b, way)
				launch(b, backend, make(ends, 1).spec("/bin/sleep", "600")) // never quite alone
				reaper := backend.spawner.reaperPID()
				b.ReportAllocs()
				b.ResetTimer()
				ours, theirs := cpuTime(b, os.Getpid()), cpuTime(b, reaper)
				var next atomic.Int64
				var wg sync.WaitGroup
				for range parallel {
					wg.Go(func() {
						for next.Add(1) <= int64(b.N) {
							e := make(ends, 1)
							if _, err := backend.Start(b.Context(), e.spec("/bin/true")); err != nil {
								b.Error(err)
								return
							}
							<-e
						}
					})
				}
				wg.Wait()
				ours, theirs = cpuTime(b, os.Getpid())-ours, cpuTime(b, reaper)-theirs
				b.ReportMetric(float64((ours+theirs).Microseconds())/float64(b.N), "cpu-µs/op")
				b.ReportMetric(float64(theirs.Microseconds())/float64(b.N), "reaper-cpu-µs/op")
			})
		}
	}
}

// cpuTime is the user and system time of a process by its own clock, whose
// number is made of the pid (clock_getcpuclockid(3)).
func cpuTime(b *testing.B, pid int) time.Duration {
	b.Helper()
	if pid == 0 {
		return 0
	}
	const schedClock = 2
	var spent unix.Timespec
	if err := unix.ClockGettime(int32(^pid<<3|schedClock), &spent); err != nil {
		b.Fatal(err)
	}
	return time.Duration(spent.Nano())
}

// BenchmarkLinkEcho is one call over real pipes to a child and back, with so
// many callers at a time.
func BenchmarkLinkEcho(b *testing.B) {
	for _, size := range []int{64, 64 << 10} {
		for _, callers := range []int{1, 16, 64} {
			b.Run(fmt.Sprintf("bytes=%d/inflight=%d", size, callers), func(b *testing.B) {
				in, _ := launchStub(b, open(b, Options{}))
				args := fmt.Sprintf(`{"text":%q}`, strings.Repeat("x", size))
				tail := callLine(0, "echo", args)[len(`{"jsonrpc":"2.0","id":0`):]
				b.SetBytes(int64(2 * size))
				b.ReportAllocs()
				b.ResetTimer()
				var next atomic.Int64
				var wg sync.WaitGroup
				for range callers {
					wg.Go(func() {
						for next.Add(1) <= int64(b.N) {
							if err := echo(in, tail); err != nil {
								b.Error(err)
								return
							}
						}
					})
				}
				wg.Wait()
			})
		}
	}
}

func echo(in backends.Instance, tail []byte) error {
	c := backends.NewCall()
	defer c.Release()
	c.Line = strconv.AppendUint(append(c.Line[:0], `{"jsonrpc":"2.0","id":`...), c.ID, 10)
	c.Line = append(c.Line, tail...)
	if err := in.Send(c, false); err != nil {
		return err
	}
	<-c.Done()
	return c.Err
}
