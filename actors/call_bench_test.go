package actors

import (
	"context"
	"testing"
	"time"

	"github.com/aabb9013/hangar/backends"
	"github.com/aabb9013/hangar/internal/jsonrpc"
)

// instantBackend starts instances that answer every call inside of Send.
type instantBackend struct{}

type instant struct {
	spec backends.LaunchSpec
	done chan struct{}
}

func (instantBackend) Start(_ context.Context, spec backends.LaunchSpec) (backends.Instance, error) {
	return &instant{spec, make(chan struct{})}, nil
}

var (
	instantAnswer = []byte(`{"jsonrpc":"2.0","id":1,"result":{}}` + "\n")
	instantEnv    jsonrpc.Envelope
)

func (in *instant) Flush() {}
func (in *instant) Send(c *backends.Call, _ bool) error {
	c.SetAnswer(instantAnswer, &instantEnv)
	c.Finish(nil)
	in.spec.Observer.CallsDone(in.spec.Epoch, 1)
	return nil
}
func (in *instant) Cancel(uint64, error) bool   { return false }
func (in *instant) Expire(time.Time) time.Time  { return time.Time{} }
func (in *instant) Notify(string, []byte) error { return nil }
func (in *instant) InFlight() int               { return 0 }
func (in *instant) Done() <-chan struct{}       { return in.done }
func (in *instant) Exit() backends.Exit         { return backends.Exit{Asked: true} }
func (in *instant) PID() int                    { return 0 }
func (in *instant) Kill(error)                  { in.Stop(context.Background(), 0) }
func (in *instant) Stop(context.Context, time.Duration) {
	close(in.done)
	in.spec.Observer.Ended(in.spec.Epoch, in.Exit())
}
func (in *instant) Request(_ context.Context, method string, _ []byte) ([]byte, error) {
	if method == "initialize" {
		return []byte(`{"protocolVersion":"2025-11-25","capabilities":{"tools":{}},"serverInfo":{"name":"x","version":"1"}}`), nil
	}
	return []byte(`{"tools":[]}`), nil
}

var benchLine = []byte(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo","arguments":{}}}` + "\n")

// caller is a server's Ref or a group's.
type caller interface {
	Do(*backends.Call, time.Duration) error
}

func doOnce(ref caller) error {
	c := backends.NewCall()
	c.Tool = "echo"
	c.Line = append(c.Line, benchLine...)
	err := ref.Do(c, time.Minute)
	c.Release()
	return err
}

// benchmarkCalls calls ref one at a time, and from every core at once.
func benchmarkCalls(b *testing.B, ref caller) {
	b.Run("serial", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if err := doOnce(ref); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("parallel", func(b *testing.B) {
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				if err := doOnce(ref); err != nil {
					b.Error(err)
					return
				}
			}
		})
	})
}

// BenchmarkCallThroughActor is the cost of the tree alone: Do, the actor, the
// record for the log.
func BenchmarkCallThroughActor(b *testing.B) {
	sys := realSystemOf(b, instantBackend{}, spec("a"))
	defer closeSystem(b, sys)
	ref, _ := sys.Ref([]byte("a"))
	benchmarkCalls(b, ref)
}

// BenchmarkCallThroughGroup is BenchmarkCallThroughActor with the pick of one
// of three members before it.
func BenchmarkCallThroughGroup(b *testing.B) {
	sys := realSystemOf(b, instantBackend{}, spec("a"), spec("b"), spec("c"))
	defer closeSystem(b, sys)
	if err := sys.CreateGroup(context.Background(), groupSpec([]string{"a", "b", "c"})); err != nil {
		b.Fatal(err)
	}
	for _, id := range []string{"a", "b", "c"} {
		if _, err := sys.Start(context.Background(), id); err != nil {
			b.Fatal(err)
		}
	}
	ref, _ := sys.GroupRef([]byte("pool"))
	benchmarkCalls(b, ref)
}

func closeSystem(tb testing.TB, sys *System) {
	if err := sys.Close(context.Background()); err != nil {
		tb.Error(err)
	}
}
