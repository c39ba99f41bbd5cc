package jsonrpc

import "bytes"

// Scan reads b, one complete JSON-RPC 2.0 message with optional whitespace around
// it, and fills env, which it resets first. It does not modify or retain b, and
// does not allocate unless it fails, a key of an inspected object has an escape,
// inspected objects have more than 16 members beyond those of an MCP call, or the
// message nests deeper than 64.
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
	s := scanner{b: b, maxDepth: lim.MaxDepth}
	if i := s.message(); i >= 0 {
		s.classify()
	}
	if s.err == nil && s.fault == nil {
		*env = s.env
		env.HasNewline = s.spaces&(1<<'\n'|1<<'\r') != 0
		return nil
	}
	if !s.twoIDs {
		env.ID = s.env.ID
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
		ref, next := s.readKey(i)
		if next < 0 {
			return next
		}
		f := fieldOf(in, s.keyAt(ref))
		if bit := uint32(1) << f; f != fieldOther && set.known&bit == 0 {
			set.known |= bit
		} else if !s.enter(&set, in, f, ref, i) {
			return -1
		}
		if i = s.member(f, next, depth+1); i < 0 {
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

// readKey reads the key at i and the colon after it. It returns the key and the
// start of the value.
func (s *scanner) readKey(i int) (ref keyRef, next int) {
	b := s.b
	if i >= len(b) {
		return ref, s.fail(i, errEnd)
	}
	if b[i] != '"' {
		return ref, s.fail(i, errKey)
	}
	end, escaped, err := scanString(b, i+1)
	if err != nil {
		return ref, s.fail(end, err)
	}
	ref.start, ref.end = int32(i+1), int32(end-1)
	if escaped {
		from := len(s.decoded)
		s.decoded = appendUnescaped(s.decoded, b[ref.start:ref.end])
		ref.start, ref.end = ^int32(from), int32(len(s.decoded))
	}
	return ref, s.colon(end)
}

// enter deals with the key at i if it is not simply a field seen for the first
// time: it notes duplicates and enters other keys into the set of the object. It
// returns false if the scan has to end.
func (s *scanner) enter(set *keySet, in place, f field, ref keyRef, i int) bool {
	if f != fieldOther {
		s.note(i, ErrDuplicateKey)
		s.twoIDs = s.twoIDs || f == fieldID
		return true
	}
	if lookalike(in, s.keyAt(ref)) {
		s.note(i, errLookalike)
	}
	if !s.addKey(set, ref) {
		s.note(i, ErrDuplicateKey)
	}
	if set.count > maxMembers {
		s.fail(i, errMembers)
		return false
	}
	return true
}

// member reads the value at i of a member of an inspected object and notes what
// the envelope wants of it.
func (s *scanner) member(f field, i, depth int) int {
	env := &s.env
	c := s.first(i)
	switch f {
	case fieldVersion:
		end := s.value(i, depth)
		if end >= 0 {
			if s.version = isVersion(s.b[i:end]); !s.version {
				s.note(i, errVersion)
			}
		}
		return end
	case fieldID:
		if c == '"' || c == 'n' || isNumber(c) {
			return s.span(&env.ID, i, depth)
		}
		s.note(i, errID)
	case fieldMethod:
		if c != '"' {
			s.note(i, errMethod)
		}
		return s.span(&env.Method, i, depth)
	case fieldParams:
		if c != '{' && c != '[' {
			s.note(i, errParams)
		}
		return s.inspect(&env.Params, i, depth, inParams)
	case fieldResult:
		return s.inspect(&env.Result, i, depth, inResult)
	case fieldError:
		if c != '{' {
			s.note(i, errError)
		}
		return s.span(&env.Error, i, depth)
	case fieldName:
		if c == '"' {
			return s.span(&env.Name, i, depth)
		}
	case fieldArguments:
		return s.span(&env.Arguments, i, depth)
	case fieldMeta:
		if c == '{' {
			return s.object(i, depth, inMeta)
		}
	case fieldParamsToken:
		return s.token(&env.ParamsToken, i, depth)
	case fieldRequestID:
		return s.token(&env.RequestID, i, depth)
	case fieldMetaToken:
		return s.token(&env.ProgressToken, i, depth)
	case fieldIsError:
		env.IsError = c == 't'
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
	if c := s.first(i); c != '"' && !isNumber(c) {
		return s.value(i, depth)
	}
	return s.span(to, i, depth)
}

// isNumber reports whether a value that starts with c can only be a number.
func isNumber(c byte) bool { return c == '-' || c-'0' <= 9 }

// inspect is span for a value whose members are looked at if it is an object.
func (s *scanner) inspect(to *Span, i, depth int, in place) int {
	if s.first(i) != '{' {
		return s.span(to, i, depth)
	}
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
	env := &s.env
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
