package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aabb9013/hangar/bench/driver"
)

// startFloor serves a floor with real children in this process.
func startFloor(t *testing.T, children int) (*floor, string) {
	t.Helper()
	f := &floor{children: make(fleet, children)}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := newHTTPServer(f.serve)
	go server.Serve(listener)
	t.Cleanup(func() {
		listener.Close()
		f.children.close()
	})
	return f, listener.Addr().String()
}

func post(addr, body string) (int, string, error) {
	response, err := http.Post("http://"+addr+"/mcp", "application/json", strings.NewReader(body))
	if err != nil {
		return 0, "", err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	return response.StatusCode, string(text), err
}

// TestFloorAnswersEachCallerWithItsOwn checks ids and contents with a client that shares no code with the floor.
func TestFloorAnswersEachCallerWithItsOwn(t *testing.T) {
	_, addr := startFloor(t, 3)
	var group sync.WaitGroup
	for worker := range 16 {
		group.Go(func() {
			for i := range 30 {
				id := fmt.Sprintf(`"w%d-%d"`, worker, i)
				if i%2 == 0 {
					id = fmt.Sprint(worker*1000 + i)
				}
				text := fmt.Sprintf("text %d %d \n\" é", worker, i) + strings.Repeat("x", i%5*40000)
				quoted, _ := json.Marshal(text)
				message := fmt.Sprintf("{\"jsonrpc\":\"2.0\",\n\"id\":%s,\"method\":\"tools/call\",\"params\":{\"name\":\"s%d__echo\",\"arguments\":{\"text\":%s}}}\n", id, i%3, quoted)
				if i%3 == 0 {
					message = fmt.Sprintf(`{"params":{"arguments":{"text":%s},"name":"s%d__echo"},"method":"tools/call","id":%s,"jsonrpc":"2.0"}`, quoted, i%3, id)
				}
				status, body, err := post(addr, message)
				var answer struct {
					ID     json.RawMessage
					Result struct{ Content []struct{ Text string } }
				}
				if err != nil || status != 200 || json.Unmarshal([]byte(body), &answer) != nil {
					t.Errorf("status %d, %v: %.200s", status, err, body)
					return
				}
				if string(answer.ID) != id || len(answer.Result.Content) != 1 || answer.Result.Content[0].Text != text {
					t.Errorf("id %s, want %s; %.200s", answer.ID, id, body)
				}
			}
		})
	}
	group.Wait()
}

func TestFloorSurvivesTheDriver(t *testing.T) {
	_, addr := startFloor(t, 5)
	for _, payload := range []int{64, 65536, 300000} {
		// How many calls end inside a measured window is the machine's affair; a storm's number is not.
		load := driver.Config{Addr: addr, Servers: 5, InFlight: 12, Payload: payload, Prime: true, Duration: 200 * time.Millisecond}
		if result, err := driver.Run(t.Context(), load); err != nil || result.Errors > 0 {
			t.Errorf("load, %d bytes: %+v, %v", payload, result, err)
		}
		storm := driver.Config{Addr: addr, Servers: 5, InFlight: 1, Payload: payload, Storm: true}
		if result, err := driver.Run(t.Context(), storm); err != nil || result.Errors > 0 || result.Calls != 5 {
			t.Errorf("storm, %d bytes: %+v, %v", payload, result, err)
		}
	}
}

func TestFloorRefusesWhatItCannotDo(t *testing.T) {
	f, addr := startFloor(t, 1)
	for message, want := range map[string]string{
		`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"s1__echo"}}`:            `"code":-32602`,
		`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo"}}`:                `"code":-32602`,
		`{"jsonrpc":"2.0","id":1,"method":"tools/call"}`:                                         `"code":-32602`,
		`{"jsonrpc":"2.0","id":1,"method":"tools/list"}`:                                         `"code":-32601`,
		`{"jsonrpc":"2.0","id":1,`:                                                               `"code":-32700`,
		`{"jsonrpc":"2.0","id":"x","method":"tools/call","params":{"name":"s0__no"}}`:            `"id":"x","error"`,
		`{"jsonrpc":"2.0","id":9,"method":"tools/call","params":{"name":"s0__crash"}}`:           `the child is gone`,
		`{"jsonrpc":"2.0","id":10,"method":"initialize","params":{"protocolVersion":"2025-11"}}`: `"id":10,"result"`,
	} {
		if status, body, err := post(addr, message); err != nil || status != 200 || !strings.Contains(body, want) {
			t.Errorf("%s: status %d, %v, %s; want %s", message, status, err, body, want)
		}
	}
	// s0 crashed above, in some order: a call must be answered, not hang.
	f.children[0].link.Load().close()
	if _, body, err := post(addr, `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"s0__echo"}}`); err != nil || !strings.Contains(body, "the child is gone") {
		t.Errorf("call of a dead child: %v, %s", err, body)
	}
	if status, _, err := post(addr, `{"jsonrpc":"2.0","method":"notifications/initialized"}`); err != nil || status != 202 {
		t.Errorf("notification: status %d, %v", status, err)
	}
}

// TestReaderPutsLinesTogether feeds the reader of a link by hand, cut at every place.
func TestReaderPutsLinesTogether(t *testing.T) {
	long := bytes.Repeat([]byte("y"), largeRead+smallRead)
	for _, cut := range []int{1, 7, 4095, 4096, 4097, 70000} {
		l, out := pipeLink(t)
		var waiting []*call
		var stream []byte
		for n, text := range [][]byte{[]byte("a"), long, []byte("b"), long[:5000], []byte("c")} {
			c := &call{id: fmt.Appendf(nil, `"id-%d"`, n), done: make(chan error, 1)}
			l.pending[uint64(n)] = c
			waiting = append(waiting, c)
			stream = fmt.Appendf(stream, "noise\r\n\n{\"jsonrpc\":\"2.0\",\"id\":%d,\"result\":%q}\n", n, text)
		}
		go l.read()
		go func() {
			for rest := stream; len(rest) > 0; {
				n := min(cut, len(rest))
				if cut == 1 && len(rest) > smallRead && len(rest) < len(stream)-smallRead {
					n = smallRead // byte by byte only at both ends
				}
				out.Write(rest[:n])
				rest = rest[n:]
			}
			out.Close()
		}()
		for n, c := range waiting {
			err := <-c.done
			var reply struct{ ID, Result string }
			if err != nil || json.Unmarshal(c.reply, &reply) != nil || reply.ID != fmt.Sprintf("id-%d", n) {
				t.Fatalf("cut at %d, line %d: %v, %.100s", cut, n, err, c.reply)
			}
		}
	}
}
