package driver

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"

	"github.com/aabb9013/hangar/internal/testserver/rawjson"
)

const (
	protocolVersion = "2025-11-25"
	maxBody         = 64 << 20
)

// client is one keep-alive connection and the MCP session on it. It is a hand-written HTTP/1.1 client, because the
// driver shares its processors with what it measures.
type client struct {
	addr     string
	deadline time.Time
	conn     net.Conn
	header   []byte // of every request, up to the value of Content-Length
	out      []byte
	in       []byte
	begin    int
	end      int
	chunks   []byte
	session  string
	closing  bool // the server said that it closes the connection
}

type response struct {
	status int
	body   []byte // until the next request
	sse    bool
}

func dial(addr string, deadline time.Time) (*client, error) {
	conn, err := net.DialTimeout("tcp", addr, 5*time.Second)
	if err != nil {
		return nil, err
	}
	// One deadline for the whole run: setting one per request costs more than it tells.
	if err := conn.SetDeadline(deadline); err != nil {
		conn.Close()
		return nil, err
	}
	c := &client{addr: addr, deadline: deadline, conn: conn, in: make([]byte, 4<<10)}
	c.prepare()
	return c, nil
}

func (c *client) close() { c.conn.Close() }

func (c *client) prepare() {
	text := "POST /mcp HTTP/1.1\r\nHost: " + c.addr + "\r\nContent-Type: application/json\r\nAccept: application/json, text/event-stream\r\n"
	if c.session != "" {
		text += "Mcp-Session-Id: " + c.session + "\r\nMCP-Protocol-Version: " + protocolVersion + "\r\n"
	}
	c.header = []byte(text + "Content-Length: ")
}

// open makes an MCP session, when the server wants one.
func (c *client) open() error {
	r, err := c.post([]byte(`{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"` + protocolVersion +
		`","capabilities":{},"clientInfo":{"name":"hangar-bench","version":"1"}}}`))
	if err != nil {
		return err
	}
	if r.status != 200 {
		return fmt.Errorf("initialize: status %d: %.200s", r.status, r.body)
	}
	if c.session == "" {
		return nil
	}
	c.prepare()
	r, err = c.post([]byte(`{"jsonrpc":"2.0","method":"notifications/initialized"}`))
	if err != nil {
		return err
	}
	if r.status != 200 && r.status != 202 {
		return fmt.Errorf("notifications/initialized: status %d: %.200s", r.status, r.body)
	}
	return nil
}

// post sends one message and reads the response to it.
func (c *client) post(body []byte) (response, error) {
	c.out = append(c.out[:0], c.header...)
	c.out = strconv.AppendInt(c.out, int64(len(body)), 10)
	c.out = append(c.out, "\r\n\r\n"...)
	c.out = append(c.out, body...)
	if _, err := c.conn.Write(c.out); err != nil {
		return response{}, err
	}
	return c.read()
}

func (c *client) read() (response, error) {
	head, err := c.until("\r\n\r\n")
	if err != nil {
		return response{}, err
	}
	var r response
	if len(head) < 12 || string(head[:5]) != "HTTP/" {
		return r, fmt.Errorf("no HTTP response: %.80q", head)
	}
	if r.status, err = strconv.Atoi(string(head[9:12])); err != nil {
		return r, err
	}
	length, chunked := 0, false
	for lines := head; len(lines) > 0; {
		line := lines
		if n := bytes.IndexByte(lines, '\n'); n >= 0 {
			line, lines = lines[:n], lines[n+1:]
		} else {
			lines = nil
		}
		colon := bytes.IndexByte(line, ':')
		if colon < 0 {
			continue
		}
		name, value := line[:colon], bytes.TrimSpace(line[colon+1:])
		switch len(name) { // most names differ in their length: few comparisons are made
		case len("Content-Length"): // and Mcp-Session-Id
			if bytes.EqualFold(name, []byte("Content-Length")) {
				if length, err = strconv.Atoi(string(value)); err != nil || length < 0 || length > maxBody {
					return r, fmt.Errorf("content length %q", value)
				}
			} else if bytes.EqualFold(name, []byte("Mcp-Session-Id")) && c.session == "" {
				c.session = string(value)
			}
		case len("Content-Type"):
			if bytes.EqualFold(name, []byte("Content-Type")) {
				r.sse = bytes.HasPrefix(value, []byte("text/event-stream"))
			}
		case len("Transfer-Encoding"):
			if bytes.EqualFold(name, []byte("Transfer-Encoding")) {
				chunked = bytes.EqualFold(value, []byte("chunked"))
			}
		case len("Connection"):
			if bytes.EqualFold(name, []byte("Connection")) {
				c.closing = bytes.EqualFold(value, []byte("close"))
			}
		}
	}
	if chunked {
		r.body, err = c.readChunks()
	} else {
		r.body, err = c.take(length)
	}
	return r, err
}

func (c *client) readChunks() ([]byte, error) {
	c.chunks = c.chunks[:0]
	for len(c.chunks) < maxBody {
		line, err := c.until("\r\n")
		if err != nil {
			return nil, err
		}
		size, err := strconv.ParseUint(string(bytes.TrimSpace(line)), 16, 31)
		if err != nil {
			return nil, err
		}
		chunk, err := c.take(int(size) + 2)
		if err != nil {
			return nil, err
		}
		if size == 0 {
			return c.chunks, nil
		}
		c.chunks = append(c.chunks, chunk[:size]...)
	}
	return nil, errors.New("body too large")
}

// until returns what comes before the delimiter and steps over both. The result is good until the next read.
func (c *client) until(delimiter string) ([]byte, error) {
	for from := c.begin; ; {
		if n := bytes.Index(c.in[from:c.end], []byte(delimiter)); n >= 0 {
			text := c.in[c.begin : from+n]
			c.begin = from + n + len(delimiter)
			return text, nil
		}
		from = max(c.begin, c.end-len(delimiter)+1)
		shift, err := c.fill(c.end - c.begin + 1)
		if err != nil {
			return nil, err
		}
		from -= shift
	}
}

// take returns the next n bytes, good until the next read.
func (c *client) take(n int) ([]byte, error) {
	for c.end-c.begin < n {
		if _, err := c.fill(n); err != nil {
			return nil, err
		}
	}
	body := c.in[c.begin : c.begin+n]
	c.begin += n
	return body, nil
}

// fill reads more, after making room for need bytes from begin on. It returns by how much it moved what was there.
func (c *client) fill(need int) (shift int, err error) {
	if c.begin == c.end || c.begin+need > len(c.in) {
		shift = c.begin
		target := c.in
		if need > len(c.in) {
			target = make([]byte, need+4<<10) // with room for the next header
		}
		c.end = copy(target, c.in[c.begin:c.end])
		c.in, c.begin = target, 0
	}
	n, err := c.conn.Read(c.in[c.end:])
	c.end += n
	if n > 0 {
		return shift, nil
	}
	return shift, err
}

// message returns the JSON-RPC answer in a response: the body, or the event of a stream that is an answer.
func (r response) message() []byte {
	if !r.sse {
		return r.body
	}
	for line := range bytes.Lines(r.body) {
		if data, ok := bytes.CutPrefix(line, []byte("data:")); ok {
			if data = bytes.TrimSpace(data); rawjson.Member(data, "id") != nil && rawjson.Member(data, "method") == nil {
				return data
			}
		}
	}
	return nil
}

// verify checks that an answer belongs to the request with this id and echoes its text.
func verify(message, id, text []byte) error {
	var gotID, result []byte
	object := rawjson.NewObject(message)
	for {
		key, value, ok := object.Next()
		if !ok {
			break
		}
		switch string(key) {
		case "id":
			gotID = value
		case "result":
			result = value
		}
	}
	switch {
	case !object.Complete():
		return fmt.Errorf("no JSON object: %.200q", message)
	case !bytes.Equal(gotID, id):
		return fmt.Errorf("wrong id: got %.40s, want %s", gotID, id)
	case result == nil:
		return fmt.Errorf("no result: %.300s", message)
	}
	got := rawjson.Inner(rawjson.Member(rawjson.First(rawjson.Member(result, "content")), "text"))
	if !bytes.Equal(got, text) {
		return fmt.Errorf("wrong content: got %.60q (%d bytes), want %.60q (%d bytes)", got, len(got), text, len(text))
	}
	return nil
}
