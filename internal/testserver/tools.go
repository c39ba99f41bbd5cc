package testserver

import (
	"bytes"
	"encoding/json"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/aabb9013/hangar/internal/testserver/rawjson"
)

const (
	rootsID = `"roots-1"`
	maxBig  = 256 << 20
)

// arguments are those of all tools but echo.
type arguments struct {
	MS      int    `json:"ms"`
	Code    int    `json:"code"`
	Name    string `json:"name"`
	N       int    `json:"n"`
	DelayMS int    `json:"delay_ms"`
	Bytes   int    `json:"bytes"`
	Deaf    bool   `json:"deaf"`
	Base64  []byte `json:"base64"`
}

type tool struct {
	name, description, properties string
}

var builtin = []tool{
	{"echo", "Answers its text.", `"text":{"type":"string"}`},
	{"sleep", "Answers after ms milliseconds, with deaf also when it was cancelled.", `"ms":{"type":"integer"},"deaf":{"type":"boolean"}`},
	{"fail", "Answers a result with isError.", ``},
	{"rpcerror", "Answers a JSON-RPC error.", ``},
	{"crash", "Exits at once with code.", `"code":{"type":"integer"}`},
	{"env", "Answers the value of the environment variable name.", `"name":{"type":"string"}`},
	{"pid", "Answers the process id.", ``},
	{"progress", "Sends n progress notifications, delay_ms apart, then answers.", `"n":{"type":"integer"},"delay_ms":{"type":"integer"}`},
	{"big", "Answers a text of that many bytes.", `"bytes":{"type":"integer"}`},
	{"count", "Answers the number of calls this process has seen, this one included.", ``},
	{"grandchild", "Answers the pid of the grandchild, 0 without one.", ``},
	{"id", "Answers the JSON-RPC id of the call.", ``},
	{"seen", "Answers what came: the number of tools/list, the ids of notifications/cancelled.", ``},
	{"raw", "Writes the bytes of base64 as they are, $ID in them being the id of the call, then answers.", `"base64":{"type":"string"}`},
	{"close", "Closes the stream name, stdin or stdout, lives on and does not answer.", `"name":{"type":"string"}`},
	{"roots", "Answers what the client said to roots/list, null before.", ``},
}

// hints are a tool's annotations: a call of sleep may be made again.
func hints(name string) string {
	if name == "sleep" {
		return `"annotations":{"readOnlyHint":true},`
	}
	return ""
}

// call answers tools/call, and echo without any allocation.
func (s *server) call(id, params []byte) {
	var name, args, meta []byte
	object := rawjson.NewObject(params)
	for {
		key, value, ok := object.Next()
		if !ok {
			break
		}
		switch string(key) {
		case "name":
			name = rawjson.Inner(value)
		case "arguments":
			args = value
		case "_meta":
			meta = value
		}
	}
	s.calls++
	s.alloc()
	switch {
	case s.opts.StallAtCall:
		s.stalled = true
		return
	case s.opts.CrashAfter > 0 && s.calls >= s.opts.CrashAfter:
		os.Exit(4)
	case s.opts.WrongID:
		id = []byte(`"nobody-asked-this"`)
	}
	if string(name) == "echo" {
		text := rawjson.Member(args, "text")
		if rawjson.Inner(text) == nil {
			s.fail(id, invalidParams, "echo needs a string text")
		} else {
			s.text(id, text)
		}
	} else {
		s.slowCall(string(name), id, args, meta)
	}
	if s.opts.ListChanged && !s.added {
		s.added = true
		s.notify("notifications/tools/list_changed", "")
	}
}

// alloc takes memory in steps and writes to every page of it.
func (s *server) alloc() {
	const step = 1 << 20
	for left := s.opts.AllocAtCall; left > 0; left -= step {
		block := make([]byte, min(step, left))
		for i := 0; i < len(block); i += os.Getpagesize() {
			block[i] = 1
		}
		s.kept = append(s.kept, block)
	}
}

func (s *server) slowCall(name string, id, args, meta []byte) {
	var a arguments
	if len(args) > 0 {
		if err := json.Unmarshal(args, &a); err != nil {
			s.fail(id, invalidParams, err.Error())
			return
		}
	}
	switch name {
	case "sleep":
		id := bytes.Clone(id)
		key := string(id)
		if a.Deaf {
			key = "deaf " + key
		}
		s.laterAs(key, time.Duration(a.MS)*time.Millisecond, func() { s.text(id, []byte(`"slept"`)) })
	case "fail":
		s.result(id, `{"content":[{"type":"text","text":"failed as asked"}],"isError":true}`)
	case "rpcerror":
		s.fail(id, -32050, "error as asked")
	case "crash":
		os.Exit(a.Code)
	case "env":
		s.text(id, appendString(nil, os.Getenv(a.Name)))
	case "pid":
		s.number(id, os.Getpid())
	case "progress":
		s.progress(bytes.Clone(id), bytes.Clone(rawjson.Member(meta, "progressToken")), 1, a)
	case "big":
		s.text(id, appendString(nil, strings.Repeat("x", min(max(a.Bytes, 0), maxBig))))
	case "count":
		s.number(id, s.calls)
	case "grandchild":
		s.number(id, s.child)
	case "id":
		s.text(id, appendString(nil, string(id)))
	case "seen":
		seen, err := json.Marshal(map[string]any{"lists": s.lists, "cancelled": s.cancelled})
		if err != nil {
			s.fail(id, invalidParams, err.Error())
			return
		}
		s.text(id, appendString(nil, string(seen)))
	case "raw":
		s.buf = append(s.buf, bytes.ReplaceAll(a.Base64, []byte("$ID"), id)...)
		s.text(id, []byte(`"written"`))
	case "close":
		s.flush()
		if a.Name == "stdin" {
			s.stalled, s.opts.CloseStdin = true, true
		} else {
			s.closeStdout()
		}
	case "roots":
		roots := s.roots
		if roots == nil {
			roots = []byte("null")
		}
		s.text(id, appendString(nil, string(roots)))
	default:
		if !s.offers(name) {
			s.fail(id, invalidParams, "unknown tool: "+name)
			return
		}
		s.text(id, appendString(nil, name))
	}
}

// progress sends notification number i and, after the last, the answer.
func (s *server) progress(id, token []byte, i int, a arguments) {
	if i > a.N {
		s.text(id, []byte(`"done"`))
		return
	}
	s.later(id, time.Duration(a.DelayMS)*time.Millisecond, func() {
		if len(token) > 0 {
			s.notify("notifications/progress", `{"progressToken":`+string(token)+`,"progress":`+strconv.Itoa(i)+`,"total":`+strconv.Itoa(a.N)+`}`)
		}
		s.progress(id, token, i+1, a)
	})
}

// text answers one text content; quoted is a JSON string.
func (s *server) text(id, quoted []byte) {
	s.begin(id)
	s.buf = append(s.buf, `,"result":{"content":[{"type":"text","text":`...)
	s.buf = append(s.buf, quoted...)
	s.buf = append(s.buf, `}]}`...)
	s.end()
}

func (s *server) number(id []byte, n int) { s.text(id, appendString(nil, strconv.Itoa(n))) }

// tools returns how many tools there are; tool returns the one at index i.
func (s *server) tools() int {
	n := len(builtin) + s.opts.Tools
	if s.added {
		n++
	}
	return n
}

func (s *server) tool(i int) tool {
	switch {
	case i < len(builtin):
		return builtin[i]
	case i < len(builtin)+s.opts.Tools:
		return tool{name: "dummy_" + strconv.Itoa(i-len(builtin)), description: "Answers its name."}
	}
	return tool{name: "added", description: "Was added after the first call."}
}

func (s *server) offers(name string) bool {
	for i := range s.tools() {
		if s.tool(i).name == name {
			return true
		}
	}
	return false
}

// list answers tools/list. The cursor is the index of the first tool of the page.
func (s *server) list(id, params []byte) {
	s.lists++
	from := 0
	if cursor := rawjson.Member(params, "cursor"); cursor != nil {
		n, err := strconv.Atoi(string(rawjson.Inner(cursor)))
		if err != nil || n < 0 || n > s.tools() {
			s.fail(id, invalidParams, "unknown cursor")
			return
		}
		from = n
	}
	to := s.tools()
	if s.opts.Page > 0 {
		to = min(to, from+s.opts.Page)
	}
	s.begin(id)
	s.buf = append(s.buf, `,"result":{"tools":[`...)
	for i := from; i < to; i++ {
		if i > from {
			s.buf = append(s.buf, ',')
		}
		t := s.tool(i)
		s.buf = append(s.buf, `{"name":"`+t.name+`","description":"`+t.description+`",`+hints(t.name)+`"inputSchema":{"type":"object","properties":{`+t.properties+`}}}`...)
	}
	s.buf = append(s.buf, ']')
	if to < s.tools() {
		s.buf = append(s.buf, `,"nextCursor":"`+strconv.Itoa(to)+`"`...)
	}
	s.buf = append(s.buf, '}')
	s.end()
}

// initialized does what the options want when the handshake is over.
func (s *server) initialized() {
	if s.opts.ExitAfterInit != nil {
		s.flush()
		os.Exit(*s.opts.ExitAfterInit)
	}
	if s.opts.Roots {
		s.buf = append(s.buf, `{"jsonrpc":"2.0","id":`+rootsID+`,"method":"roots/list"}`+"\n"...)
	}
	s.flush()
	if s.opts.HugeLine > 0 {
		chunk := bytes.Repeat([]byte("x"), min(s.opts.HugeLine, 64<<10))
		for left := s.opts.HugeLine; left > 0; left -= len(chunk) {
			s.write(chunk[:min(left, len(chunk))])
		}
	}
	if s.opts.NotifyFlood > 0 {
		go s.flood()
	}
	if s.opts.CloseStdout {
		s.closeStdout()
	}
	s.stalled = s.opts.NeverRead || s.opts.CloseStdin
}

func (s *server) closeStdout() {
	s.closed = true
	if c, ok := s.out.(io.Closer); ok {
		c.Close()
	}
}

// flood ends with its last notification, or with the process.
func (s *server) flood() {
	began := time.Now()
	for i := range s.opts.NotifyFlood {
		s.mu.Lock()
		switch i % 3 {
		case 0:
			s.notify("notifications/message", `{"level":"info","data":"flood `+strconv.Itoa(i)+`"}`)
		case 1:
			s.notify("notifications/progress", `{"progressToken":"unknown-`+strconv.Itoa(i)+`","progress":1}`)
		case 2:
			s.notify("notifications/tools/list_changed", "")
		}
		if len(s.buf) >= 4<<10 || i == s.opts.NotifyFlood-1 {
			s.flush()
		}
		s.mu.Unlock()
		if rate := s.opts.NotifyRate; rate > 0 && i%50 == 0 {
			time.Sleep(time.Until(began.Add(time.Duration(i) * time.Second / time.Duration(rate))))
		}
	}
}

// disturb makes the noise that comes before the first message.
func (s *server) disturb() {
	if s.opts.Banner {
		s.write([]byte("\xef\xbb\xbfStarting server v1.0\n\x1b[1;36m=== ready ===\x1b[0m\r\n\n   \n\r\n{not json}\nlistening on stdio\n"))
	}
	for i := range s.opts.StderrLines {
		io.WriteString(s.errw, "testserver: stderr line "+strconv.Itoa(i)+"\n")
	}
	if s.opts.StderrBytes > 0 {
		go func() {
			line := strings.Repeat("e", 99) + "\n"
			chunk := []byte(strings.Repeat(line, 320))
			for left := s.opts.StderrBytes; left > 0; left -= len(chunk) {
				s.errw.Write(chunk[:min(left, len(chunk))])
			}
		}()
	}
}
