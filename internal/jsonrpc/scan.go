package jsonrpc

import "bytes"

// place says which inspected object the scanner is in.
type place uint8

const (
	inMessage place = iota
	inParams
	inMeta
	inResult
)

// Scan reads b, one complete JSON-RPC 2.0 message with optional whitespace around
// it, and fills env, which it resets first. It does not modify or retain b, and
// does not allocate unless it fails, a key of an inspected object has an escape,
// or inspected objects have more than 64 members.
//
// The error is a [*ScanError] that wraps one of the sentinel errors. The whole
// message is read before [ErrNotJSONRPC] or [ErrDuplicateKey] is returned, so
// these imply well-formed JSON; of several such faults the first is reported.
//
// On error everything in env is zero but ID, which is set if a valid id (a
// string, a number or null) was read before the scan ended, so that an error
// response can echo it: for ErrNotJSONRPC and ErrDuplicateKey wherever the id
// stands, for the others if it stands before the fault. If there are two ids, ID
// is absent.
func Scan(b []byte, lim Limits, env *Envelope) error {
	*env = Envelope{}
	lim = lim.normalize()
	if len(b) > lim.MaxBytes {
		return &ScanError{Offset: lim.MaxBytes, Err: ErrTooLarge}
	}
	s := scanner{b: b, env: env, maxDepth: lim.MaxDepth}
	if i := s.message(); i >= 0 {
		s.classify()
	}
	if s.err == nil && s.fault == nil {
		env.HasNewline = s.spaces&(1<<'\n'|1<<'\r') != 0
		return nil
	}
	*env = Envelope{ID: env.ID}
	if s.twoIDs {
		env.ID = Span{}
	}
	if s.err != nil {
		return &ScanError{Offset: s.at, Err: s.err}
	}
	return &ScanError{Offset: s.faultAt, Err: s.fault}
}

// message reads the whole of b.
func (s *scanner) message() int {
	i := s.space(0)
	if i >= len(s.b) {
		return s.fail(i, errEnd)
	}
	switch s.b[i] {
	case '{':
		i = s.object(i, 0, inMessage)
	case '[':
		return s.fail(i, ErrBatch)
	case 0xef:
		if bytes.HasPrefix(s.b[i:], []byte("\xef\xbb\xbf")) {
			return s.fail(i, errBOM)
		}
		return s.fail(i, errValue)
	default:
		s.note(i, errNotObject)
		i = s.value(i, 0)
	}
	if i < 0 {
		return i
	}
	if i = s.space(i); i < len(s.b) {
		return s.fail(i, errTrailing)
	}
	return i
}

// object reads the inspected object that opens at i, with depth objects open
// around it. It nests three deep at most: message, params, _meta.
func (s *scanner) object(i, depth int, in place) int {
	b := s.b
	if depth >= s.maxDepth {
		return s.fail(i, ErrTooDeep)
	}
	set := keySet{base: s.nkeys}
	if i = s.space(i + 1); i < len(b) && b[i] == '}' {
		return i + 1
	}
	for {
		at := i
		key, next := s.readKey(&set, i)
		if next < 0 {
			return next
		}
		if i = s.member(in, key, at, next, depth+1); i < 0 {
			return i
		}
		if i < len(b) && b[i] <= ' ' {
			i = s.space(i)
		}
		if i >= len(b) {
			return s.fail(i, errEnd)
		}
		c := b[i]
		i++
		if c == '}' {
			s.nkeys = set.base
			return i
		}
		if c != ',' {
			return s.fail(i-1, errDelimiter)
		}
		if i < len(b) && b[i] <= ' ' {
			i = s.space(i)
		}
	}
}

// member reads the value at i of the member of an inspected object whose key
// stands at keyAt, and notes what the envelope wants of it.
func (s *scanner) member(in place, key []byte, keyAt, i, depth int) int {
	switch in {
	case inMessage:
		return s.messageMember(key, keyAt, i, depth)
	case inParams:
		return s.paramsMember(key, keyAt, i, depth)
	case inMeta:
		if string(key) == "progressToken" {
			return s.token(&s.env.ProgressToken, i, depth)
		}
		if lookalike(key, metaKeys) {
			s.note(keyAt, errLookalike)
		}
	case inResult:
		if string(key) == "isError" {
			s.env.IsError = s.first(i) == 't'
		}
	}
	return s.value(i, depth)
}

func (s *scanner) messageMember(key []byte, keyAt, i, depth int) int {
	env := s.env
	c := s.first(i)
	switch string(key) {
	case "jsonrpc":
		end := s.value(i, depth)
		if end >= 0 {
			if s.version = isVersion(s.b[i:end]); !s.version {
				s.note(i, errVersion)
			}
		}
		return end
	case "id":
		if c != '"' && c != '-' && c != 'n' && c-'0' > 9 {
			s.note(i, errID)
			break
		}
		return s.span(&env.ID, i, depth)
	case "method":
		if c != '"' {
			s.note(i, errMethod)
		}
		return s.span(&env.Method, i, depth)
	case "params":
		if c == '{' {
			return s.inspect(&env.Params, i, depth, inParams)
		}
		if c != '[' {
			s.note(i, errParams)
		}
		return s.span(&env.Params, i, depth)
	case "result":
		if c == '{' {
			return s.inspect(&env.Result, i, depth, inResult)
		}
		return s.span(&env.Result, i, depth)
	case "error":
		if c != '{' {
			s.note(i, errError)
		}
		return s.span(&env.Error, i, depth)
	default:
		if lookalike(key, messageKeys) {
			s.note(keyAt, errLookalike)
		}
	}
	return s.value(i, depth)
}

func (s *scanner) paramsMember(key []byte, keyAt, i, depth int) int {
	env := s.env
	switch string(key) {
	case "name":
		if s.first(i) == '"' {
			return s.span(&env.Name, i, depth)
		}
	case "arguments":
		return s.span(&env.Arguments, i, depth)
	case "_meta":
		if s.first(i) == '{' {
			return s.object(i, depth, inMeta)
		}
	case "progressToken":
		return s.token(&env.ParamsToken, i, depth)
	case "requestId":
		return s.token(&env.RequestID, i, depth)
	default:
		if lookalike(key, paramsKeys) {
			s.note(keyAt, errLookalike)
		}
	}
	return s.value(i, depth)
}

// first returns the first byte of the value at i, or 0 at the end of the message,
// which the reading of the value then notices.
func (s *scanner) first(i int) byte {
	if i >= len(s.b) {
		return 0
	}
	return s.b[i]
}

// span reads the value at i and notes its place.
func (s *scanner) span(to *Span, i, depth int) int {
	end := s.value(i, depth)
	if end >= 0 {
		*to = Span{Start: int32(i), End: int32(end)}
	}
	return end
}

// token is span for members that only count if they are a string or a number.
func (s *scanner) token(to *Span, i, depth int) int {
	if c := s.first(i); c != '"' && c != '-' && c-'0' > 9 {
		return s.value(i, depth)
	}
	return s.span(to, i, depth)
}

// inspect is span for an object whose members are looked at.
func (s *scanner) inspect(to *Span, i, depth int, in place) int {
	end := s.object(i, depth, in)
	if end >= 0 {
		*to = Span{Start: int32(i), End: int32(end)}
	}
	return end
}

// isVersion reports whether tok is the string 2.0, however it is written.
func isVersion(tok []byte) bool {
	if string(tok) == `"2.0"` {
		return true
	}
	content, ok := Unquote(tok)
	return ok && string(content) == "2.0"
}

// classify settles the kind of a message that was read to its end.
func (s *scanner) classify() {
	env := s.env
	end := len(s.b)
	null := env.ID.Present() && s.b[env.ID.Start] == 'n'
	if !s.version {
		s.note(end, errNoVersion)
	}
	switch {
	case env.Method.Present():
		env.Kind = Request
		if env.Result.Present() || env.Error.Present() {
			s.note(end, errBoth)
		}
		if null {
			// "Unlike base JSON-RPC, the ID MUST NOT be null." (MCP, Requests)
			s.note(int(env.ID.Start), errNullID)
		}
		if !env.ID.Present() {
			env.Kind = Notification
		}
	case env.Result.Present():
		env.Kind = Response
		if env.Error.Present() {
			s.note(end, errBoth)
		}
		if !env.ID.Present() {
			s.note(end, errNoID)
		}
		if null {
			s.note(int(env.ID.Start), errNullID)
		}
	case env.Error.Present():
		env.Kind = ErrorResponse
	default:
		s.note(end, errNeither)
	}
}
