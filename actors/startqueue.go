package actors

import (
	"cmp"
	"container/heap"
)

// startQueue holds the servers that wait for their start: those with waiting
// calls first, in the order in which they came, then the others, the most
// recently used first. Every operation is O(log n): after a reboot ten
// thousand wait.
type startQueue struct {
	items startHeap
	at    map[startKey]*startItem
	seq   uint64
}

type startItem struct {
	want  wantStart
	seq   uint64 // order of arrival, of the waiting calls if there are some
	index int
}

func newStartQueue() *startQueue { return &startQueue{at: make(map[startKey]*startItem)} }

func (q *startQueue) len() int { return len(q.items) }

// push appends a start; one that waits already stays where it is.
func (q *startQueue) push(w wantStart) {
	if q.at[w.key()] != nil {
		return
	}
	q.seq++
	item := &startItem{want: w, seq: q.seq}
	q.at[w.key()] = item
	heap.Push(&q.items, item)
}

// pop takes the next start; there must be one.
func (q *startQueue) pop() wantStart {
	item := heap.Pop(&q.items).(*startItem)
	delete(q.at, item.want.key())
	return item.want
}

// hurry moves a start behind those that calls already wait for.
func (q *startQueue) hurry(key startKey) {
	item := q.at[key]
	if item == nil || item.want.urgent {
		return
	}
	q.seq++
	item.want.urgent, item.seq = true, q.seq
	heap.Fix(&q.items, item.index)
}

// remove takes a start out, if it waits.
func (q *startQueue) remove(key startKey) {
	if item := q.at[key]; item != nil {
		delete(q.at, key)
		heap.Remove(&q.items, item.index)
	}
}

// startHeap implements heap.Interface; only startQueue uses it.
type startHeap []*startItem

func (h startHeap) Len() int { return len(h) }

func (h startHeap) Less(i, j int) bool {
	a, b := h[i], h[j]
	if a.want.urgent != b.want.urgent {
		return a.want.urgent
	}
	if !a.want.urgent && a.want.lastUsed != b.want.lastUsed {
		return a.want.lastUsed > b.want.lastUsed
	}
	return cmp.Less(a.seq, b.seq)
}

func (h startHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}

func (h *startHeap) Push(x any) {
	item := x.(*startItem)
	item.index = len(*h)
	*h = append(*h, item)
}

func (h *startHeap) Pop() any {
	last := len(*h) - 1
	item := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	return item
}
