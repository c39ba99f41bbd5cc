package actors

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aabb9013/hangar/backends/fake"
	"github.com/aabb9013/hangar/supervisor"
)

// TestStartQueueKeepsItsOrder compares the queue with a plain list that is
// looked through as a whole.
func TestStartQueueKeepsItsOrder(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	q := newStartQueue()
	type entry struct {
		want wantStart
		seq  int
	}
	var model []entry
	seq := 0
	next := func() int {
		best := 0
		for i, e := range model {
			b := model[best]
			switch {
			case e.want.urgent != b.want.urgent:
				if e.want.urgent {
					best = i
				}
			case !e.want.urgent && e.want.lastUsed != b.want.lastUsed:
				if e.want.lastUsed > b.want.lastUsed {
					best = i
				}
			case e.seq < b.seq:
				best = i
			}
		}
		return best
	}
	for step := range 20_000 {
		switch pick := random.IntN(10); {
		case pick < 5:
			seq++
			w := wantStart{epoch: uint64(step), urgent: random.IntN(4) == 0, lastUsed: random.Int64N(8)}
			q.push(w)
			q.push(w) // again changes nothing
			model = append(model, entry{w, seq})
		case pick < 6 && len(model) > 0:
			i := random.IntN(len(model))
			q.hurry(model[i].want.key())
			if !model[i].want.urgent {
				seq++
				model[i].want.urgent, model[i].seq = true, seq
			}
		case pick < 7 && len(model) > 0:
			i := random.IntN(len(model))
			q.remove(model[i].want.key())
			q.hurry(model[i].want.key()) // gone: nothing happens
			model = slices.Delete(model, i, i+1)
		case len(model) > 0:
			i := next()
			if got := q.pop(); got.epoch != model[i].want.epoch {
				t.Fatalf("step %d: got %+v, want %+v", step, got, model[i].want)
			}
			model = slices.Delete(model, i, i+1)
		}
		if q.len() != len(model) || len(q.at) != len(model) {
			t.Fatalf("step %d: %d wait, want %d", step, q.len(), len(model))
		}
	}
}

func BenchmarkStartQueue(b *testing.B) {
	for _, n := range []int{500, 10_000} {
		b.Run(fmt.Sprint("waiting=", n), func(b *testing.B) {
			q := newStartQueue()
			for i := range n {
				q.push(wantStart{epoch: uint64(i), urgent: i%2 == 0, lastUsed: int64(i)})
			}
			for b.Loop() {
				q.push(q.pop())
			}
		})
	}
}

func TestStartsGoByWaitingCallsThenByUse(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var order []string
		s := newTestSystemWith(t, func(server string, _ uint64) fake.Script {
			order = append(order, server)
			return fake.Script{StartDelay: time.Second}
		}, func(o *Options) {
			o.MaxParallelStarts = 1
			for _, id := range []string{"first", "older", "newer", "never1", "never2", "called1", "called2"} {
				o.Specs = append(o.Specs, spec(id))
			}
		})
		for _, id := range []string{"older", "newer"} {
			s.mustEcho(id)
			if err := s.Stop(t.Context(), id, "test"); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
		}
		order = nil
		operator := func(id string) {
			go s.Start(t.Context(), id)
			synctest.Wait()
		}
		for _, id := range []string{"first", "never1", "older", "called1", "never2", "newer", "called2"} {
			operator(id)
		}
		var calls []*pending
		for _, id := range []string{"called2", "called1"} { // in the order of the calls
			calls = append(calls, s.begin(callOf{server: id, tool: "echo", args: `{"text":"x"}`}))
			synctest.Wait()
		}
		for _, p := range calls {
			if err := p.wait(); err != nil {
				t.Error(err)
			}
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		want := []string{"first", "called2", "called1", "newer", "older", "never1", "never2"}
		if !slices.Equal(order, want) {
			t.Errorf("started %v, want %v", order, want)
		}
		for _, id := range want {
			s.wantState(id, supervisor.Ready, supervisor.PhaseNone)
		}
		s.wantIdleStarts()
	})
}
