package fake

import (
	"bytes"
	"encoding/json"
	"strconv"
	"strings"
	"time"

	"github.com/aabb9013/hangar/internal/jsonrpc"
)

// maxBig bounds the answer of tool big.
const maxBig = 256 << 20

// arguments are those of all tools but echo.
type arguments struct {
	MS      int `json:"ms"`
	Code    int `json:"code"`
	N       int `json:"n"`
	DelayMS int `json:"delay_ms"`
	Bytes   int `json:"bytes"`
}

type tool struct {
	name, description, properties string
}

var builtin = []tool{
	{"echo", "Answers its text.", `"text":{"type":"string"}`},
	{"sleep", "Answers after ms milliseconds.", `"ms":{"type":"integer"}`},
	{"fail", "Answers a result with isError.", ``},
	{"rpcerror", "Answers a JSON-RPC error.", ``},
	{"crash", "Exits at once with code.", `"code":{"type":"integer"}`},
	{"progress", "Sends n progress notifications, delay_ms apart, then answers.", `"n":{"type":"integer"},"delay_ms":{"type":"integer"}`},
	{"big", "Answers a text of that many bytes.", `"bytes":{"type":"integer"}`},
	{"count", "Answers the number of calls this instance has seen, this one included.", ``},
	{"roots", "Answers what the client said to the last question, null before.", ``},
}

// hints are a tool's annotations: a call of sleep may be made again.
func hints(name string) string {
	if name == "sleep" {
		return `"annotations":{"readOnlyHint":true},`
	}
	return ""
}

// call answers tools/call.
func (s *server) call(id, line []byte, env *jsonrpc.Envelope) {
	s.calls++
	count := s.calls
	if s.script.CrashAfter > 0 && count >= s.script.CrashAfter {
		s.die(s.script.ExitCode, "")
		return
	}
	if s.script.ListChanged && !s.added {
		s.added = true
		defer s.notify("notifications/tools/list_changed", "")
	}
	key := id
	if s.script.WrongID {
		id = []byte(`"nobody-asked-this"`)
	}
	var a arguments
	args := env.Arguments.Of(line)
	name, _ := jsonrpc.Unquote(env.Name.Of(line))
	if string(name) != "echo" && len(args) > 0 {
		if err := json.Unmarshal(args, &a); err != nil {
			s.fail(id, invalidParams, err.Error())
			return
		}
	}
	s.later(key, s.script.CallDelay, func() {
		switch string(name) {
		case "echo":
			s.echo(id, args)
		case "sleep":
			s.later(key, time.Duration(a.MS)*time.Millisecond, func() { s.text(id, "slept") })
		case "progress":
			s.progress(key, id, env.ProgressToken.Of(line), 1, a)
		case "crash":
			s.die(a.Code, "")
		case "fail":
			s.result(id, `{"content":[{"type":"text","text":"failed as asked"}],"isError":true}`)
		case "rpcerror":
			s.fail(id, -32050, "error as asked")
		case "big":
			s.text(id, strings.Repeat("x", min(max(a.Bytes, 0), maxBig)))
		case "count":
			s.text(id, strconv.Itoa(count))
		case "roots":
			s.text(id, s.said())
		default:
			if !s.offers(string(name)) {
				s.fail(id, invalidParams, "unknown tool: "+string(name))
				return
			}
			s.text(id, string(name))
		}
	})
}

func (s *server) echo(id, args []byte) {
	var a struct {
		Text *json.RawMessage `json:"text"`
	}
	if err := json.Unmarshal(args, &a); err != nil || a.Text == nil || !bytes.HasPrefix(*a.Text, []byte(`"`)) {
		s.fail(id, invalidParams, "echo needs a string text")
		return
	}
	s.quoted(id, *a.Text)
}

func (s *server) said() string {
	if s.answer == "" {
		return "null"
	}
	return s.answer
}

// progress sends notification number i and, after the last, the answer.
func (s *server) progress(key, id, token []byte, i int, a arguments) {
	if i > a.N {
		s.text(id, "done")
		return
	}
	s.later(key, time.Duration(a.DelayMS)*time.Millisecond, func() {
		if len(token) > 0 {
			s.notify("notifications/progress", `{"progressToken":`+string(token)+`,"progress":`+strconv.Itoa(i)+`,"total":`+strconv.Itoa(a.N)+`}`)
		}
		s.progress(key, id, token, i+1, a)
	})
}

// tools returns everything the server offers now.
func (s *server) tools() []tool {
	all := builtin[:len(builtin):len(builtin)]
	for _, name := range s.script.Tools {
		all = append(all, tool{name: name, description: "Answers its name."})
	}
	if s.added {
		all = append(all, tool{name: "added", description: "Was added after the first call."})
	}
	return all
}

func (s *server) offers(name string) bool {
	for _, t := range s.tools() {
		if t.name == name {
			return true
		}
	}
	return false
}

// list answers tools/list. The cursor is the index of the first tool of the page.
func (s *server) list(id, params []byte) {
	var p struct {
		Cursor string `json:"cursor"`
	}
	if len(params) > 0 && json.Unmarshal(params, &p) != nil {
		s.fail(id, invalidParams, "params of tools/list")
		return
	}
	tools := s.tools()
	from := 0
	if p.Cursor != "" {
		n, err := strconv.Atoi(p.Cursor)
		if err != nil || n < 0 || n > len(tools) {
			s.fail(id, invalidParams, "unknown cursor")
			return
		}
		from = n
	}
	to := len(tools)
	if s.script.Page > 0 {
		to = min(to, from+s.script.Page)
	}
	var b strings.Builder
	b.WriteString(`{"tools":[`)
	for i, t := range tools[from:to] {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(`{"name":` + quote(t.name) + `,"description":"` + t.description + `",` + hints(t.name) +
			`"inputSchema":{"type":"object","properties":{` + t.properties + `}},"_meta":{"fake/kept":[1, 2]}}`)
	}
	b.WriteByte(']')
	if to < len(tools) {
		b.WriteString(`,"nextCursor":"` + strconv.Itoa(to) + `"`)
	}
	b.WriteByte('}')
	s.result(id, b.String())
	if to == len(tools) && !s.ready {
		s.handshaken()
	}
}

// text answers one text content.
func (s *server) text(id []byte, text string) { s.quoted(id, []byte(quote(text))) }

func (s *server) quoted(id, text []byte) {
	s.result(id, `{"content":[{"type":"text","text":`+string(text)+`}]}`)
}

func (s *server) result(id []byte, result string) { s.say(id, `,"result":`+result) }

func (s *server) fail(id []byte, code int, message string) {
	s.say(id, `,"error":{"code":`+strconv.Itoa(code)+`,"message":`+quote(message)+`}`)
}

// say writes one answer.
func (s *server) say(id []byte, rest string) {
	if s.script.Banner {
		s.out = append(s.out, "[info] handling a request\r\n\n\x1b[32mok\x1b[0m\n"...)
	}
	times := 1
	if s.script.DupID {
		times = 2
	}
	for range times {
		s.out = append(s.out, `{"jsonrpc":"2.0","id":`...)
		s.out = append(s.out, id...)
		s.out = append(s.out, rest...)
		s.out = append(s.out, "}\n"...)
	}
}

func (s *server) notify(method, params string) {
	s.out = append(s.out, `{"jsonrpc":"2.0","method":"`+method+`"`...)
	if params != "" {
		s.out = append(s.out, `,"params":`+params...)
	}
	s.out = append(s.out, "}\n"...)
}

func quote(text string) string { return string(jsonrpc.AppendString(nil, []byte(text))) }
