package backends

// circle is a queue that uses its room again, and doubles it when it is full.
type circle[T any] struct {
	room          []T // a power of two of them, or none
	first, length int
}

func (c *circle[T]) place(i int) int { return (c.first + i) & (len(c.room) - 1) }

func (c *circle[T]) write(items []T) {
	if need := c.length + len(items); need > len(c.room) {
		size := max(len(c.room), 1)
		for size < need {
			size *= 2
		}
		room := make([]T, size)
		c.read(room[:c.length], 0)
		c.room, c.first = room, 0
	}
	n := copy(c.room[c.place(c.length):], items)
	copy(c.room, items[n:])
	c.length += len(items)
}

// read fills to with what is from i on; all of it must be there.
func (c *circle[T]) read(to []T, i int) {
	if len(to) > 0 {
		n := copy(to, c.room[c.place(i):])
		copy(to[n:], c.room)
	}
}

// at is the one at i, which must be there.
func (c *circle[T]) at(i int) T { return c.room[c.place(i)] }

// drop takes the first n out.
func (c *circle[T]) drop(n int) { c.first, c.length = c.place(n), c.length-n }
