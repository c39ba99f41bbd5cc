package e2e_test

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const (
	killRounds   = 20 // HANGAR_KILL_ROUNDS for more
	idleServers  = 0  // HANGAR_KILL_SERVERS, made by the API beside those that change
	mutators     = 3
	idsOfMutator = 4
	callers      = 4
)

// TestKillLosesNothingAcknowledged kills the program at random moments while
// servers are made, changed and deleted and calls are made, and holds it to
// every answer it gave: each change is there, whole, or was never acknowledged;
// each answered call is in the history, once.
func TestKillLosesNothingAcknowledged(t *testing.T) {
	t.Parallel()
	rounds := environmentNumber(t, "HANGAR_KILL_ROUNDS", killRounds)
	seed := uint64(environmentNumber(t, "HANGAR_SEED", int(time.Now().UnixNano()%1_000_000_007)))
	t.Logf("%d rounds, HANGAR_SEED=%d", rounds, seed)
	random := rand.New(rand.NewPCG(seed, 0))
	fleet := servers{}
	for i := range callers {
		fleet[caller(i)] = stub()
	}
	h := start(t, fleet)
	for i := range callers {
		h.mustCall(caller(i), "echo", map[string]any{"text": "warm"})
	}
	idle := environmentNumber(t, "HANGAR_KILL_SERVERS", idleServers)
	for i := range idle {
		spec := h.mark(stub())
		spec["mcp_server_id"] = fmt.Sprint("idle-", i)
		if err := h.request("POST", "/api/mcp_servers", spec, nil); err != nil {
			t.Fatal(err)
		}
	}
	model := newFleetModel()
	var counted [callers]uint64 // versions of the rounds before
	for i := range counted {
		_, counted[i] = completedSince(t, h, caller(i), 0)
	}
	changes, calls := 0, 0
	var restarts []time.Duration
	for round := range rounds {
		load := h.startLoad(model, random.Uint64())
		time.Sleep(time.Duration(random.IntN(400)) * time.Millisecond)
		orphans := h.kill()
		load.stop()
		noneLeft(t, orphans, 5*time.Second)
		if round%5 == 4 {
			if checked := run(t, time.Minute, "verify", "--data-dir", h.dataDir); checked.code != 0 {
				t.Fatalf("round %d: the directory of the killed program: %s%s", round, checked.stdout, checked.stderr)
			}
		}
		began := time.Now()
		h = h.again()
		restarts = append(restarts, time.Since(began))
		if there := model.check(h); there != callers+idle {
			t.Errorf("%d servers that nobody changed are there, want %d", there, callers+idle)
		}
		for i := range callers {
			answered := int(load.answered[i].Load())
			var got int
			if got, counted[i] = completedSince(t, h, caller(i), counted[i]); got < answered || got > answered+1 {
				t.Errorf("%s: the history has %d calls of the round, %d were answered and one was under way", caller(i), got, answered)
			}
			calls += answered
		}
		changes += int(load.changes.Load())
		if t.Failed() {
			t.Fatalf("in round %d of HANGAR_SEED=%d", round, seed)
		}
	}
	h.stop()
	if checked := run(t, time.Minute, "verify", "--data-dir", h.dataDir); checked.code != 0 {
		t.Errorf("the directory in the end: %s%s", checked.stdout, checked.stderr)
	}
	slices.Sort(restarts)
	t.Logf("%d kills, %d changes and %d calls acknowledged, none lost, none half done; ready again with %d servers after %s (p50), %s (p99), %s at most",
		rounds, changes, calls, callers+idle, restarts[rounds/2], restarts[rounds*99/100], restarts[rounds-1])
	if changes < rounds || calls < rounds {
		t.Error("there was too little load to tell anything")
	}
}

func caller(i int) string { return fmt.Sprint("caller-", i) }

func environmentNumber(t *testing.T, name string, otherwise int) int {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return n
}

// load is what goes on while the program is killed.
type load struct {
	wg       sync.WaitGroup
	ended    atomic.Bool
	answered [callers]atomic.Int64
	changes  atomic.Int64
}

func (l *load) stop() {
	l.ended.Store(true)
	l.wg.Wait()
}

func (h *hangar) startLoad(model *fleetModel, seed uint64) *load {
	l := &load{}
	for i := range callers {
		l.wg.Go(func() {
			for n := 0; !l.ended.Load(); n++ {
				if _, err := h.call(caller(i), "echo", map[string]any{"text": fmt.Sprint(n)}); err != nil {
					return // killed: this one was under way
				}
				l.answered[i].Add(1)
			}
		})
	}
	for i := range mutators {
		random := rand.New(rand.NewPCG(seed, uint64(i)))
		l.wg.Go(func() {
			for !l.ended.Load() {
				id := fmt.Sprintf("made-%d-%d", i, random.IntN(idsOfMutator))
				if !model.change(h, id, random) {
					return
				}
				l.changes.Add(1)
			}
		})
	}
	return l
}

// fleetModel is what the program has acknowledged: for each id the versions of
// the server that may be there, more than one when the last answer did not
// come. 0 stands for none.
type fleetModel struct {
	mu       sync.Mutex
	versions map[string][]int
	last     int
}

func newFleetModel() *fleetModel { return &fleetModel{versions: map[string][]int{}} }

// change makes one change of one server; false when it was not answered. Each
// id is changed by one goroutine.
func (m *fleetModel) change(h *hangar, id string, random *rand.Rand) bool {
	m.mu.Lock()
	m.last++
	before, next := m.now(id), m.last
	m.mu.Unlock()
	path, fields := "/api/mcp_servers/"+id, versionFields(next)
	var err error
	switch {
	case before == 0:
		spec := h.mark(stub())
		spec["mcp_server_id"] = id
		maps.Copy(spec, fields)
		err = h.request("POST", "/api/mcp_servers", spec, nil)
	case random.IntN(3) == 0:
		next = 0
		err = h.request("DELETE", path, nil, nil)
	default:
		err = h.request("PUT", path, fields, nil)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	var refused *refusal
	switch {
	case err == nil:
		m.versions[id] = []int{next}
	case errors.As(err, &refused) && refused.Status < 500:
		h.t.Errorf("%s with version %d: refused: %v", id, before, err)
	default:
		m.versions[id] = []int{before, next}
	}
	return err == nil
}

// now is the version of a server of which one is known.
func (m *fleetModel) now(id string) int {
	if v := m.versions[id]; len(v) > 0 {
		return v[len(v)-1]
	}
	return 0
}

// versionFields are two fields that change together, to see half a change.
func versionFields(n int) map[string]any {
	return map[string]any{"description": fmt.Sprint("version ", n), "idle_ttl_s": 1 + n%86400}
}

// check compares the program with the model and learns what became of the
// changes that were not answered. It returns how many other servers there are.
func (m *fleetModel) check(h *hangar) (others int) {
	h.t.Helper()
	listed := h.list()
	others = len(listed)
	for i := range mutators {
		for j := range idsOfMutator {
			id := fmt.Sprintf("made-%d-%d", i, j)
			got := 0
			if _, there := listed[id]; there {
				others--
				var detail struct {
					Config struct {
						Description string  `json:"description"`
						IdleTTL     float64 `json:"idle_ttl_s"`
					} `json:"config"`
				}
				h.get("/api/mcp_servers/"+id, &detail)
				fmt.Sscanf(detail.Config.Description, "version %d", &got)
				if want := versionFields(got); got == 0 || detail.Config.IdleTTL != float64(want["idle_ttl_s"].(int)) {
					h.t.Errorf("%s is half a change: %+v", id, detail.Config)
				}
			}
			want := m.versions[id]
			if len(want) == 0 {
				want = []int{0}
			}
			if !slices.Contains(want, got) {
				h.t.Errorf("%s: version %d, acknowledged was one of %v (0 is none)", id, got, want)
			}
			m.versions[id] = []int{got}
		}
	}
	return others
}

// TestRestartWithAThousandServers kills a program that has made a thousand
// servers and tells how long the next one takes to be ready with all of them.
func TestRestartWithAThousandServers(t *testing.T) {
	const count = 1000
	h := start(t, servers{"from-config": stub()})
	for i := range count {
		spec := h.mark(stub())
		spec["mcp_server_id"] = fmt.Sprint("made-", i)
		if err := h.request("POST", "/api/mcp_servers", spec, nil); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 500 {
		h.mustCall("made-1", "echo", map[string]any{"text": fmt.Sprint(i)})
	}
	for range 3 {
		noneLeft(t, h.kill(), 5*time.Second)
		began := time.Now()
		h = h.again()
		t.Logf("ready with %d servers after %s", len(h.list()), time.Since(began).Round(time.Millisecond))
		if n := len(h.list()); n != count+1 {
			t.Fatalf("%d servers, want %d", n, count+1)
		}
	}
	if got := completedCalls(t, h, "made-1"); got != 500 {
		t.Errorf("%d calls in the history, want 500", got)
	}
}

// TestFullVolumeRefusesChangesAndServesCalls is E03: nothing ends, nothing that was
// answered is lost, and all goes on when there is space again.
func TestFullVolumeRefusesChangesAndServesCalls(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root to mount a small volume")
	}
	volume := t.TempDir()
	if err := unix.Mount("tmpfs", volume, "tmpfs", 0, "size=64m"); err != nil {
		t.Skipf("cannot mount a small volume: %v", err)
	}
	t.Cleanup(func() { _ = unix.Unmount(volume, unix.MNT_DETACH) })
	h := &hangar{t: t, dataDir: filepath.Join(volume, "data"), tag: newTag()}
	h = h.launch(writeFile(t, []byte("mcp_servers:\n  idle: {mode: subprocess, command: [\"true\"]}\n")))
	create := func(id string) error {
		spec := h.mark(stub())
		spec["mcp_server_id"] = id
		return h.request("POST", "/api/mcp_servers", spec, nil)
	}
	if err := create("first"); err != nil {
		t.Fatal(err)
	}
	calls := 0
	call := func() {
		t.Helper()
		h.mustCall("first", "echo", map[string]any{"text": "x"})
		calls++
	}
	call()
	filler := filepath.Join(volume, "filler")
	fill(t, filler)
	var refused *refusal
	if err := create("refused"); !errors.As(err, &refused) || refused.Status != http.StatusInsufficientStorage || refused.Name != "StateReadOnlyError" {
		t.Errorf("a change on a full volume: got %v, want 507", err)
	}
	for range 200 {
		call()
	}
	var ready struct {
		Status   string `json:"status"`
		Degraded bool   `json:"degraded"`
		Reason   string `json:"reason"`
	}
	h.get("/health/ready", &ready)
	if !ready.Degraded || !strings.Contains(ready.Reason, "space") {
		t.Errorf("readiness does not tell: %+v", ready)
	}
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	freed := time.Now()
	if !eventually(time.Minute, func() bool { return create("after") == nil }) {
		t.Error("no change is taken after space has returned")
	}
	t.Logf("writable %s after space returned", time.Since(freed).Round(time.Millisecond))
	call()
	if got := completedCalls(t, h, "first"); got != calls {
		t.Errorf("the history has %d calls, %d were answered, most of them on the full volume", got, calls)
	}
	if _, there := h.list()["refused"]; there {
		t.Error("the refused server is there")
	}
	h.stop()
	if checked := run(t, time.Minute, "verify", "--data-dir", h.dataDir); checked.code != 0 {
		t.Errorf("the directory: %s%s", checked.stdout, checked.stderr)
	}
}

// fill takes a volume to its last page, about as fast as a disk does.
func fill(t *testing.T, path string) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for chunk := make([]byte, 1<<20); len(chunk) > 0; {
		switch _, err := f.Write(chunk); {
		case errors.Is(err, syscall.ENOSPC):
			chunk = chunk[:len(chunk)/2]
		case err != nil:
			t.Fatal(err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}
