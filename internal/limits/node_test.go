package limits

import "testing"

func TestNodeMemoryIsTheLeastThatHolds(t *testing.T) {
	h := newHost(t, v2Mount+v1Mount, "1:memory:/in/side\n0::/svc/x\n")
	if got := nodeMemory(h.root); got != 0 {
		t.Errorf("without meminfo: %d", got)
	}
	h.put("/proc/meminfo", "MemFree: 1 kB\nMemTotal:       24684 kB\n")
	want := func(bytes int64) {
		t.Helper()
		if got := nodeMemory(h.root); got != bytes {
			t.Errorf("got %d, want %d", got, bytes)
		}
	}
	want(24684 << 10)
	h.put("/cg/svc/x/memory.max", "max\n")
	h.put("/cg/memory/in/side/memory.limit_in_bytes", "9223372036854771712\n")
	want(24684 << 10)
	h.put("/cg/svc/memory.max", "8388608\n") // of the parent
	want(8 << 20)
	h.put("/cg/memory/in/memory.limit_in_bytes", "4194304\n")
	want(4 << 20)
}
