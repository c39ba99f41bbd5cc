package httpapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aabb9013/hangar/backends"
	"github.com/aabb9013/hangar/supervisor"
)

type batchAnswer struct {
	BatchID           string `json:"batch_id"`
	Success           bool
	Total             int
	Succeeded, Failed int
	ElapsedMS         float64 `json:"elapsed_ms"`
	Results           []batchResult
	ValidationErrors  []validationFault `json:"validation_errors"`
}

// runBatch makes a hangar_call; options are further arguments.
func runBatch(t *testing.T, f *Front, options string, calls ...string) batchAnswer {
	t.Helper()
	body, isError := own(t, f, "hangar_call", `{"calls":[`+strings.Join(calls, ",")+`]`+options+`}`)
	var answer batchAnswer
	if err := json.Unmarshal(body, &answer); err != nil || isError {
		t.Fatalf("%s %v", body, err)
	}
	if answer.Total != len(calls) || answer.Succeeded+answer.Failed != len(answer.Results) {
		t.Errorf("the counts do not fit: %s", body)
	}
	if slots := len(f.batches.Load().all) + len(f.batches.Load().servers); slots != 0 {
		t.Errorf("%d slots are still held", slots)
	}
	return answer
}

func item(server, tool, arguments string) string {
	return fmt.Sprintf(`{"mcp_server":%q,"tool":%q,"arguments":%s}`, server, tool, arguments)
}

func repeat(n int, call string) []string {
	calls := make([]string, n)
	for i := range calls {
		calls[i] = call
	}
	return calls
}

var volatileFields = regexp.MustCompile(`"(batch_id|call_id)":"[0-9a-f-]{36}"|"(elapsed_ms|total_time_ms)":[0-9.e-]+`)

func TestHangarCallHasItsFields(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fl := newFleet(ready("s", `{"name":"ok"}`, `{"name":"bad"}`, `{"name":"rpc"}`, `{"name":"gone"}`, `{"name":"late"}`))
		sv := fl.servers["s"]
		sv.do = func(c *backends.Call, timeout time.Duration) error {
			switch c.Tool {
			case "bad":
				return result(c, `{"content":[{"type":"text","text":"timeout"}],"isError":true}`)
			case "rpc":
				return answerWith(c, fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"error":{"code":1,"message":"connection lost\nagain"}}`, c.ID))
			case "gone":
				return &backends.CrashError{Server: "s", Exit: backends.Exit{Code: 1}, Sent: true}
			case "late":
				return sv.hang(c, timeout)
			}
			return result(c, `{"content":[],"structuredContent":{"n":1.50,"s":"<b>"}}`)
		}
		f := NewFront(FrontOptions{Runtime: fl})
		body, isError := own(t, f, "hangar_call", `{"max_attempts":3,"calls":[`+strings.Join([]string{
			item("s", "ok", `{"a":1}`), item("s", "bad", `{}`), item("s", "rpc", `{}`), item("s", "gone", `{}`),
			`{"mcp_server":"s","tool":"late","arguments":{},"timeout":1.5}`,
		}, ",")+`]}`)
		if isError {
			t.Fatal(string(body))
		}
		golden(t, "mcp_call", volatileFields.ReplaceAll(body, []byte(`"$1$2":"X"`)))
		if got := masked(t, sv.sent()[0]); len(sv.sent()) != 5 || !strings.HasPrefix(got, `{"jsonrpc":"2.0","id":N,"method":"tools/call","params":{"name":"`) {
			t.Errorf("sent %q", sv.sent())
		}
	})
}

func TestBatchIsCheckedBeforeAnythingIsCalled(t *testing.T) {
	cold := ready("cold", `{"name":"old"}`)
	cold.ToolsStale = true
	fl := newFleet(ready("s", `{"name":"t"}`), cold)
	f := NewFront(FrontOptions{Runtime: fl})
	body, isError := own(t, f, "hangar_call", `{"calls":[`+strings.Join([]string{
		item("s", "t", `{}`), item("no", "t", `{}`), item("s", "no", `{}`), item("cold", "new", `{}`), `{}`, `7`,
		item("s", "t", `[]`), `{"mcp_server":"s","tool":"t"}`, `{"mcp_server":"s","tool":"t","arguments":{},"timeout":400,"x":1}`,
	}, ",")+`]}`)
	if isError || len(fl.servers["s"].sent())+len(fl.servers["cold"].sent()) > 0 {
		t.Errorf("isError %t, sent %v", isError, fl.servers["s"].sent())
	}
	golden(t, "mcp_call_invalid", volatileFields.ReplaceAll(body, []byte(`"$1$2":"X"`)))
}

func TestBatchKeepsOrderAndBounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fl := newFleet(ready("a", `{"name":"t"}`), ready("b", `{"name":"t"}`), ready("c", `{"name":"t"}`))
		var now, most atomic.Int64
		perServer := map[string]*[2]atomic.Int64{}
		for id, sv := range fl.servers {
			counts := &[2]atomic.Int64{}
			perServer[id] = counts
			sv.do = func(c *backends.Call, _ time.Duration) error {
				n, own := now.Add(1), counts[0].Add(1)
				for _, m := range []struct {
					n   int64
					max *atomic.Int64
				}{{n, &most}, {own, &counts[1]}} {
					for old := m.max.Load(); m.n > old && !m.max.CompareAndSwap(old, m.n); old = m.max.Load() {
					}
				}
				var line struct {
					Params struct{ Arguments struct{ I int } }
				}
				_ = json.Unmarshal(c.Line, &line)
				i := line.Params.Arguments.I
				time.Sleep(time.Duration(100-i) * time.Millisecond) // the last are done first
				now.Add(-1)
				counts[0].Add(-1)
				return result(c, fmt.Sprintf(`{"i":%d}`, i))
			}
		}
		f := NewFront(FrontOptions{Runtime: fl, BatchConcurrency: 12, ServerConcurrency: 5})
		for _, tc := range []struct {
			option           string
			atMost, perSever int64
		}{{``, 10, 5}, {`,"max_concurrency":1`, 1, 1}, {`,"max_concurrency":50`, 12, 5}} {
			most.Store(0)
			for _, c := range perServer {
				c[1].Store(0)
			}
			var calls []string
			for i := range 99 {
				calls = append(calls, item(string(rune('a'+i%3)), "t", fmt.Sprintf(`{"i":%d}`, i)))
			}
			answer := runBatch(t, f, tc.option, calls...)
			for i, r := range answer.Results {
				if r.Index != i || string(r.Result) != fmt.Sprintf(`{"i":%d}`, i) || !r.Success || r.Error != nil || r.CallID == "" {
					t.Errorf("result %d is %+v", i, r)
				}
			}
			if most.Load() != tc.atMost {
				t.Errorf("%q: %d calls at once, want %d", tc.option, most.Load(), tc.atMost)
			}
			for id, c := range perServer {
				if c[1].Load() > tc.perSever {
					t.Errorf("%q: %d calls of server %s at once", tc.option, c[1].Load(), id)
				}
			}
		}
	})
}

func TestBusyServerTakesNoSlotsFromOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fl := newFleet(ready("busy", `{"name":"t"}`), ready("free", `{"name":"t"}`))
		busy := fl.servers["busy"]
		busy.do = busy.hang
		f := NewFront(FrontOptions{Runtime: fl, BatchConcurrency: 4, ServerConcurrency: 2})
		done := make(chan batchAnswer)
		go func() {
			body := f.ask(t, local(), callBody("1", "hangar_call", `{"max_concurrency":50,"timeout":5,"calls":[`+strings.Join(repeat(20, item("busy", "t", "{}")), ",")+`]}`))
			structured, _ := toolAnswer(t, body)
			var answer batchAnswer
			_ = json.Unmarshal(structured, &answer)
			done <- answer
		}()
		synctest.Wait()
		began := time.Now()
		body, _ := own(t, f, "hangar_call", `{"calls":[`+strings.Join(repeat(20, item("free", "t", "{}")), ",")+`]}`)
		if !strings.Contains(string(body), `"succeeded":20`) || time.Since(began) > 0 {
			t.Errorf("after %s: %s", time.Since(began), body)
		}
		if answer := <-done; answer.Failed != 20 || len(busy.sent()) != 2 {
			t.Errorf("%d failed, %d were sent", answer.Failed, len(busy.sent()))
		}
		if len(f.batches.Load().all)+len(f.batches.Load().servers) > 0 {
			t.Error("slots are still held")
		}
	})
}

func TestBatchTimeouts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fl := newFleet(ready("s", `{"name":"slow"}`, `{"name":"fast"}`))
		sv := fl.servers["s"]
		sv.do = func(c *backends.Call, timeout time.Duration) error {
			if c.Tool == "slow" {
				return sv.hang(c, timeout)
			}
			return result(c, `{}`)
		}
		f := NewFront(FrontOptions{Runtime: fl})
		began := time.Now()
		answer := runBatch(t, f, `,"timeout":20,"max_concurrency":2`,
			`{"mcp_server":"s","tool":"slow","arguments":{},"timeout":2}`, item("s", "slow", "{}"), item("s", "fast", "{}"),
			item("s", "slow", "{}"), item("s", "fast", "{}"), item("s", "slow", "{}"))
		if took := time.Since(began); took != 20*time.Second {
			t.Errorf("took %s", took)
		}
		var got []string
		for _, r := range answer.Results {
			if r.ErrorType == nil {
				got = append(got, "ok")
			} else {
				got = append(got, *r.ErrorType)
			}
		}
		// The first worker is free again after 2 s and hangs on the fourth call;
		// the last two find the time used up.
		if want := "[TimeoutError TimeoutError ok TimeoutError TimeoutError TimeoutError]"; fmt.Sprint(got) != want || answer.Success {
			t.Errorf("got %v", got)
		}
		if len(sv.sent()) != 4 {
			t.Errorf("%d calls reached the server", len(sv.sent()))
		}
		if answer.Results[0].ElapsedMS != 2000 || answer.Results[1].ElapsedMS != 20000 {
			t.Errorf("elapsed %v and %v", answer.Results[0].ElapsedMS, answer.Results[1].ElapsedMS)
		}
	})
}

// TestBatchLeavesTheDeadlineToTheCall: a cancellation would look as if the
// client had left, which is no failure of the server.
func TestBatchLeavesTheDeadlineToTheCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fl := newFleet(ready("s", `{"name":"slow"}`))
		sv := fl.servers["s"]
		sv.do = func(c *backends.Call, timeout time.Duration) error { return sv.hang(c, timeout+time.Millisecond) }
		for _, options := range []string{`,"timeout":2`, `,"timeout":2,"fail_fast":true`} {
			r := runBatch(t, NewFront(FrontOptions{Runtime: fl}), options, item("s", "slow", "{}")).Results[0]
			if *r.ErrorType != "TimeoutError" || !strings.Contains(*r.Error, "did not answer") {
				t.Errorf("%s: %s: %s", options, *r.ErrorType, *r.Error)
			}
		}
	})
}

func TestFailFastCancelsTheRest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fl := newFleet(ready("s", `{"name":"hang"}`, `{"name":"fail"}`, `{"name":"ok"}`))
		sv := fl.servers["s"]
		sv.do = func(c *backends.Call, timeout time.Duration) error {
			switch c.Tool {
			case "hang":
				return sv.hang(c, timeout)
			case "fail":
				time.Sleep(time.Second)
				return result(c, `{"content":[],"isError":true}`)
			}
			return result(c, `{}`)
		}
		f := NewFront(FrontOptions{Runtime: fl})
		calls := append([]string{item("s", "ok", "{}"), item("s", "hang", "{}"), item("s", "fail", "{}"), item("s", "hang", "{}")}, repeat(40, item("s", "hang", "{}"))...)
		began := time.Now()
		answer := runBatch(t, f, `,"fail_fast":true,"max_concurrency":4`, calls...)
		if took := time.Since(began); took != time.Second {
			t.Errorf("took %s", took)
		}
		for i, r := range answer.Results {
			want := "CancellationError"
			switch i {
			case 0:
				want = ""
			case 2:
				want = "ToolError"
			}
			if r.ErrorType == nil && want != "" || r.ErrorType != nil && *r.ErrorType != want {
				t.Errorf("call %d: %+v", i, r)
			}
		}
		// The first is done at once, so that a fifth takes its place.
		if n := len(sv.sent()); n != 5 || answer.Succeeded != 1 {
			t.Errorf("%d calls were made, %d succeeded", n, answer.Succeeded)
		}
		// Without fail_fast a failure stops nothing.
		sv.lines = nil
		answer = runBatch(t, f, `,"max_concurrency":1`, item("s", "fail", "{}"), item("s", "ok", "{}"))
		if answer.Succeeded != 1 || answer.Failed != 1 || answer.Success || answer.Results[0].Result == nil {
			t.Errorf("got %+v", answer)
		}
	})
}

func TestOnlyFailuresWithoutEffectAreRetried(t *testing.T) {
	for _, tc := range []struct {
		err   error
		calls int
	}{
		{&backends.CrashError{Server: "s", Sent: false}, 3},
		{&backends.CrashError{Server: "s", Sent: true}, 1},
		{fmt.Errorf("%w: x", supervisor.ErrStartFailed), 3},
		{fmt.Errorf("%w: %w", supervisor.ErrStartFailed, backends.ErrPermanent), 1},
		{&supervisor.CannotStartError{Server: "s"}, 3},
		{supervisor.ErrOverloaded, 3},
		{backends.ErrBusy, 3},
		{supervisor.ErrCallTimeout, 1},
		{supervisor.ErrStopped, 1},
		{supervisor.ErrClosing, 1},
		{supervisor.ErrInternal, 1},
		{supervisor.ErrServerNotFound, 1},
		{backends.ErrProtocol, 1},
		{errors.New("timeout: connection refused"), 1},
	} {
		synctest.Test(t, func(t *testing.T) {
			fl := newFleet(ready("s", `{"name":"t"}`))
			fl.servers["s"].do = func(*backends.Call, time.Duration) error { return tc.err }
			f := NewFront(FrontOptions{Runtime: fl})
			began := time.Now()
			r := runBatch(t, f, `,"max_attempts":3`, item("s", "t", "{}")).Results[0]
			if n := len(fl.servers["s"].sent()); n != tc.calls || r.Retry == nil || r.Retry.Attempts != n || len(r.Retry.Retries) != n-1 || r.Success || r.Error == nil {
				t.Errorf("%v: %d calls, %+v", tc.err, n, r.Retry)
			}
			// 1 s and 2 s, each with a quarter more or less.
			if took := time.Since(began); tc.calls == 3 && (took < 2250*time.Millisecond || took > 3750*time.Millisecond) {
				t.Errorf("%v: took %s", tc.err, took)
			}
		})
	}
}

func TestRetriesEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fl := newFleet(ready("s", `{"name":"t"}`))
		sv := fl.servers["s"]
		sv.do = func(c *backends.Call, _ time.Duration) error {
			if len(sv.sent()) < 3 {
				return supervisor.ErrOverloaded
			}
			return result(c, `{"ok":true}`)
		}
		f := NewFront(FrontOptions{Runtime: fl})
		r := runBatch(t, f, `,"max_attempts":10`, item("s", "t", "{}")).Results[0]
		if !r.Success || r.Retry.Attempts != 3 || len(r.Retry.Retries) != 2 || r.Error != nil {
			t.Errorf("got %+v %+v", r, r.Retry)
		}
		// Within the batch's time.
		sv.do = func(*backends.Call, time.Duration) error { return supervisor.ErrOverloaded }
		began := time.Now()
		r = runBatch(t, f, `,"max_attempts":10,"timeout":5`, item("s", "t", "{}")).Results[0]
		if took := time.Since(began); took > 5*time.Second || *r.ErrorType != "RateLimitExceededError" {
			t.Errorf("after %s: %+v", took, r)
		}
		// And not beyond the front's own end.
		time.AfterFunc(1500*time.Millisecond, f.Close)
		began = time.Now()
		runBatch(t, f, `,"max_attempts":10`, item("s", "t", "{}"))
		if took := time.Since(began); took > 1500*time.Millisecond {
			t.Errorf("went on for %s", took)
		}
	})
}

func TestBatchResultsAreBounded(t *testing.T) {
	b := &batch{}
	large := json.RawMessage(strings.Repeat("x", maxCallResult))
	for i := range 5 {
		var r batchResult
		b.keep(&r, large)
		if kept := i < maxBatchResults/maxCallResult; r.Truncated == kept || (r.Result != nil) != kept ||
			!kept && (r.Reason != "batch_too_large" || r.Size != maxCallResult) {
			t.Errorf("result %d: %d bytes, %s %d", i, len(r.Result), r.Reason, r.Size)
		}
	}
	var r batchResult
	if b.keep(&r, json.RawMessage("{}")); r.Truncated || string(r.Result) != "{}" {
		t.Error("a small result still has room")
	}

	fl := newFleet(ready("s", `{"name":"t"}`))
	fl.servers["s"].do = func(c *backends.Call, _ time.Duration) error {
		return result(c, `"`+string(large)+`"`)
	}
	r = runBatch(t, NewFront(FrontOptions{Runtime: fl}), ``, item("s", "t", "{}")).Results[0]
	if !r.Success || !r.Truncated || r.Reason != "result_too_large" || r.Size != maxCallResult+2 || string(r.Result) != "null" {
		t.Errorf("got %d bytes, %+v", len(r.Result), r.Reason)
	}
}

func TestSlotsAreGivenBack(t *testing.T) {
	limits := newBatchLimits(3, 2)
	ctx := t.Context()
	var wg sync.WaitGroup
	for i := range 50 {
		wg.Go(func() {
			short := ctx
			if i%2 == 0 {
				var stop context.CancelFunc
				short, stop = context.WithTimeout(ctx, time.Duration(i)*50*time.Microsecond)
				defer stop()
			}
			release, err := limits.acquire(short, fmt.Sprint(i%3))
			if err == nil {
				time.Sleep(time.Millisecond)
				release()
			}
		})
	}
	wg.Wait()
	if len(limits.all) != 0 || len(limits.servers) != 0 {
		t.Errorf("%d slots and %d servers are left", len(limits.all), len(limits.servers))
	}
	ended, stop := context.WithCancel(ctx)
	stop()
	for range 100 { // a select would take the free slot half of the time
		if _, err := limits.acquire(ended, "s"); err == nil {
			t.Fatal("a slot for a call that was given up")
		}
	}
}
