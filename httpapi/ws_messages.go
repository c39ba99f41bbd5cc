package httpapi

import (
	"fmt"
	"path"
	"strconv"
	"strings"

	"github.com/valyala/fasthttp"
)

const (
	// maxPatterns bounds each list of a filter, maxPattern an item's bytes.
	maxPatterns = 100
	maxPattern  = 200
)

// streamRequest is one message of a stream's client. With neither ping nor pong
// it is a subscribe.
type streamRequest struct {
	filter     eventFilter
	after      *uint64
	ping, pong bool
	err        error
}

// parseStreamRequest reads a message. One without a type that has a key of
// subscribe is a subscribe, as with the reference.
func parseStreamRequest(message []byte) streamRequest {
	o, err := decodeObject(message)
	if err != nil {
		return streamRequest{err: err}
	}
	f := fields{object: o}
	kind := f.text("type")
	if err := f.err(); err != nil {
		return streamRequest{err: err}
	}
	switch {
	case kind == nil:
		if !f.subscribes() {
			return streamRequest{err: badRequest("a message needs a type: subscribe, ping or pong")}
		}
	case *kind == "ping":
		return streamRequest{ping: true}
	case *kind == "pong":
		return streamRequest{pong: true}
	case *kind != "subscribe":
		return streamRequest{err: badRequest("type %s is unknown, known are subscribe, ping and pong", quoteClient(*kind))}
	}
	f.onlyKnown("type", "event_types", "mcp_server_ids", "after")
	var r streamRequest
	r.filter.kinds = f.patterns("event_types", f.texts("event_types"))
	r.filter.servers = f.patterns("mcp_server_ids", f.texts("mcp_server_ids"))
	if n := f.integer("after", 0, maxQueryInt); n != nil {
		after := uint64(*n)
		r.after = &after
	}
	r.err = f.err()
	return r
}

func (f *fields) subscribes() bool {
	for _, key := range []string{"event_types", "mcp_server_ids", "after"} {
		if _, ok := f.values[key]; ok {
			return true
		}
	}
	return false
}

// patterns checks a list of globs.
func (f *fields) patterns(name string, list []string) []string {
	if len(list) > maxPatterns {
		f.fault(name, "has %d patterns, the limit is %d", len(list), maxPatterns)
		return nil
	}
	for _, p := range list {
		if _, err := path.Match(p, ""); p == "" || len(p) > maxPattern || err != nil {
			f.fault(name, "has the pattern %s, which is no name or glob (*, ?, [a-z]) of 1 to %d bytes", quoteClient(p), maxPattern)
			return nil
		}
	}
	return list
}

// subscriptionOf reads the same from a query: event_type and mcp_server_id may
// be repeated, or hold several with commas between them.
func subscriptionOf(args *fasthttp.Args, end uint64) (streamRequest, error) {
	var f fields
	var r streamRequest
	r.filter.kinds = f.patterns("event_type", queryList(args, "event_type"))
	r.filter.servers = f.patterns("mcp_server_id", queryList(args, "mcp_server_id"))
	if args.Has("after") {
		after, err := strconv.ParseUint(string(args.Peek("after")), 10, 53)
		if err != nil {
			f.fault("after", "must be a position of the event log")
		}
		r.after = &after
	}
	if err := f.err(); err != nil || r.after == nil {
		return r, err
	}
	return r, checkAfter(*r.after, end)
}

// queryList is nil when the parameter is absent or empty everywhere.
func queryList(args *fasthttp.Args, name string) (list []string) {
	for _, value := range args.PeekMulti(name) {
		for item := range strings.SplitSeq(string(value), ",") {
			if item != "" {
				list = append(list, item)
			}
		}
	}
	return list
}

// checkAfter refuses a position that the log has not reached: it is of another
// log, and to wait for it would hide everything until then.
func checkAfter(after, end uint64) error {
	if after <= end {
		return nil
	}
	var f fields
	f.fault("after", "is %d, but the log ends at %d: it is no position of this log; subscribe without it", after, end)
	return f.err()
}

var pingFrame, pongFrame = []byte(`{"type":"ping"}`), []byte(`{"type":"pong"}`)

func droppedFrame(n uint64) []byte { return fmt.Appendf(nil, `{"type":"dropped","count":%d}`, n) }

func subscribedFrame(f eventFilter) []byte {
	return mustJSON(struct {
		Type    string   `json:"type"`
		Kinds   []string `json:"event_types"` // null: all
		Servers []string `json:"mcp_server_ids"`
	}{"subscribed", f.kinds, f.servers})
}

// errorFrame is the envelope of REST as a message.
func errorFrame(err error) []byte {
	answer, _, _ := describeError(err)
	return mustJSON(struct {
		Type    string `json:"type"`
		Name    string `json:"error"`
		Message string `json:"message"`
	}{"error", answer.name, answer.message})
}
