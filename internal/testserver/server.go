package testserver

import (
	"bytes"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/aabb9013/hangar/internal/testserver/rawjson"
)

const (
	readSize   = 4 << 10   // enough for hundreds of small calls, small enough for hundreds of servers
	keepSize   = 1 << 20   // larger buffers are given back after use
	flushSize  = 32 << 10  // answers are written at the end of a burst of input, or when this much has gathered
	maxMessage = 256 << 20 // a longer line of input is a bug of the peer

	readyFD = 3 // what a grandchild closes when it has set up its signals

	parseError     = -32700
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

// server is one connection. The reader holds mu while it works through a burst of lines; whatever answers later
// (timers) takes it for itself. Everything below mu is guarded by it.
type server struct {
	opts  Options
	errw  io.Writer
	child int // pid of the grandchild

	mu      sync.Mutex
	out     io.Writer
	buf     []byte // written to out at the end of the burst
	start   int    // offset in buf of the answer being built
	closed  bool
	stalled bool
	phase   phase
	calls   int
	added   bool
	roots   []byte
	kept    [][]byte               // memory that AllocAtCall took
	pending map[string]*time.Timer // by the raw id: calls that answer later

	lists     int      // tools/list that came
	cancelled []string // ids of notifications/cancelled
}

func newServer(out, errw io.Writer, opts Options) *server {
	return &server{opts: opts, errw: errw, out: out, buf: make([]byte, 0, 1024)}
}

// serve reads lines until the end of in. Answers are written when no complete line is left.
func (s *server) serve(in io.Reader) int {
	buf := make([]byte, readSize)
	begin, end := 0, 0
	for {
		n, err := in.Read(buf[end:])
		unseen := end
		end += n
		if n > 0 && bytes.IndexByte(buf[unseen:end], '\n') >= 0 {
			s.mu.Lock()
			for {
				newline := bytes.IndexByte(buf[unseen:end], '\n')
				if newline < 0 {
					break
				}
				s.handle(buf[begin : unseen+newline])
				begin = unseen + newline + 1
				unseen = begin
				if s.stalled {
					s.flush()
					s.mu.Unlock()
					if c, ok := in.(io.Closer); ok && s.opts.CloseStdin {
						c.Close()
					}
					hold()
					return 0
				}
			}
			s.flush()
			s.mu.Unlock()
		}
		switch {
		case err != nil:
			if s.opts.IgnoreEOF {
				hold()
			}
			return 0
		case begin == end:
			begin, end = 0, 0
			if len(buf) > keepSize {
				buf = make([]byte, readSize)
			}
		case end == len(buf) && begin > 0:
			end = copy(buf, buf[begin:end])
			begin = 0
		case end == len(buf):
			if len(buf) >= maxMessage {
				return 1
			}
			larger := make([]byte, 2*len(buf))
			copy(larger, buf[:end])
			buf = larger
		}
	}
}

// handle answers one line of input.
func (s *server) handle(line []byte) {
	if len(line) == 0 || (len(line) == 1 && line[0] == '\r') {
		return
	}
	var id, method, params, version []byte
	answer := false
	message := rawjson.NewObject(line)
	for {
		key, value, ok := message.Next()
		if !ok {
			break
		}
		switch string(key) {
		case "jsonrpc":
			version = value
		case "id":
			id = value
		case "method":
			method = rawjson.Inner(value)
		case "params":
			params = value
		case "result", "error":
			answer = true
			if string(id) == rootsID {
				s.roots = append([]byte(nil), value...)
			}
		}
	}
	switch {
	case !message.Complete():
		code := parseError
		if json.Valid(line) {
			code = invalidRequest // a batch, or no object at all
		}
		s.fail([]byte("null"), code, "not one JSON-RPC message")
	case string(version) != `"2.0"`:
		if id == nil {
			id = []byte("null")
		}
		s.fail(id, invalidRequest, "jsonrpc is not 2.0")
	case method == nil && answer: // to a question of ours
	case method == nil:
		s.fail([]byte("null"), invalidRequest, "neither a request nor an answer")
	case id == nil:
		s.notified(method, params)
	default:
		s.request(id, method, params)
	}
}

func (s *server) request(id, method, params []byte) {
	switch string(method) {
	case "tools/call":
		if s.phase == operating {
			s.call(id, params)
			return
		}
	case "tools/list":
		if s.phase == operating {
			s.list(id, params)
			return
		}
	case "ping":
		s.result(id, "{}")
		return
	case "initialize":
		s.initialize(id, params)
		return
	default:
		s.fail(id, methodNotFound, "method not found")
		return
	}
	s.fail(id, notInitialized, "not initialized")
}

func (s *server) initialize(id, params []byte) {
	switch {
	case s.phase != fresh:
		s.fail(id, invalidRequest, "initialized already")
		return
	case s.opts.InitCrash:
		os.Exit(3)
	case s.opts.InitHang:
		return
	}
	version := "2025-11-25"
	switch asked := string(rawjson.Inner(rawjson.Member(params, "protocolVersion"))); asked {
	case "2024-11-05", "2025-03-26", "2025-06-18":
		version = asked
	}
	if s.opts.InitBadVersion {
		version = "1999-01-01"
	}
	answer := `{"protocolVersion":"` + version + `","capabilities":{"tools":{"listChanged":true}},"serverInfo":{"name":"hangar-testserver","version":"1.0.0"}}`
	if s.opts.InitDelay == 0 {
		s.phase = greeted
		s.result(id, answer)
		return
	}
	id = bytes.Clone(id)
	s.later(id, s.opts.InitDelay, func() {
		s.phase = greeted
		s.result(id, answer)
	})
}

func (s *server) notified(method, params []byte) {
	switch string(method) {
	case "notifications/initialized":
		if s.phase == greeted {
			s.phase = operating
			s.initialized()
		}
	case "notifications/cancelled":
		id := string(rawjson.Member(params, "requestId"))
		s.cancelled = append(s.cancelled, id)
		if timer := s.pending[id]; timer != nil {
			timer.Stop()
			delete(s.pending, id)
		}
	}
}

// later runs answer after d unless the request is cancelled before. The answer must not use the line of the request,
// whose memory is overwritten by then.
func (s *server) later(id []byte, d time.Duration, answer func()) { s.laterAs(string(id), d, answer) }

func (s *server) laterAs(key string, d time.Duration, answer func()) {
	if s.pending == nil {
		s.pending = make(map[string]*time.Timer)
	}
	var timer *time.Timer
	timer = time.AfterFunc(d, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.pending[key] != timer {
			return
		}
		delete(s.pending, key)
		answer()
		s.flush()
	})
	s.pending[key] = timer
}

// begin starts an answer in buf: everything up to the id.
func (s *server) begin(id []byte) {
	if s.opts.Banner {
		s.buf = append(s.buf, "[info] handling a request\r\n\n\x1b[32mok\x1b[0m\n"...)
	}
	s.start = len(s.buf)
	s.buf = append(s.buf, `{"jsonrpc":"2.0","id":`...)
	s.buf = append(s.buf, id...)
}

// end closes the answer that begin started.
func (s *server) end() {
	s.buf = append(s.buf, '}', '\n')
	if s.opts.DupID {
		s.buf = append(s.buf, s.buf[s.start:]...)
	}
	if len(s.buf) >= flushSize {
		s.flush()
	}
}

func (s *server) result(id []byte, result string) {
	s.begin(id)
	s.buf = append(s.buf, `,"result":`...)
	s.buf = append(s.buf, result...)
	s.end()
}

func (s *server) fail(id []byte, code int, message string) {
	s.begin(id)
	s.buf = append(s.buf, `,"error":{"code":`...)
	s.buf = strconv.AppendInt(s.buf, int64(code), 10)
	s.buf = append(s.buf, `,"message":`...)
	s.buf = appendString(s.buf, message)
	s.buf = append(s.buf, '}')
	s.end()
}

func (s *server) notify(method, params string) {
	s.buf = append(s.buf, `{"jsonrpc":"2.0","method":"`...)
	s.buf = append(s.buf, method...)
	s.buf = append(s.buf, '"')
	if params != "" {
		s.buf = append(s.buf, `,"params":`...)
		s.buf = append(s.buf, params...)
	}
	s.buf = append(s.buf, '}', '\n')
}

func (s *server) flush() {
	if len(s.buf) == 0 {
		return
	}
	if !s.closed {
		s.write(s.buf)
	}
	s.buf = s.buf[:0]
	if cap(s.buf) > keepSize {
		s.buf = nil
	}
}

// write ignores errors: a peer that closed our stdout also closes stdin, or kills us.
func (s *server) write(p []byte) {
	if !s.opts.ByteAtATime {
		s.out.Write(p)
		return
	}
	for i := range p {
		s.out.Write(p[i : i+1])
	}
}

func (s *server) startGrandchild() error {
	up, ready, err := os.Pipe()
	if err != nil {
		return err
	}
	defer up.Close()
	command, _ := Command("-hold", "-ignore-term="+strconv.FormatBool(s.opts.IgnoreTerm))
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Env = []string{EnvKey + "=1"}
	if !s.opts.CleanEnv {
		cmd.Env = append(os.Environ(), cmd.Env...)
	}
	cmd.Stdout = os.Stdout
	cmd.ExtraFiles = []*os.File{ready} // becomes readyFD
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	err = cmd.Start()
	ready.Close()
	if err != nil {
		return err
	}
	s.child = cmd.Process.Pid
	_, err = io.Copy(io.Discard, up)
	return err
}

// pollable returns stdin so that a waiting read parks in the poller instead of holding a thread, where it is a pipe of
// our own. Other kinds of files keep their mode, which they may share with another process.
func pollable(stdin *os.File) io.Reader {
	info, err := stdin.Stat()
	if err != nil || info.Mode()&os.ModeNamedPipe == 0 {
		return stdin
	}
	if err := syscall.SetNonblock(0, true); err != nil {
		return stdin
	}
	return os.NewFile(0, "stdin")
}

func appendString(b []byte, text string) []byte {
	quoted, err := json.Marshal(text)
	if err != nil {
		return append(b, `""`...)
	}
	return append(b, quoted...)
}
