package e2e_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// TestKillsUnderLoadCostOnlyCallsThatWereSent proves R01, but for its times,
// which `bench -recovery` prints: in a hundred rounds a killed child fails the
// calls that were written to it and no other. Those that were not wait for the
// next instance.
func TestKillsUnderLoadCostOnlyCallsThatWereSent(t *testing.T) {
	const count, callers, rounds = 50, 8, 100
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 1))
	fleet := servers{}
	for i := range count {
		fleet[fmt.Sprint("s", i)] = stub()
	}
	h := start(t, fleet)
	pids := make([]int, count)
	for i := range pids {
		pids[i] = childPID(t, h, fmt.Sprint("s", i))
	}
	var killed [count]atomic.Bool
	var stop atomic.Bool
	var calls, cut atomic.Int64
	var wg sync.WaitGroup
	for worker := range callers {
		own := rand.New(rand.NewPCG(seed, uint64(worker)+2))
		wg.Go(func() {
			for n := 0; !stop.Load(); n++ {
				i := own.IntN(count)
				text := fmt.Sprint("s", i, "/", worker, "/", n)
				result, err := h.call(fmt.Sprint("s", i), "echo", map[string]any{"text": text})
				calls.Add(1)
				var refused *refusal
				switch {
				case err == nil:
					if result.text() != text {
						t.Errorf("another call's answer: got %q, want %q", result.text(), text)
					}
				case !killed[i].Load():
					t.Errorf("s%d was never killed, but: %v", i, err)
				case !errors.As(err, &refused) || refused.Name != "McpServerCrashedError" || refused.Sent == nil || !*refused.Sent:
					t.Errorf("s%d was killed, but its call was not told that it had been sent: %v", i, err)
				default:
					cut.Add(1)
				}
			}
		})
	}
	epochs := [count]uint64{}
	for _, i := range append(random.Perm(count), random.Perm(count)...) {
		before := calls.Load()
		eventually(patience, func() bool { return calls.Load() > before+callers })
		killed[i].Store(true)
		if err := syscall.Kill(pids[i], syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		d := h.readyAgain(fmt.Sprint("s", i), max(epochs[i], 1))
		pids[i], epochs[i] = d.PID, d.Epoch
	}
	stop.Store(true)
	wg.Wait()
	t.Logf("%d calls, %d kills, %d calls cut off", calls.Load(), rounds, cut.Load())
	if cut.Load() > rounds*callers {
		t.Errorf("%d calls failed, at most %d can have been in flight", cut.Load(), rounds*callers)
	}
}

// TestKilledServerIsReadyAgainWithoutACall proves R02, but for its times.
func TestKilledServerIsReadyAgainWithoutACall(t *testing.T) {
	h := start(t, servers{"victim": stub()})
	pid := childPID(t, h, "victim")
	epoch := h.detail("victim").Epoch
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	d := h.readyAgain("victim", epoch)
	if d.PID == pid || d.PID == 0 || d.Restarts != 1 || !strings.Contains(d.LastError, "SIGKILL") {
		t.Errorf("after the kill of %d: %+v", pid, d)
	}
}

// TestWholeFleetIsKilledAtOnce proves R03, but for its times: everything comes
// back, a few at a time, and the API answers meanwhile.
func TestWholeFleetIsKilledAtOnce(t *testing.T) {
	const (
		count     = 300
		parallel  = 4
		initDelay = 50 * time.Millisecond
	)
	fleet := servers{}
	for i := range count {
		fleet[fmt.Sprintf("stub-%03d", i)] = stub("-init-delay", initDelay.String())
	}
	h := startConfig(t, map[string]any{"mcp_servers": fleet, "execution": map[string]any{"max_parallel_starts": parallel}})
	var wg sync.WaitGroup
	for id := range fleet {
		wg.Go(func() { h.call(id, "echo", map[string]any{"text": "x"}) })
	}
	wg.Wait()
	var victims []process
	for _, p := range tagged(t, h.tag) {
		if strings.Contains(p.command, "-init-delay") {
			victims = append(victims, p)
		}
	}
	if len(victims) != count {
		t.Fatalf("%d children run, want %d", len(victims), count)
	}
	begin := time.Now()
	for _, p := range victims {
		syscall.Kill(p.pid, syscall.SIGKILL)
	}
	slowest := time.Duration(0)
	ready := 0
	if !eventually(2*time.Minute, func() bool {
		asked := time.Now()
		list := h.list()
		slowest = max(slowest, time.Since(asked))
		ready = 0
		for _, s := range list {
			if s.State == "ready" {
				ready++
			}
		}
		return ready == count && len(startTimes(t, h)) == count
	}) {
		t.Fatalf("%d of %d servers came back", ready, count)
	}
	t.Logf("all ready after %s, the slowest list took %s", time.Since(begin).Round(time.Millisecond), slowest.Round(time.Millisecond))
	for id := range fleet {
		if d := h.detail(id); d.Epoch != 2 || d.Restarts != 1 {
			t.Errorf("%s: %+v, want its second epoch and one restart", id, d)
		}
	}
	starts := startTimes(t, h)
	if most := mostOverlapping(starts, initDelay); most > parallel {
		t.Errorf("%d servers were starting at once, want at most %d", most, parallel)
	}
	if spread, least := slices.Max(starts)-slices.Min(starts), (count/parallel-1)*(initDelay-10*time.Millisecond); spread < least {
		t.Errorf("the restarts are spread over %s, want %s at least", spread, least)
	}
}

// childSeen is what the stub's tool seen tells.
type childSeen struct {
	Lists     int
	Cancelled []string
}

func (h *hangar) seen(server string) childSeen {
	h.t.Helper()
	var s childSeen
	if err := json.Unmarshal([]byte(h.mustCall(server, "seen", map[string]any{}).text()), &s); err != nil {
		h.t.Fatal(err)
	}
	return s
}

// callID is the JSON-RPC id that the next call gets of a runtime which nobody
// else calls: ids count up.
func (h *hangar) callID(server string) int {
	h.t.Helper()
	id, err := strconv.Atoi(h.mustCall(server, "id", map[string]any{}).text())
	if err != nil {
		h.t.Fatal(err)
	}
	return id + 1
}

// TestAnswersOfAnOldInstanceReachNobody proves R07: an answer under the id of a
// call that belonged to an instance that is gone, or to another server.
func TestAnswersOfAnOldInstanceReachNobody(t *testing.T) {
	h := start(t, servers{"victim": stub(), "other": stub()})
	pid, othersPID := childPID(t, h, "victim"), childPID(t, h, "other")
	hangs := func(server string) (id int, ended chan error) {
		id, ended = h.callID("other")+1, make(chan error, 1)
		seen := h.count(server) // which takes the id before
		before := h.detail(server).Health.Invocations
		go func() {
			_, err := h.call(server, "sleep", map[string]any{"ms": 600_000})
			ended <- err
		}()
		h.await(server, "the call to have its id", func(d detail) bool { return d.Health.Invocations > before })
		for n := 2; h.count(server)-seen < n; n++ {
			if n == 1000 {
				t.Fatal("the call does not reach its server")
			}
		}
		return id, ended
	}
	old, ended := hangs("victim")
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err == nil {
		t.Fatal("the call of the killed instance has an answer")
	}
	h.readyAgain("victim", 1)
	others, waiting := hangs("other")
	forged := fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"result":{"content":[{"type":"text","text":"forged"}]}}`+"\n", old) +
		fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"result":{"content":[{"type":"text","text":"forged"}]}}`+"\n", others)
	if got := h.mustCall("victim", "raw", map[string]any{"base64": []byte(forged)}).text(); got != "written" {
		t.Errorf("the call that wrote them was answered %q", got)
	}
	if n := h.detail("victim").Health.DroppedAnswers; n != 2 {
		t.Errorf("%d answers dropped, want the two forged ones", n)
	}
	select {
	case err := <-waiting:
		t.Errorf("the other server's call ended: %v", err)
	default:
	}
	syscall.Kill(othersPID, syscall.SIGKILL) // or the end of the test would wait for the call
	<-waiting
}

// count is how many calls the server's process has seen, this one included.
func (h *hangar) count(server string) int {
	h.t.Helper()
	n, err := strconv.Atoi(h.mustCall(server, "count", map[string]any{}).text())
	if err != nil {
		h.t.Fatal(err)
	}
	return n
}

// TestDeadlineCancelsAtTheServer proves R08.
func TestDeadlineCancelsAtTheServer(t *testing.T) {
	t.Parallel()
	slow := stub()
	slow["max_concurrency"] = 1
	h := start(t, servers{"slow": slow})
	h.mustCall("slow", "echo", map[string]any{"text": "up"})
	id := h.callID("slow")
	begin := time.Now()
	err := h.request("POST", "/api/mcp_servers/slow/tools/sleep/call?timeout_s=1", map[string]any{"ms": 3000, "deaf": true}, nil)
	took := time.Since(begin)
	var refused *refusal
	if !errors.As(err, &refused) || refused.Status != 504 || refused.Name != "ToolTimeoutError" {
		t.Errorf("got %v, want 504 ToolTimeoutError", err)
	}
	if took < time.Second || took > patience {
		t.Errorf("the deadline of 1 s came after %s", took)
	}
	// The slot is free although the child still works on the call.
	if seen := h.seen("slow"); len(seen.Cancelled) != 1 || seen.Cancelled[0] != strconv.Itoa(id) {
		t.Errorf("the child saw the cancellations %v, want that of %d", seen.Cancelled, id)
	}
	h.await("slow", "the late answer", func(d detail) bool { return d.Health.DroppedAnswers == 1 })
	if d := h.detail("slow"); d.State != "ready" || d.Epoch != 1 {
		t.Errorf("after a late answer: %+v", d)
	}
}

// TestClientThatLeavesFreesItsSlot proves R09.
func TestClientThatLeavesFreesItsSlot(t *testing.T) {
	slow := stub()
	slow["max_concurrency"] = 1
	h := start(t, servers{"slow": slow})
	h.mustCall("slow", "echo", map[string]any{"text": "up"})
	session := h.newRPC().session
	rest := "POST /api/mcp_servers/slow/tools/sleep/call HTTP/1.1\r\nHost: localhost\r\n"
	mcp := "POST /mcp HTTP/1.1\r\nHost: localhost\r\nAccept: application/json\r\nMcp-Session-Id: " + session + "\r\n"
	arguments := `{"ms":600000}`
	for round, request := range []struct{ head, body string }{
		{rest, arguments},
		{mcp, `{"jsonrpc":"2.0","id":"leaves","method":"tools/call","params":{"name":"slow__sleep","arguments":` + arguments + `}}`},
	} {
		id := h.callID("slow")
		before := h.detail("slow").Health.Invocations
		conn, err := net.Dial("tcp", strings.TrimPrefix(h.url, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(conn, "%sContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", request.head, len(request.body), request.body)
		h.await("slow", "the call under way", func(d detail) bool { return d.Health.Invocations > before })
		conn.Close()
		left := time.Now()
		seen := h.seen("slow") // it has the only slot
		t.Logf("the slot was free %s after the client had left", time.Since(left).Round(time.Millisecond))
		if len(seen.Cancelled) != round+1 || seen.Cancelled[round] != strconv.Itoa(id) {
			t.Errorf("the child saw the cancellations %v, want %d as the last of %d", seen.Cancelled, id, round+1)
		}
	}
}
