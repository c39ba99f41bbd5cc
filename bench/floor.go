package main

import (
	"bytes"
	"strconv"

	"github.com/aabb9013/hangar/internal/testserver/rawjson"
	"github.com/valyala/fasthttp"
)

// floor is the cheapest thing that could be called a gateway: fasthttp, pipes, and the rewriting of ids and tool names.
// It has no limits, time-outs, policy, log, health or restarts. What a real gateway costs more is the price of those.
type floor struct {
	children fleet
}

var (
	pathMCP   = []byte("/mcp")
	pathReady = []byte("/health/ready")
	separator = []byte("__")
)

func (f *floor) serve(ctx *fasthttp.RequestCtx) {
	if bytes.Equal(ctx.Path(), pathReady) {
		return
	}
	if !bytes.Equal(ctx.Path(), pathMCP) || !ctx.IsPost() {
		ctx.SetStatusCode(fasthttp.StatusNotFound)
		return
	}
	body := ctx.PostBody()
	var id, method []byte
	var idStart, idEnd, paramsStart, paramsEnd int
	message := rawjson.NewObject(body)
	for {
		key, value, ok := message.Next()
		if !ok {
			break
		}
		switch string(key) {
		case "id":
			id = value
			idStart, idEnd = message.Span()
		case "method":
			method = rawjson.Inner(value)
		case "params":
			paramsStart, paramsEnd = message.Span()
		}
	}
	switch {
	case !message.Complete():
		refuse(ctx, []byte("null"), -32700, "parse error")
	case id == nil:
		ctx.SetStatusCode(fasthttp.StatusAccepted)
	case string(method) == "initialize":
		ctx.SetContentType("application/json")
		ctx.Response.Header.Set("Mcp-Session-Id", "floor")
		ctx.SetBodyString(`{"jsonrpc":"2.0","id":` + string(id) + `,"result":{"protocolVersion":"2025-11-25","capabilities":{"tools":{}},"serverInfo":{"name":"floor","version":"1"}}}`)
	case string(method) == "tools/call":
		params := rawjson.NewObject(body[paramsStart:paramsEnd])
		for {
			key, value, ok := params.Next()
			if !ok {
				refuse(ctx, id, -32602, "no tool name")
				return
			}
			if string(key) == "name" {
				start, _ := params.Span()
				f.call(ctx, body, id, idStart, idEnd, paramsStart+start+1, rawjson.Inner(value))
				return
			}
		}
	default:
		refuse(ctx, id, -32601, "method not found")
	}
}

// call sends the message to the server that the name names, with another id and without the server's prefix.
func (f *floor) call(ctx *fasthttp.RequestCtx, body, id []byte, idStart, idEnd, nameStart int, name []byte) {
	prefix := bytes.Index(name, separator)
	server, ok := parseServer(name[:max(prefix, 0)], len(f.children))
	if !ok {
		refuse(ctx, id, -32602, "unknown tool")
		return
	}
	l, err := f.children.get(server)
	if err != nil {
		refuse(ctx, id, -32000, err.Error())
		return
	}
	c := calls.Get().(*call)
	n := l.ids.Add(1)
	c.id = append(c.id[:0], id...)
	nameEnd := nameStart + prefix + len(separator) // of what is cut out
	line := c.line[:0]
	if idStart < nameStart {
		line = append(line, body[:idStart]...)
		line = strconv.AppendUint(line, n, 10)
		line = append(line, body[idEnd:nameStart]...)
		line = append(line, body[nameEnd:]...)
	} else {
		line = append(line, body[:nameStart]...)
		line = append(line, body[nameEnd:idStart]...)
		line = strconv.AppendUint(line, n, 10)
		line = append(line, body[idEnd:]...)
	}
	// A line break may only stand between tokens, where a blank does as well.
	for i := bytes.IndexByte(line, '\n'); i >= 0; i = bytes.IndexByte(line, '\n') {
		line[i] = ' '
	}
	c.line = append(line, '\n')
	if err := l.do(n, c); err != nil {
		refuse(ctx, c.id, -32000, err.Error())
	} else {
		ctx.SetContentType("application/json")
		c.reply = ctx.Response.SwapBody(c.reply)
	}
	calls.Put(c)
}

func refuse(ctx *fasthttp.RequestCtx, id []byte, code int, text string) {
	ctx.SetContentType("application/json")
	ctx.SetBodyString(`{"jsonrpc":"2.0","id":` + string(id) + `,"error":{"code":` + strconv.Itoa(code) + `,"message":` + strconv.Quote(text) + `}}`)
}

// echo answers the body of every request: what fasthttp alone can do.
func echo(ctx *fasthttp.RequestCtx) {
	ctx.SetContentType("application/json")
	ctx.SetBody(ctx.PostBody())
}

func newHTTPServer(handler fasthttp.RequestHandler) *fasthttp.Server {
	return &fasthttp.Server{Handler: handler, NoDefaultServerHeader: true, NoDefaultDate: true}
}
