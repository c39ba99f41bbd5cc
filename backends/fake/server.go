package fake

import (
	"bytes"
	"io"
	"strconv"
	"sync"
	"time"

	"github.com/aabb9013/hangar/backends"
	"github.com/aabb9013/hangar/internal/jsonrpc"
)

const (
	invalidRequest = -32600
	methodNotFound = -32601
	invalidParams  = -32602
	notInitialized = -32002
)

type phase int

const (
	fresh phase = iota
	greeted
	operating
)

// server is the far side of the pipes: what would be the process. Nothing waits
// while it holds mu; stdout takes everything.
type server struct {
	script Script
	stdin  *pipe
	stdout *pipe
	ended  chan struct{} // closed when the server is gone
	exit   backends.Exit // valid once ended is closed

	mu      sync.Mutex
	gone    bool
	frozen  bool
	waiting []func() // what the server would have done, had it not been frozen
	timers  map[*time.Timer]struct{}
	pending map[string]*time.Timer // by the raw id: requests that are answered later
	phase   phase
	ready   bool // the last page of tools/list was answered
	calls   int
	added   bool
	answer  string // to the last question of Script.Ask
	out     []byte
}

func newServer(script Script) *server {
	chunk := 0
	if script.ByteAtATime {
		chunk = 1
	}
	return &server{
		script: script, stdin: newPipe(pipeSize, 0), stdout: newPipe(0, chunk), ended: make(chan struct{}),
		timers: make(map[*time.Timer]struct{}), pending: make(map[string]*time.Timer),
	}
}

// run is the server's goroutine.
func (s *server) run() {
	s.do(func() {
		if s.script.RunFor > 0 {
			s.after(s.script.RunFor, func() { s.die(s.script.ExitCode, "") })
		}
		if s.script.Banner {
			s.out = append(s.out, "\xef\xbb\xbfStarting server v1.0\n\x1b[1;36m=== ready ===\x1b[0m\r\n\n   \n\r\n{not json}\nlistening on stdio\n"...)
		}
	})
	chunk := make([]byte, 4<<10)
	var line []byte
	for {
		n, err := s.stdin.Read(chunk)
		line = append(line, chunk[:n]...)
		for {
			end := bytes.IndexByte(line, '\n')
			if end < 0 {
				break
			}
			whole := bytes.Clone(line[:end])
			line = line[end+1:]
			s.do(func() { s.handle(whole) })
		}
		if s.deaf() {
			<-s.ended
			return
		}
		if err == io.EOF && !s.script.IgnoreEOF && !s.script.IgnoreStop {
			s.do(func() { s.after(s.script.StopDelay, func() { s.die(0, "") }) })
		}
		if err != nil {
			<-s.ended
			return
		}
	}
}

// deaf tells whether the server has stopped reading for good.
func (s *server) deaf() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ready && (s.script.NeverRead || s.script.CloseStdin)
}

// do runs f as the server, now or when it is thawed, and then writes what f had
// to say.
func (s *server) do(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.gone:
	case s.frozen:
		s.waiting = append(s.waiting, f)
	default:
		f()
		s.flush()
	}
}

func (s *server) flush() {
	if len(s.out) > 0 {
		s.stdout.TryWrite(s.out)
		s.out = s.out[:0]
	}
}

// after runs f as the server after d; at once if d is zero.
func (s *server) after(d time.Duration, f func()) *time.Timer {
	if d <= 0 {
		f()
		return nil
	}
	var timer *time.Timer
	timer = time.AfterFunc(d, func() {
		s.do(func() {
			if _, live := s.timers[timer]; live {
				delete(s.timers, timer)
				f()
			}
		})
	})
	s.timers[timer] = struct{}{}
	return timer
}

// later runs answer after d unless the request is cancelled before.
func (s *server) later(id []byte, d time.Duration, answer func()) {
	key := string(id)
	timer := s.after(d, func() {
		delete(s.pending, key)
		answer()
	})
	if timer != nil {
		s.pending[key] = timer
	}
}

// die ends the server; the holder of mu calls it. What it wrote can still be
// read.
func (s *server) die(code int, signal string) {
	if s.gone {
		return
	}
	s.flush()
	s.gone, s.waiting = true, nil
	for timer := range s.timers {
		timer.Stop()
	}
	clear(s.timers)
	clear(s.pending)
	s.exit = backends.Exit{Code: code, Signal: signal}
	s.stdout.close()
	s.stdin.abandon()
	close(s.ended)
}

func (s *server) freeze(frozen bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.gone {
		return
	}
	s.frozen = frozen
	s.stdin.set(func() { s.stdin.frozen = frozen })
	for !s.frozen && len(s.waiting) > 0 && !s.gone {
		next := s.waiting[0]
		s.waiting = s.waiting[1:]
		next()
		s.flush()
	}
}

// handle answers one line of input.
func (s *server) handle(line []byte) {
	var env jsonrpc.Envelope
	if err := jsonrpc.Scan(line, jsonrpc.Limits{}, &env); err != nil {
		s.fail([]byte("null"), invalidRequest, err.Error())
		return
	}
	method, _ := jsonrpc.Unquote(env.Method.Of(line))
	switch env.Kind {
	case jsonrpc.Notification:
		s.notified(string(method), line, &env)
	case jsonrpc.Request:
		s.request(env.ID.Of(line), string(method), line, &env)
	case jsonrpc.Response:
		s.answer = string(env.Result.Of(line))
	case jsonrpc.ErrorResponse:
		s.answer = string(env.Error.Of(line))
	}
}

func (s *server) request(id []byte, method string, line []byte, env *jsonrpc.Envelope) {
	if s.script.Silent && s.ready {
		return
	}
	switch {
	case method == "ping":
		s.result(id, "{}")
	case method == "initialize":
		s.initialize(id)
	case method != "tools/call" && method != "tools/list":
		s.fail(id, methodNotFound, "method not found")
	case s.phase != operating:
		s.fail(id, notInitialized, "not initialized")
	case method == "tools/call":
		s.call(id, line, env)
	default:
		s.list(id, env.Params.Of(line))
	}
}

func (s *server) initialize(id []byte) {
	switch {
	case s.phase != fresh:
		s.fail(id, invalidRequest, "initialized already")
		return
	case s.script.InitCrash:
		s.die(s.script.ExitCode, "")
		return
	case s.script.InitHang:
		return
	}
	version := backends.ProtocolVersions[0]
	if s.script.BadVersion != "" {
		version = s.script.BadVersion
	}
	s.later(id, s.script.InitDelay, func() {
		s.phase = greeted
		s.result(id, `{"protocolVersion":"`+version+`","capabilities":{"tools":{"listChanged":true}},`+
			`"serverInfo":{"name":"hangar-fake","version":"1.0.0"},"_meta":{"fake/kept":[1, 2]}}`)
	})
}

func (s *server) notified(method string, line []byte, env *jsonrpc.Envelope) {
	switch method {
	case "notifications/initialized":
		if s.phase == greeted {
			s.phase = operating
			s.initialized()
		}
	case "notifications/cancelled":
		key := string(env.RequestID.Of(line))
		if timer := s.pending[key]; timer != nil {
			timer.Stop()
			delete(s.timers, timer)
			delete(s.pending, key)
		}
	}
}

// initialized does what the script wants when the handshake is over.
func (s *server) initialized() {
	if s.script.ExitAfterInit {
		s.die(s.script.ExitCode, "")
		return
	}
	for i, method := range s.script.Ask {
		s.out = append(s.out, `{"jsonrpc":"2.0","id":"ask-`+strconv.Itoa(i)+`","method":"`+method+`"}`+"\n"...)
	}
	s.out = append(s.out, bytes.Repeat([]byte("noise, no JSON\n"), s.script.Noise)...)
	s.out = append(s.out, bytes.Repeat([]byte("x"), s.script.HugeLine)...)
	for i := range s.script.NotifyFlood {
		switch i % 3 {
		case 0:
			s.notify("notifications/message", `{"level":"info","data":"flood `+strconv.Itoa(i)+`"}`)
		case 1:
			s.notify("notifications/progress", `{"progressToken":"unknown-`+strconv.Itoa(i)+`","progress":1}`)
		case 2:
			s.notify("notifications/tools/list_changed", "")
		}
	}
}

// handshaken does what the script wants when the tools are told.
func (s *server) handshaken() {
	s.ready = true
	if s.script.CloseStdout {
		s.flush()
		s.stdout.close()
	}
	if s.script.CloseStdin {
		s.stdin.abandon()
	}
}
