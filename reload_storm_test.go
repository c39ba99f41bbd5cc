package hangar_test

import (
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"testing"

	"github.com/aabb9013/hangar"
)

// stormSize is how many servers and reloads the storm has: few in the ordinary
// test, 50 and HANGAR_RELOADS (10000) when that is set.
func stormSize(t *testing.T) (servers, reloads int) {
	text := os.Getenv("HANGAR_RELOADS")
	if text == "" {
		return 10, 200
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	return 50, n
}

// memory is what the program's own data takes, and what the process has beside
// mapped files: the store maps its tables, and they fill as its log goes on.
func memory(t *testing.T) (heap, anonymous int) {
	t.Helper()
	debug.FreeOSMemory()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Skip(err)
	}
	_, text, _ := strings.Cut(string(status), "RssAnon:")
	var kib int
	if _, err := fmt.Sscan(text, &kib); err != nil {
		t.Fatal(err)
	}
	return int(stats.HeapAlloc), kib << 10
}

// descriptors counts those of the process, without the files of the store: it
// opens and closes tables as its log goes on.
func descriptors(t *testing.T, store string) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Skip(err)
	}
	n := 0
	for _, e := range entries {
		if target, err := os.Readlink("/proc/self/fd/" + e.Name()); err == nil && !strings.HasPrefix(target, store) {
			n++
		}
	}
	return n
}

// TestManyReloadsLeaveNothingBehind is E11: it alternates two files of which one server
// differs: the others keep their process, and neither goroutines nor
// descriptors nor memory grow.
func TestManyReloadsLeaveNothingBehind(t *testing.T) {
	servers, reloads := stormSize(t)
	var names []string
	for i := range servers {
		names = append(names, fmt.Sprint("s", i))
	}
	first := quiet + strings.ReplaceAll(stubYAML(names...), "    description:", "    idle_ttl_s: 86400\n    description:")
	second := strings.Replace(first, "  s0:\n", "  s0:\n    cwd: /\n", 1)
	path := writeConfig(t, first)
	// On disk: a log in memory would be the memory that grows.
	data := t.TempDir()
	rt := open(t, hangar.Options{ConfigFile: path, DataDir: data})
	for _, id := range names {
		echo(t, rt, id)
	}
	pids := make(map[string]int)
	for _, id := range names[1:] {
		pids[id] = pidOf(t, rt, id)
	}
	// used is how often the server that differs runs when it is replaced.
	const used = 10
	run := func(n int) {
		for i := range n {
			rewrite(t, path, []string{second, first}[i%2])
			result, err := rt.Reload(t.Context(), hangar.ReloadOptions{})
			if err != nil || len(result.Updated) != 1 || len(result.Unchanged) != servers-1 {
				t.Fatalf("reload %d: %+v, %v", i, result, err)
			}
			if i%used == 0 {
				echo(t, rt, "s0")
			}
		}
	}
	run(reloads / 5 / 2 * 2) // warms up
	echo(t, rt, "s0")
	goroutines, open := runtime.NumGoroutine(), descriptors(t, data)
	heap, anonymous := memory(t)
	run(reloads / 2 * 2)
	echo(t, rt, "s0")
	for id, pid := range pids {
		if now := pidOf(t, rt, id); now != pid {
			t.Errorf("%s has pid %d, had %d", id, now, pid)
		}
	}
	eventually(t, fmt.Sprintf("%d goroutines again, give or take 5", goroutines), func() bool {
		n := runtime.NumGoroutine() - goroutines
		return n >= -5 && n <= 5
	})
	eventually(t, fmt.Sprintf("%d descriptors again", open), func() bool { return descriptors(t, data) == open })
	heapNow, anonymousNow := memory(t)
	grown := heapNow - heap
	t.Logf("%d servers, %d reloads: the heap grew by %d KiB, the process by %d KiB without mapped files", servers, reloads, grown>>10, (anonymousNow-anonymous)>>10)
	if limit := reloads * heapPerReload; reloads >= 1000 && grown > limit {
		t.Errorf("the heap grew by %d KiB, the limit is %d", grown>>10, limit>>10)
	}
}

// heapPerReload is half a mebibyte in a thousand.
const heapPerReload = 512 << 10 / 1000

// BenchmarkReloadOfUnchangedServers is one reload of 500 servers of which none
// changed.
func BenchmarkReloadOfUnchangedServers(b *testing.B) {
	var text strings.Builder
	text.WriteString(quiet + "mcp_servers:\n")
	for i := range 500 {
		fmt.Fprintf(&text, "  s%d:\n    command: [server, --port, %d]\n    env: {LOG_LEVEL: debug, TOKEN: \"%d\"}\n    description: one of many\n    idle_ttl_s: 60\n", i, i, i)
	}
	path := b.TempDir() + "/fleet.yaml"
	if err := os.WriteFile(path, []byte(text.String()), 0o600); err != nil {
		b.Fatal(err)
	}
	rt, err := hangar.New(hangar.Options{ConfigFile: path})
	if err != nil {
		b.Fatal(err)
	}
	defer rt.Close(b.Context())
	if err := rt.Start(b.Context()); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		result, err := rt.Reload(b.Context(), hangar.ReloadOptions{})
		if err != nil || len(result.Unchanged) != 500 {
			b.Fatalf("%+v, %v", result, err)
		}
	}
}
