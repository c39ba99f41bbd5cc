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
	for i := range MaxTools {
		c.Tools = append(c.Tools, Tool{Name: fmt.Sprint("tool", i), Raw: []byte("first")})
	}
	c.Tools = append(c.Tools, Tool{Name: "tool7", Raw: []byte("second")})
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for i := range MaxTools {
				if tool := c.Tool([]byte(fmt.Sprint("tool", i))); tool == nil || tool != &c.Tools[i] {
					t.Errorf("tool %d: %v", i, tool)
				}
			}
		})
	}
	all.Wait()
	if c.Tool([]byte("tool")) != nil || c.Tool(nil) != nil {
		t.Error("a tool that is not in the list")
	}
	name := []byte("tool9999")
	if n := testing.AllocsPerRun(100, func() { c.Tool(name) }); n > 0 {
		t.Errorf("%v allocations", n)
	}
}
