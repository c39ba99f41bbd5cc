package httpapi

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/aabb9013/hangar/backends"
)

// pipes is a client on stdin and stdout of a front.
type pipes struct {
	t    *testing.T
	in   *io.PipeWriter
	out  *bufio.Scanner
	back *io.PipeReader
	done chan error
	end  context.CancelFunc
}

func serveStdio(t *testing.T, rt Runtime, change ...func(*Front)) *pipes {
	t.Helper()
	check := noLeak(t)
	f := NewFront(FrontOptions{Runtime: rt, MaxMessage: 1 << 20})
	quick(f)
	for _, c := range change {
		c(f)
	}
	ctx, cancel := context.WithCancel(context.Background())
	inR, inW := io.Pipe()
	outR, outW := io.Pipe()
	p := &pipes{t: t, in: inW, out: bufio.NewScanner(outR), back: outR, done: make(chan error, 1), end: cancel}
	p.out.Buffer(nil, 32<<20)
	go func() {
		err := f.ServeStdio(ctx, inR, outW)
		outW.Close()
		p.done <- err
	}()
	t.Cleanup(func() {
		cancel()
		inW.Close()
		inR.Close()
		outR.Close()
		check()
	})
	return p
}

func (p *pipes) send(lines ...string) {
	p.t.Helper()
	if _, err := io.WriteString(p.in, strings.Join(lines, "\n")+"\n"); err != nil {
		p.t.Errorf("send: %v", err)
	}
}

func (p *pipes) read() string {
	p.t.Helper()
	if !p.out.Scan() {
		p.t.Fatalf("stdout ended: %v", p.out.Err())
	}
	if !json.Valid(p.out.Bytes()) {
		p.t.Errorf("%q on stdout is no JSON", p.out.Text())
	}
	return p.out.Text()
}

func (p *pipes) want(line string) {
	p.t.Helper()
	if got := p.read(); got != line {
		p.t.Errorf("got  %s\nwant %s", got, line)
	}
}

const initializeLine = `{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-06-18","capabilities":{}}}`

func (p *pipes) initialize() {
	p.t.Helper()
	p.send(initializeLine)
	if got := p.read(); !strings.Contains(got, `"id":0,"result":{`) || !strings.Contains(got, `"protocolVersion":"2025-06-18"`) {
		p.t.Fatalf("initialize: %s", got)
	}
	p.send(`{"jsonrpc":"2.0","method":"notifications/initialized"}`)
}

func (p *pipes) wait() error {
	p.t.Helper()
	select {
	case err := <-p.done:
		return err
	case <-time.After(10 * time.Second):
		p.t.Fatal("ServeStdio does not end")
		return nil
	}
}

func TestStdioSpeaksOneMessagePerLine(t *testing.T) {
	fl := newFleet(ready("s", "{\n\"name\":\r\n\"t\"}"))
	fl.servers["s"].do = func(c *backends.Call, _ time.Duration) error {
		return answerWith(c, fmt.Sprintf("{\"jsonrpc\":\"2.0\",\"id\":%d,\n\"result\":\r{\"a\":\"\\n\"}}", c.ID))
	}
	p := serveStdio(t, fl)
	p.send(`{"jsonrpc":"2.0","id":1,"method":"tools/list"}`)
	wantRPCError(t, []byte(p.read()), "1", codeInvalidRequest, "initialize first")
	p.send(`{"jsonrpc":"2.0","id":"p","method":"ping"}`, `{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}`)
	p.want(`{"jsonrpc":"2.0","id":"p","result":{}}`)
	p.send(`{"jsonrpc":"2.0","id":9,"method":"initialize","params":{}}`)
	wantRPCError(t, []byte(p.read()), "9", codeInvalidParams, "protocolVersion")
	p.initialize()
	p.send(initializeLine)
	wantRPCError(t, []byte(p.read()), "0", codeInvalidRequest, "already initialized")
	p.send("", "   ", "\t\r", `  {"jsonrpc":"2.0","id":2,"method":"ping"}  `+"\r")
	p.want(`{"jsonrpc":"2.0","id":2,"result":{}}`)
	p.send("not json")
	wantRPCError(t, []byte(p.read()), "null", codeParse, "")
	p.send(`[{"jsonrpc":"2.0","id":2,"method":"ping"}]`)
	wantRPCError(t, []byte(p.read()), "null", codeInvalidRequest, "batches")
	p.send(`{"jsonrpc":"2.0","id":3,"result":{}}`) // an answer to nothing
	p.send(callBody("4", "s__t", "{}"))
	p.want(`{"jsonrpc":"2.0","id":4,"result":{"a":"\n"}}`)
	p.send(`{"jsonrpc":"2.0","id":5,"method":"tools/list"}`)
	if got := p.read(); !strings.HasSuffix(got, `,{"name":"s__t"}]}}`) {
		t.Errorf("list: %s", got)
	}
	// The last line needs no newline.
	go func() {
		_, _ = io.WriteString(p.in, `{"jsonrpc":"2.0","id":6,"method":"ping"}`)
		p.in.Close()
	}()
	p.want(`{"jsonrpc":"2.0","id":6,"result":{}}`)
	if err := p.wait(); err != nil {
		t.Errorf("ServeStdio: %v", err)
	}
}

func TestStdioRefusesLongLinesAndGoesOn(t *testing.T) {
	p := serveStdio(t, newFleet())
	p.initialize()
	const head, tail = `{"jsonrpc":"2.0","id":1,"method":"ping","params":{"x":"`, `"}}`
	for _, n := range []int{1<<20 + 1, 5 << 20} {
		go p.send(head + strings.Repeat("y", n-len(head)-len(tail)) + tail)
		wantRPCError(t, []byte(p.read()), "null", codeParse, "too large")
	}
	p.send(head + strings.Repeat("y", 1<<20-len(head)-len(tail)) + tail) // the limit itself passes
	p.want(`{"jsonrpc":"2.0","id":1,"result":{}}`)
}

func TestStdioRequestsRunBesideEachOther(t *testing.T) {
	fl := newFleet(ready("s", `{"name":"t"}`))
	sv := fl.servers["s"]
	sv.do = sv.hang
	p := serveStdio(t, fl)
	p.initialize()
	for i := range maxSessionCalls {
		p.send(callBody(fmt.Sprint(i), "s__t", "{}"))
	}
	eventually(t, "all calls hang", func() bool { return sv.hanging() == maxSessionCalls })
	p.send(callBody(`5`, "s__t", "{}"))
	wantRPCError(t, []byte(p.read()), `5`, codeInvalidRequest, "in use")
	p.send(callBody(`"more"`, "s__t", "{}"))
	wantRPCError(t, []byte(p.read()), `"more"`, codeOverloaded, "too many")
	// A cancelled request gets no answer.
	p.send(`{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":7}}`)
	eventually(t, "the call ends", func() bool { return sv.hanging() == maxSessionCalls-1 })
	eventually(t, "its id is free", func() bool {
		p.send(`{"jsonrpc":"2.0","id":7,"method":"ping"}`)
		return p.read() == `{"jsonrpc":"2.0","id":7,"result":{}}`
	})
	for i := range maxSessionCalls {
		p.send(fmt.Sprintf(`{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":%d}}`, i))
	}
	p.in.Close()
	if err := p.wait(); err != nil || p.out.Scan() {
		t.Errorf("ended with %v and %q", err, p.out.Text())
	}
}

// A cancellation that follows its request at once finds it, whichever
// goroutine is faster.
func TestStdioCancelsWhatItJustRead(t *testing.T) {
	fl := newFleet(ready("s", `{"name":"t"}`))
	sv := fl.servers["s"]
	sv.do = sv.hang
	p := serveStdio(t, fl)
	p.initialize()
	for i := range 300 {
		p.send(callBody(fmt.Sprint(i), "s__t", "{}"), fmt.Sprintf(`{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":%d}}`, i))
	}
	p.in.Close()
	if err := p.wait(); err != nil || p.out.Scan() {
		t.Errorf("ended with %v and %q", err, p.out.Text())
	}
}

func TestStdioProgress(t *testing.T) {
	fl := newFleet(ready("s", `{"name":"t"}`))
	fl.servers["s"].do = func(c *backends.Call, _ time.Duration) error {
		for i := range 3 {
			report(c, i)
		}
		return result(c, `{}`)
	}
	p := serveStdio(t, fl)
	p.initialize()
	for _, token := range []string{`"a"`, "5"} {
		p.send(progressCall("1", token))
		for i := range 3 {
			p.want(fmt.Sprintf(`{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":%s,"progress":%d}}`, token, i))
		}
		p.want(`{"jsonrpc":"2.0","id":1,"result":{}}`)
	}
	p.send(callBody("2", "s__t", "{}"))
	p.want(`{"jsonrpc":"2.0","id":2,"result":{}}`)
}

func TestStdioSlowClientDelaysNoServer(t *testing.T) {
	fl := newFleet(ready("s", `{"name":"t"}`))
	took := make(chan time.Duration, 1)
	fl.servers["s"].do = func(c *backends.Call, _ time.Duration) error {
		began := time.Now()
		for i := range 10 * progressWaiting {
			report(c, i)
		}
		took <- time.Since(began)
		return result(c, `{}`)
	}
	p := serveStdio(t, fl)
	p.initialize()
	p.send(progressCall("1", "1"))
	if d := <-took; d > 5*time.Second {
		t.Errorf("progress waited %s for the client", d)
	}
	n := 0
	for p.read() != `{"jsonrpc":"2.0","id":1,"result":{}}` {
		n++
	}
	if n < 1 || n > progressWaiting+2 {
		t.Errorf("%d progress notifications came", n)
	}
}

func TestStdioTellsOfChanges(t *testing.T) {
	fl := newFleet(ready("s", `{"name":"t"}`))
	p := serveStdio(t, fl, func(f *Front) { f.pause = 50 * time.Millisecond })
	fl.version.Add(1) // before initialize: nobody to tell
	time.Sleep(100 * time.Millisecond)
	p.initialize()
	fl.version.Add(1)
	p.want(listChanged)
	fl.version.Add(1)
	p.send(`{"jsonrpc":"2.0","id":1,"method":"tools/list"}`)
	first, second := p.read(), ""
	if first == listChanged { // the tick was faster
		second = p.read()
	}
	if !strings.Contains(first+second, `"id":1,"result"`) {
		t.Errorf("got %.100s, %.100s", first, second)
	}
	p.send(`{"jsonrpc":"2.0","id":2,"method":"ping"}`)
	p.want(`{"jsonrpc":"2.0","id":2,"result":{}}`)
}

func TestStdioEndOfInputWaitsForCalls(t *testing.T) {
	fl := newFleet(ready("s", `{"name":"t"}`))
	sv := fl.servers["s"]
	release := make(chan struct{})
	sv.do = func(c *backends.Call, _ time.Duration) error {
		<-release
		return result(c, `{}`)
	}
	p := serveStdio(t, fl)
	p.initialize()
	p.send(callBody("1", "s__t", "{}"))
	eventually(t, "the call began", func() bool { return len(sv.sent()) == 1 })
	p.in.Close()
	select {
	case err := <-p.done:
		t.Fatalf("ended before its call: %v", err)
	case <-time.After(50 * time.Millisecond):
	}
	close(release)
	p.want(`{"jsonrpc":"2.0","id":1,"result":{}}`)
	if err := p.wait(); err != nil {
		t.Errorf("ServeStdio: %v", err)
	}
}

func TestStdioShutdownGivesCallsABoundedTime(t *testing.T) {
	fl := newFleet(ready("s", `{"name":"t"}`))
	sv := fl.servers["s"]
	sv.do = sv.hang
	p := serveStdio(t, fl, func(f *Front) { f.grace = 50 * time.Millisecond })
	p.initialize()
	p.send(callBody("1", "s__t", "{}"))
	eventually(t, "the call hangs", func() bool { return sv.hanging() == 1 })
	p.end()
	wantRPCError(t, []byte(p.read()), "1", codeClosing, "closing")
	if err := p.wait(); err != nil {
		t.Errorf("ServeStdio: %v", err)
	}
}

func TestStdioEndsWhenNobodyReads(t *testing.T) {
	fl := newFleet(ready("s", `{"name":"t"}`, `{"name":"hang"}`))
	sv := fl.servers["s"]
	sv.do = func(c *backends.Call, d time.Duration) error {
		if c.Tool == "hang" {
			return sv.hang(c, d)
		}
		return result(c, `{}`)
	}
	p := serveStdio(t, fl)
	p.initialize()
	p.send(callBody("1", "s__hang", "{}"))
	eventually(t, "the call hangs", func() bool { return sv.hanging() == 1 })
	p.back.CloseWithError(errors.New("gone"))
	p.send(callBody("2", "s__t", "{}")) // and no further input
	if err := p.wait(); err == nil || !strings.Contains(err.Error(), "cannot write to the client: gone") {
		t.Errorf("ServeStdio: %v", err)
	}
	if sv.hanging() != 0 {
		t.Error("the call goes on without anyone to hear its answer")
	}
}

func TestStdioReadErrorIsTold(t *testing.T) {
	p := serveStdio(t, newFleet())
	p.initialize()
	p.in.CloseWithError(errors.New("broken"))
	if err := p.wait(); err == nil || !strings.Contains(err.Error(), "cannot read from the client: broken") {
		t.Errorf("ServeStdio: %v", err)
	}
}

func TestStdioPanicsAreContained(t *testing.T) {
	fl := newFleet(ready("s", `{"name":"t"}`))
	fl.servers["s"].do = func(*backends.Call, time.Duration) error { panic("ouch") }
	p := serveStdio(t, fl)
	p.initialize()
	p.send(callBody("1", "s__t", "{}"))
	wantRPCError(t, []byte(p.read()), "1", codeInternal, "internal error")
	p.send(progressCall("1", "1"))
	wantRPCError(t, []byte(p.read()), "1", codeInternal, "internal error")
}

// 2025-03-26: "implementations MUST support receiving JSON-RPC batches", over
// whichever transport.
func TestStdioBatches(t *testing.T) {
	fl := newFleet(ready("s", `{"name":"x"}`), ready("hang", `{"name":"x"}`))
	fl.servers["hang"].do = fl.servers["hang"].hang
	const ping = `{"jsonrpc":"2.0","id":"b","method":"ping"}`
	p := serveStdio(t, fl)
	p.send("[" + ping + "]")
	wantRPCError(t, []byte(p.read()), "null", codeInvalidRequest, "batches are not supported")
	p.send(strings.Replace(initializeLine, "2025-06-18", batchVersion, 1))
	p.read()
	for body, code := range map[string]int{`[]`: codeInvalidRequest, `[1,`: codeParse, "[" + strings.Repeat(ping+",", maxBatch) + ping + "]": codeInvalidRequest} {
		p.send(body)
		wantRPCError(t, []byte(p.read()), "null", code, "batch")
	}
	p.send(`[{"jsonrpc":"2.0","method":"notifications/initialized"},{"jsonrpc":"2.0","id":1,"result":{}}]`) // gets no answer
	p.send(`[` + ping + `,7,` + callBody("3", "s__x", `{"a":1}`) + `,` + callBody("4", "hang__x", "{}") + `,` + callBody("5", "s__none", "{}") + `]`)
	eventually(t, "the call hangs", func() bool { return fl.servers["hang"].hanging() == 1 })
	p.send(`{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":4}}`)
	got := p.read()
	for _, want := range []string{
		`[{"jsonrpc":"2.0","id":"b","result":{}},{"jsonrpc":"2.0","id":null,"error":{"code":-32600,`, `,{"jsonrpc":"2.0","id":3,"result":{"content":[]}},{"jsonrpc":"2.0","id":5,"error":{"code":-32602,`,
	} {
		if !strings.Contains(got, want) {
			t.Errorf("%s\nlacks %s", got, want)
		}
	}
	if strings.Contains(got, `"id":4`) {
		t.Errorf("the cancelled call was answered: %s", got)
	}
	p.in.Close()
	if err := p.wait(); err != nil || p.out.Scan() {
		t.Errorf("ended with %v and %q", err, p.out.Text())
	}
}
