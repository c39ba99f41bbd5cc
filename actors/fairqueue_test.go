package actors

import (
	"slices"
	"testing"
	"time"

	"github.com/aabb9013/hangar/backends"
)

// slowQueue is the fair queue said simply: sessions in order of turn, the
// calls of each in order of arrival.
type slowQueue struct {
	turns []uint64
	calls map[uint64][]*backends.Call
}

func (q *slowQueue) size() (n int) {
	for _, calls := range q.calls {
		n += len(calls)
	}
	return n
}

func (q *slowQueue) push(c *backends.Call) bool {
	if q.size() >= MaxWaiting {
		return false
	}
	if len(q.calls[c.Session]) == 0 {
		q.turns = append(q.turns, c.Session)
	}
	q.calls[c.Session] = append(q.calls[c.Session], c)
	return true
}

func (q *slowQueue) pop() *backends.Call {
	if len(q.turns) == 0 {
		return nil
	}
	session := q.turns[0]
	c := q.calls[session][0]
	q.calls[session] = q.calls[session][1:]
	q.turns = q.turns[1:]
	if len(q.calls[session]) > 0 {
		q.turns = append(q.turns, session)
	}
	return c
}

func (q *slowQueue) take(gone func(*backends.Call) bool) (taken []*backends.Call) {
	for _, session := range slices.Clone(q.turns) {
		q.calls[session] = slices.DeleteFunc(slices.Clone(q.calls[session]), func(c *backends.Call) bool {
			if gone(c) {
				taken = append(taken, c)
				return true
			}
			return false
		})
		if len(q.calls[session]) == 0 {
			q.turns = slices.DeleteFunc(q.turns, func(s uint64) bool { return s == session })
		}
	}
	return taken
}

// FuzzFairQueue compares the queue with the slow one, step by step.
func FuzzFairQueue(f *testing.F) {
	f.Add([]byte{0, 1, 2, 3, 4, 5, 6, 7, 8, 64, 65, 66, 128, 129, 192, 193, 200})
	f.Add([]byte{0, 0, 0, 1, 1, 64, 70, 1, 64, 64, 64, 129, 255})
	f.Fuzz(func(t *testing.T, ops []byte) {
		if len(ops) > 4000 {
			return
		}
		epoch := time.Unix(1_000_000, 0)
		var q fairQueue
		slow := slowQueue{calls: map[uint64][]*backends.Call{}}
		id := uint64(0)
		for step, op := range ops {
			arg := int(op % 64)
			switch op / 64 {
			case 0: // push to session 0..7, most with a deadline
				id++
				c := &backends.Call{ID: id, Session: uint64(arg % 8)}
				if arg/8 > 0 {
					c.Deadline = epoch.Add(time.Duration(arg/8*step) * time.Second)
				}
				if got, want := q.push(c), slow.push(c); got != want {
					t.Fatalf("step %d: push %v, want %v", step, got, want)
				}
			case 1: // pop; sometimes put back and pop again
				got := q.pop()
				if got != nil && arg%4 == 0 {
					q.unpop(got)
					got = q.pop()
				}
				if want := slow.pop(); got != want {
					t.Fatalf("step %d: pop %v, want %v", step, got, want)
				}
			case 2: // remove, known or not
				victim := id - uint64(arg)
				got := q.remove(victim)
				want := slow.take(func(c *backends.Call) bool { return c.ID == victim })
				if (got == nil) != (len(want) == 0) || got != nil && got != want[0] {
					t.Fatalf("step %d: remove %v, want %v", step, got, want)
				}
			case 3: // expire
				now := epoch.Add(time.Duration(arg*step/16) * time.Second)
				var got []*backends.Call
				next := q.expire(now, func(c *backends.Call) { got = append(got, c) })
				want := slow.take(func(c *backends.Call) bool { return !c.Deadline.IsZero() && !c.Deadline.After(now) })
				if !slices.Equal(got, want) {
					t.Fatalf("step %d: expired %v, want %v", step, got, want)
				}
				var earliest time.Time
				for _, calls := range slow.calls {
					for _, c := range calls {
						if !c.Deadline.IsZero() && (earliest.IsZero() || c.Deadline.Before(earliest)) {
							earliest = c.Deadline
						}
					}
				}
				if !next.Equal(earliest) {
					t.Fatalf("step %d: next deadline %v, want %v", step, next, earliest)
				}
			}
			if q.size != slow.size() || len(q.turns) != len(slow.turns) || len(q.lines) != len(q.turns) {
				t.Fatalf("step %d: size %d, %d turns, %d lines; want %d and %d", step, q.size, len(q.turns), len(q.lines), slow.size(), len(slow.turns))
			}
		}
		for want := slow.pop(); want != nil; want = slow.pop() {
			if got := q.pop(); got != want {
				t.Fatalf("draining: got %v, want %v", got, want)
			}
		}
		if q.pop() != nil || q.size != 0 {
			t.Fatal("the queue is not empty at the end")
		}
	})
}

func TestFairQueueRefusesBeyondItsBound(t *testing.T) {
	var q fairQueue
	for i := range MaxWaiting {
		if !q.push(&backends.Call{ID: uint64(i), Session: uint64(i % 3)}) {
			t.Fatalf("call %d refused", i)
		}
	}
	if q.push(&backends.Call{}) {
		t.Error("one more was taken")
	}
	q.unpop(q.pop())
	if q.size != MaxWaiting || q.push(&backends.Call{}) {
		t.Errorf("size %d", q.size)
	}
}
