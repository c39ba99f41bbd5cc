package link

import (
	"errors"
	"fmt"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aabb9013/hangar/backends"
	"github.com/aabb9013/hangar/internal/jsonrpc"
)

func TestLinkReadsMessagesSplitAnywhere(t *testing.T) {
	size := 0
	for at := 0; at <= size; at++ {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t, -1)
			var progress []string
			a, b := call("a"), call("b")
			a.Progress = func(raw []byte, _ *jsonrpc.Envelope) { progress = append(progress, string(raw)) }
			r.mustSend(t, a)
			r.mustSend(t, b)
			note := fmt.Sprintf(`{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":%d,"progress":1}}`, a.ID)
			answerA := fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"result":{"text":"zażółć %c"}}`, a.ID, 0x1f600)
			answerB := fmt.Sprintf(` {"jsonrpc":"2.0","id":"%d","error":{"code":1,"message":"m"}}`, b.ID)
			stream := "noise\n" + note + "\n" + answerB + "\r\n\n" + answerA + "\n" + `{"jsonrpc":"2.0","method":"m/n"}` + "\n"
			size = len(stream)
			at := min(at, size) // ids may lose a digit less
			r.src.chunks <- []byte(stream[:at])
			synctest.Wait()
			r.src.chunks <- []byte(stream[at:])
			synctest.Wait()
			if len(a.Done()) != 1 || len(b.Done()) != 1 {
				t.Fatalf("split at %d: answers are missing", at)
			}
			if a.Err != nil || string(a.Answer) != answerA || a.Env.Kind != jsonrpc.Response {
				t.Errorf("split at %d: a got %q, %v", at, a.Answer, a.Err)
			}
			if b.Err != nil || string(b.Answer) != answerB+"\r" || b.Env.Kind != jsonrpc.ErrorResponse {
				t.Errorf("split at %d: b got %q, %v", at, b.Answer, b.Err)
			}
			if len(progress) != 1 || progress[0] != note || fmt.Sprint(r.obs.methods) != "[m/n]" || r.obs.count() != 2 {
				t.Errorf("split at %d: progress %q, notified %q, done %d", at, progress, r.obs.methods, r.obs.count())
			}
		})
	}
}

func TestLinkReadsByteByByte(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, -1)
		c := r.mustSend(t, call("x"))
		for _, b := range fmt.Appendf(nil, `{"jsonrpc":"2.0","id":%d,"result":{}}`+"\n", c.ID) {
			r.src.chunks <- []byte{b}
		}
		<-c.Done()
		if c.Err != nil {
			t.Error(c.Err)
		}
	})
}

func TestLinkBufferGrowsAndIsReleased(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, -1)
		c := r.mustSend(t, call("x"))
		text := strings.Repeat("x", 1<<20)
		r.says(`{"jsonrpc":"2.0","id":%d,"result":{"text":%q}}`, c.ID, text)
		<-c.Done()
		synctest.Wait() // the link is idle
		if !strings.Contains(string(c.Answer), text) {
			t.Error("the answer is not whole")
		}
		most := 0
		for _, room := range r.src.room {
			most = max(most, room)
		}
		if most >= 4<<20 {
			t.Errorf("a buffer had %d bytes of room, want less than four times the line", most)
		}
		if r.src.aparts != 1 {
			t.Errorf("the source was told %d times that lines take long", r.src.aparts)
		}
		r.src.room = nil
		r.says("noise")
		synctest.Wait()
		if r.src.room[0] != wideSize {
			t.Errorf("after idling the buffer has %d bytes, want one of %d from the pool", r.src.room[0], wideSize)
		}
	})
}

// TestLongLineTakesLittleMoreThanItsLength is C02: all buffers that the longest
// line goes through, as if none of them had been collected.
func TestLongLineTakesLittleMoreThanItsLength(t *testing.T) {
	for _, limit := range []int{1 << 20, 3 << 20, backends.DefaultMaxMessage, 64 << 20} {
		r := reader{link: &Link{cfg: Config{MaxMessage: limit, Source: newScript()}}}
		total := 0
		for r.used <= limit {
			had := r.buf
			room := len(r.Space())
			if r.buf != had {
				total += len(*r.buf)
			}
			r.used += room
		}
		if total > 2*limit {
			t.Errorf("a line of %d bytes took %d, want %d at most", limit, total, 2*limit)
		}
		if r.used != limit+1 {
			t.Errorf("%d bytes were read of a line over the limit of %d, want one more than that", r.used, limit)
		}
	}
}

func TestIdleReaderHoldsNoBuffer(t *testing.T) {
	r := reader{link: &Link{cfg: Config{MaxMessage: 1 << 20}}}
	r.used = copy(r.Space(), "whole\nrest")
	if line, _, ok := r.next(0); !ok || string(line) != "whole" {
		t.Errorf("got %q, %v", line, ok)
	}
	if r.release(); r.buf == nil {
		t.Error("the buffer with an unfinished line was released")
	}
	if r.used = 0; r.buf == nil {
		t.Fatal("no buffer")
	}
	if r.release(); r.buf != nil {
		t.Error("the empty buffer was kept")
	}
}

func TestLinkRefusesLongLinesHoweverTheyAreCut(t *testing.T) {
	for name, chunks := range map[string][]string{
		"endless":          {strings.Repeat("x", 5000)},
		"whole":            {strings.Repeat("x", 1500) + "\n"},
		"in pieces":        {strings.Repeat("x", 600), strings.Repeat("x", 600), "\n"},
		"just over":        {strings.Repeat("x", 1001), "\n"},
		"just over, whole": {strings.Repeat("x", 1001) + "\n"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, -1, func(c *Config) { c.MaxMessage = 1000 })
			for _, chunk := range chunks {
				r.src.chunks <- []byte(chunk)
			}
			if err := <-r.fails; !errors.Is(err, backends.ErrMessageTooLarge) {
				t.Error(err)
			}
		})
	}
	t.Run("just not", func(t *testing.T) {
		r := newRig(t, -1, func(c *Config) { c.MaxMessage = 1000 })
		c := r.mustSend(t, call("x"))
		line := fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"result":{"a":""}}`, c.ID)
		r.says("%s", strings.Replace(line, `""`, `"`+strings.Repeat("x", 1000-len(line))+`"`, 1))
		if <-c.Done(); c.Err != nil || len(c.Answer) != 1000 {
			t.Errorf("%v, %d bytes", c.Err, len(c.Answer))
		}
	})
}

func TestLinkToleratesNoiseUpToItsLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, -1)
		for range 2 {
			for range backends.MaxNoise {
				r.says("[info] %s", "hello")
				r.says("  ") // blank lines are no noise
			}
			r.says(`{"jsonrpc":"2.0","method":"notifications/message"}`) // ends the row
		}
		synctest.Wait()
		if len(r.fails) != 0 {
			t.Fatal(<-r.fails)
		}
		for range backends.MaxNoise + 10 {
			r.says("{")
		}
		if err := <-r.fails; !errors.Is(err, backends.ErrProtocol) {
			t.Error(err)
		}
		if synctest.Wait(); len(r.fails) != 0 {
			t.Error("Fail was called twice")
		}
	})
}

func TestSpoiltAnswerFailsItsCallAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, -1)
		c := r.mustSend(t, call("x"))
		r.says(`{"jsonrpc":"2.0","id":%d,"result":{"deep":1e}}`, c.ID)
		if <-c.Done(); !errors.Is(c.Err, backends.ErrProtocol) {
			t.Error(c.Err)
		}
		synctest.Wait()
		if n := r.obs.count(); n != 1 {
			t.Errorf("CallsDone counted %d", n)
		}
		done := make(chan error, 1)
		go func() {
			_, err := r.Request(t.Context(), "ping", nil)
			done <- err
		}()
		synctest.Wait()
		r.says(`{"jsonrpc":"2.0","id":%d,"result":{}`, c.ID+1)
		if err := <-done; !errors.Is(err, backends.ErrProtocol) {
			t.Error(err)
		}
		if n := r.obs.count(); n != 1 {
			t.Errorf("a control request was counted as a call")
		}
	})
}

func TestLinkAnswersTheServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, -1)
		r.says(`{"jsonrpc":"2.0","id":"a\"b","method":"ping"}`)
		r.says(`{"jsonrpc":"2.0","id":7,"method":"roots/list"}`)
		r.says(`{"jsonrpc":"2.0","id":8,"method":"sampling/createMessage","params":{}}`)
		synctest.Wait()
		want := `{"jsonrpc":"2.0","id":"a\"b","result":{}}
{"jsonrpc":"2.0","id":7,"result":{"roots":[]}}
{"jsonrpc":"2.0","id":8,"error":{"code":-32601,"message":"the client does not offer this method"}}
`
		if got := r.sink.text(); got != want {
			t.Errorf("got %s", got)
		}
	})
}

// C01: what is no message is counted, and a little of it shown, at most so
// many lines in a second; blank lines are counted only.
func TestNoiseIsCountedAndShown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, counters := &backends.LogRing{}, &backends.StreamCounters{}
		r := newRig(t, -1, func(c *Config) { c.Log, c.Streams = log, counters })
		for range 3 {
			for i := range 20 {
				r.says("banner %d", i)
				r.says(" \t\r")
			}
			synctest.Wait()
			time.Sleep(time.Second)
		}
		if n := counters.Noise.Load(); n != 120 {
			t.Errorf("%d lines of noise, want 120", n)
		}
		lines := log.Tail(1000)
		if len(lines) != 3*backends.NoiseLines {
			t.Fatalf("%d lines shown in 3 s, want %d", len(lines), 3*backends.NoiseLines)
		}
		for i, line := range lines {
			if want := fmt.Sprint("banner ", i%backends.NoiseLines); !line.Stdout || line.Text != want || line.Epoch != 1 {
				t.Errorf("line %d is %+v, want %q of stdout", i, line, want)
			}
		}
	})
}

// R07, R08: an answer that no call waits for reaches nobody and is counted: a
// late one, one under an id of another instance's call, one that was repeated.
func TestAnswersThatNobodyWaitsForAreCounted(t *testing.T) {
	old, counters := newRig(t, -1), &backends.StreamCounters{}
	fresh := newRig(t, -1, func(c *Config) { c.Streams = counters })
	waiting, expired := old.mustSend(t, call("waits")), call("expires")
	expired.Deadline = time.Now()
	fresh.mustSend(t, expired)
	fresh.Expire(time.Now())
	if <-expired.Done(); expired.Err != backends.ErrDeadline {
		t.Fatalf("the call ended with %v", expired.Err)
	}
	if n := fresh.InFlight(); n != 0 || len(fresh.calls.ids) != 0 {
		t.Errorf("%d calls in flight, %d in the table after the deadline", n, len(fresh.calls.ids))
	}
	if want := fmt.Sprintf(`"notifications/cancelled","params":{"requestId":%d`, expired.ID); !strings.Contains(fresh.sink.text(), want) {
		t.Errorf("the server was told %q, want %s in it", fresh.sink.text(), want)
	}
	good := fresh.mustSend(t, call("good"))
	for _, id := range []string{strconv.FormatUint(expired.ID, 10), strconv.FormatUint(waiting.ID, 10), `"foreign"`} {
		fresh.says(`{"jsonrpc":"2.0","id":%s,"result":{"content":[]}}`, id)
	}
	for range 2 {
		fresh.says(`{"jsonrpc":"2.0","id":%d,"result":{"content":[]}}`, good.ID)
	}
	if <-good.Done(); good.Err != nil {
		t.Errorf("the good call ended with %v", good.Err)
	}
	for deadline := time.Now().Add(20 * time.Second); counters.DroppedAnswers.Load() < 4; runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatalf("%d answers were counted as dropped, want 4", counters.DroppedAnswers.Load())
		}
	}
	if len(waiting.Done()) != 0 {
		t.Error("an answer of the new instance reached a call of the old one")
	}
	if len(expired.Done()) != 0 || len(good.Done()) != 0 {
		t.Error("a call was finished twice")
	}
}
