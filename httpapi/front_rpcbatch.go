package httpapi

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"sync"

	"github.com/valyala/fasthttp"

	"github.com/aabb9013/hangar/internal/jsonrpc"
)

// Bounds of JSON-RPC batches.
const (
	maxBatch = 100
	// batchRequests is how many requests of one batch run at once.
	batchRequests = 10
)

// errArrayLength is what splitArray says of an array that is too long.
var errArrayLength = errors.New("too many elements")

// splitArray takes a JSON array of at most most elements apart. It stops at
// the first one too many: a message may hold millions of tiny elements, and
// noting each would take many times its memory.
func splitArray(data []byte, most int) ([]json.RawMessage, error) {
	dec := json.NewDecoder(bytes.NewReader(data))
	if start, err := dec.Token(); err != nil {
		return nil, err
	} else if start != json.Delim('[') {
		return nil, errors.New("not an array")
	}
	var items []json.RawMessage
	for dec.More() {
		if len(items) == most {
			return nil, errArrayLength
		}
		var item json.RawMessage
		if err := dec.Decode(&item); err != nil {
			return nil, err
		}
		items = append(items, item)
	}
	if _, err := dec.Token(); err != nil {
		return nil, err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("data after the array")
	}
	return items, nil
}

// splitBatch takes a batch apart, or tells code and text of what is wrong with it.
func splitBatch(body []byte) (messages []json.RawMessage, code int, fault string) {
	messages, err := splitArray(body, maxBatch)
	switch {
	case err != nil && !errors.Is(err, errArrayLength):
		return nil, codeParse, "the batch is not valid JSON"
	case err != nil, len(messages) == 0:
		return nil, codeInvalidRequest, "a batch must be an array of 1 to 100 messages"
	}
	return messages, 0, ""
}

// joinAnswers makes an array of the answers that there are; nil if there are none.
func joinAnswers(answers [][]byte) (out []byte) {
	for _, answer := range answers {
		if answer != nil {
			out = append(append(out, ','), answer...)
		}
	}
	if len(out) == 0 {
		return nil
	}
	out[0] = '['
	return append(out, ']')
}

// takeBatch answers what is no message, hears notifications, and has each request run, which may reply later.
func (f *Front) takeBatch(s *session, messages []json.RawMessage, run func(raw []byte, env jsonrpc.Envelope, reply func(answer []byte))) (answers [][]byte) {
	answers = make([][]byte, len(messages))
	for i, raw := range messages {
		var env jsonrpc.Envelope
		switch err := jsonrpc.Scan(raw, f.limits, &env); {
		case err != nil:
			code, text := scanError(err)
			answers[i] = jsonrpc.AppendError(nil, env.ID.Of(raw), code, text)
		case env.Kind == jsonrpc.Request:
			run(raw, env, func(answer []byte) { answers[i] = answer })
		case env.Kind == jsonrpc.Notification:
			f.notify(s, raw, &env)
		}
	}
	return answers
}

// batch answers an array of messages as 2025-03-26 demands. Requests run
// beside each other, answers come in their order.
func (f *Front) batch(ctx *fasthttp.RequestCtx, s *session, body []byte) {
	messages, code, fault := splitBatch(body)
	if fault != "" {
		httpError(ctx, fasthttp.StatusBadRequest, nil, code, fault)
		return
	}
	slots := make(chan struct{}, batchRequests)
	var running sync.WaitGroup
	answers := f.takeBatch(s, messages, func(raw []byte, env jsonrpc.Envelope, reply func([]byte)) {
		slots <- struct{}{}
		running.Go(func() {
			defer func() { <-slots }()
			reply(f.request(nil, s, raw, &env, nil))
		})
	})
	running.Wait()
	out := joinAnswers(answers)
	if out == nil {
		ctx.SetStatusCode(fasthttp.StatusAccepted)
		return
	}
	ctx.Response.Header.SetContentTypeBytes(contentJSON)
	ctx.SetBody(out)
}
