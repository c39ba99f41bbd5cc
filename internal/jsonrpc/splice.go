package jsonrpc

import (
	"bytes"
	"strconv"
)

// The functions of this file need an env that [Scan] filled from raw without an
// error. They append to dst, return the extended slice, and allocate only if dst
// lacks capacity. dst and raw must not overlap. Raw tokens handed in must be valid
// JSON without a newline, as spans of scanned strings and numbers are.

// AppendRequest appends to dst one line for a stdio server: a request with the
// given id and the method and params of raw, ended by the only newline in it. In
// params two tokens are replaced: name by the given name, unless that is nil or
// params has no name that is a string, and _meta.progressToken, if it is there,
// by the id, so that progress finds its call as the answer does. Other bytes of
// params are kept as they are, but for newlines between tokens, which would break
// the framing. Unknown members of the message itself are not passed on.
func AppendRequest(dst, raw []byte, env *Envelope, id uint64, name []byte) []byte {
	dst = append(dst, `{"jsonrpc":"2.0","id":`...)
	dst = strconv.AppendUint(dst, id, 10)
	dst = append(dst, `,"method":`...)
	dst = append(dst, env.Method.Of(raw)...)
	if env.Params.Present() {
		dst = append(dst, `,"params":`...)
		dst = appendParams(dst, raw, env, id, name)
	}
	return append(dst, '}', '\n')
}

func appendParams(dst, raw []byte, env *Envelope, id uint64, name []byte) []byte {
	nameAt, tokenAt := env.Name, env.ProgressToken
	if name == nil {
		nameAt = Span{}
	}
	at := env.Params.Start
	// An object has no order: the token may stand before or after the name.
	if tokenAt.Present() && tokenAt.Start < nameAt.Start {
		dst = appendRange(dst, raw, env, at, tokenAt.Start)
		dst = strconv.AppendUint(dst, id, 10)
		at, tokenAt = tokenAt.End, Span{}
	}
	if nameAt.Present() {
		dst = appendRange(dst, raw, env, at, nameAt.Start)
		dst = AppendString(dst, name)
		at = nameAt.End
	}
	if tokenAt.Present() {
		dst = appendRange(dst, raw, env, at, tokenAt.Start)
		dst = strconv.AppendUint(dst, id, 10)
		at = tokenAt.End
	}
	return appendRange(dst, raw, env, at, env.Params.End)
}

// AppendWithID appends raw with its id replaced by the raw token id, without
// newlines and without whitespace around the message. If raw has no id, which is
// legal for an error response, one is put in.
func AppendWithID(dst, raw []byte, env *Envelope, id []byte) []byte {
	start, end := extent(raw)
	if !env.ID.Present() {
		// The message has at least the member jsonrpc, so a comma is right.
		dst = append(dst, `{"id":`...)
		dst = append(dst, id...)
		dst = append(dst, ',')
		return appendRange(dst, raw, env, start+1, end)
	}
	dst = appendRange(dst, raw, env, start, env.ID.Start)
	dst = append(dst, id...)
	return appendRange(dst, raw, env, env.ID.End, end)
}

// AppendProgress appends raw, a notifications/progress message, with
// params.progressToken replaced by the raw token, without newlines and without
// whitespace around the message. If raw has no such token it is appended as it is.
func AppendProgress(dst, raw []byte, env *Envelope, token []byte) []byte {
	start, end := extent(raw)
	at := env.ParamsToken
	if !at.Present() {
		return appendRange(dst, raw, env, start, end)
	}
	dst = appendRange(dst, raw, env, start, at.Start)
	dst = append(dst, token...)
	return appendRange(dst, raw, env, at.End, end)
}

// AppendError appends a complete error response, without a newline. The id is a
// raw token; nil stands for null.
func AppendError(dst, id []byte, code int, message string) []byte {
	if id == nil {
		id = null
	}
	dst = append(dst, `{"jsonrpc":"2.0","id":`...)
	dst = append(dst, id...)
	dst = append(dst, `,"error":{"code":`...)
	dst = strconv.AppendInt(dst, int64(code), 10)
	dst = append(dst, `,"message":`...)
	dst = appendString(dst, message)
	return append(dst, '}', '}')
}

var null = []byte("null")

// ParseID parses the raw token of an id that [AppendRequest] made: a decimal
// number of 64 bits without sign or leading zero. It accepts it quoted too, since
// some servers answer so. Everything else is not one of our ids.
func ParseID(tok []byte) (uint64, bool) {
	if len(tok) >= 2 && tok[0] == '"' && tok[len(tok)-1] == '"' {
		tok = tok[1 : len(tok)-1]
	}
	const maxDigits = 20
	if len(tok) == 0 || len(tok) > maxDigits || tok[0] == '0' && len(tok) > 1 {
		return 0, false
	}
	var n uint64
	for i, c := range tok {
		d := uint64(c - '0')
		if d > 9 {
			return 0, false
		}
		// Only the twentieth digit can overflow.
		if i == maxDigits-1 && (n > (1<<64-1)/10 || n*10 > 1<<64-1-d) {
			return 0, false
		}
		n = n*10 + d
	}
	return n, true
}

// extent returns where the message in raw starts and ends, whitespace excluded.
func extent(raw []byte) (start, end int32) {
	start, end = 0, int32(len(raw))
	for raw[start] <= ' ' {
		start++
	}
	for raw[end-1] <= ' ' {
		end--
	}
	return start, end
}

// appendRange appends raw[from:to] without newlines. These only stand between
// tokens, and JSON needs no whitespace there, so dropping them changes nothing.
func appendRange(dst, raw []byte, env *Envelope, from, to int32) []byte {
	part := raw[from:to]
	if !env.HasNewline {
		return append(dst, part...)
	}
	for {
		i := bytes.IndexByte(part, '\n')
		if i < 0 {
			return appendWithoutCR(dst, part)
		}
		dst = appendWithoutCR(dst, part[:i])
		part = part[i+1:]
	}
}

func appendWithoutCR(dst, part []byte) []byte {
	for {
		i := bytes.IndexByte(part, '\r')
		if i < 0 {
			return append(dst, part...)
		}
		dst = append(dst, part[:i]...)
		part = part[i+1:]
	}
}
