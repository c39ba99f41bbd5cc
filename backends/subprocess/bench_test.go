package subprocess

import (
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/aabb9013/hangar/backends"
)

// BenchmarkStart is a whole life of the smallest program, from Start to its
// reported end, one after the other and many at a time.
func BenchmarkStart(b *testing.B) {
	for name, way := range ways {
		for _, parallel := range []int{1, 8} {
			b.Run(fmt.Sprintf("%s/parallel=%d", name, parallel), func(b *testing.B) {
				backend := open(b, way)
				launch(b, backend, make(ends, 1).spec("/bin/sleep", "600")) // never quite alone
				b.ReportAllocs()
				b.ResetTimer()
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
			})
		}
	}
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
