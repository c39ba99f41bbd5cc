package backends

import (
	"fmt"
	"sync"
	"testing"
)

func TestCatalogueFindsToolsByName(t *testing.T) {
	var none *Catalogue
	if none.Tool([]byte("x")) != nil || (&Catalogue{}).Tool([]byte("x")) != nil {
		t.Error("a tool of no list")
	}
	c := &Catalogue{}
	for _, n := range []int{1, shortList - 1, shortList, shortList + 1, MaxTools} {
		c = &Catalogue{}
		for i := range n - 1 {
			c.Tools = append(c.Tools, Tool{Name: fmt.Sprint("tool", i), Raw: []byte("first")})
		}
		c.Tools = append(c.Tools, Tool{Name: "tool0", Raw: []byte("listed twice")})
		var all sync.WaitGroup
		for range 4 {
			all.Go(func() {
				for i := range n - 1 {
					if tool := c.Tool([]byte(fmt.Sprint("tool", i))); tool != &c.Tools[i] {
						t.Errorf("tool %d of %d: %v", i, n, tool)
					}
				}
			})
		}
		all.Wait()
		if c.Tool([]byte("tool")) != nil || c.Tool(nil) != nil {
			t.Errorf("a tool that is not in the list of %d", n)
		}
	}
	name := []byte("tool9998")
	if n := testing.AllocsPerRun(100, func() { c.Tool(name) }); n > 0 {
		t.Errorf("%v allocations", n)
	}
}
