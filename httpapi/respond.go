package httpapi

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/valyala/fasthttp"

	"github.com/aabb9013/hangar/backends"
	"github.com/aabb9013/hangar/supervisor"
)

// errorRow says how an error is answered. retryAfter is in seconds.
type errorRow struct {
	target     error
	status     int
	retryAfter int
}

// errorTable is the one table from errors to statuses; the first match wins.
// The statuses are the contract's (reference section 2.2) where it has one; a
// test walks all sentinels of supervisor and backends.
var errorTable = []errorRow{
	// First: it wraps what the last member answered.
	{supervisor.ErrGroupUnavailable, 503, 1},
	{supervisor.ErrGroupNotFound, 404, 0},
	{supervisor.ErrGroupExists, 422, 0},
	{supervisor.ErrServerNotFound, 404, 0},
	{supervisor.ErrToolNotFound, 404, 0},
	{supervisor.ErrServerExists, 422, 0},
	{supervisor.ErrInvalidSpec, 422, 0},
	{supervisor.ErrNotBuilt, 422, 0},
	{supervisor.ErrInUse, 409, 0},
	{supervisor.ErrReplaceFailed, 500, 0},
	{supervisor.ErrStopped, 409, 0},
	// 502 and 503 would be kinder for the two starts, but clients of the
	// reference program know 500.
	{supervisor.ErrCannotStart, 500, 0},
	{supervisor.ErrStartFailed, 500, 0},
	{supervisor.ErrOverloaded, 429, 1},
	{supervisor.ErrClosing, 503, 5},
	{supervisor.ErrReadOnly, 507, 0},
	{supervisor.ErrInMemory, 409, 0},
	{supervisor.ErrCallTimeout, 504, 0},
	{supervisor.ErrInternal, 500, 0},

	{backends.ErrCrashed, 502, 0},
	{backends.ErrBusy, 429, 1},
	{backends.ErrMessageTooLarge, 502, 0},
	{backends.ErrProtocol, 502, 0},
	{backends.ErrStdoutClosed, 502, 0},
	{backends.ErrStdinStalled, 502, 0},
	{backends.ErrStdinClosed, 502, 0},
	{backends.ErrDeadline, 504, 0},
	{backends.ErrUnresponsive, 502, 0},
	{backends.ErrClosed, 502, 0},
	{backends.ErrPermanent, 500, 0},
	{backends.ErrReaperLost, 500, 0},
	{backends.ErrResource, 500, 0},

	{errScrapes, 429, 1},
	{errEventSockets, 503, 5},
	{ErrConfigPath, 422, 0},
	{ErrConfiguration, 500, 0},
	{ErrConfigBackup, 503, 0},

	{errCancelled, 499, 0}, // which nobody reads
	{ErrUnauthenticated, 401, 0},
	{ErrForbidden, 403, 0},
	{context.DeadlineExceeded, 504, 0},
	{context.Canceled, 503, 5},
}

// edgeNames are the names of errors that only the edge has, or that mean
// something of their own here.
var edgeNames = map[error]string{
	errScrapes:               "RateLimitExceededError",
	errEventSockets:          "TooManyEventStreams",
	ErrConfigPath:            "ValidationError",
	ErrConfiguration:         "ConfigurationError",
	ErrConfigBackup:          "ConfigurationBackupError",
	errCancelled:             "ClientClosedRequest",
	ErrUnauthenticated:       "AuthenticationError",
	ErrForbidden:             "AccessDeniedError",
	context.DeadlineExceeded: "OperationTimeoutError",
	context.Canceled:         "RuntimeClosingError",
}

// apiError is an error that knows its answer. Its message is written by us and
// holds client text only through quoteClient.
type apiError struct {
	status  int
	name    string
	message string
	extra   []extraField // after the three fields of the envelope
}

type extraField struct {
	name  string
	value any
}

func (e *apiError) Error() string { return e.name + ": " + e.message }

var (
	errContained    = &apiError{status: 500, name: "InternalServerError", message: "internal error, see the runtime's log"}
	errBodyTooLarge = &apiError{status: 413, name: "PayloadTooLarge", message: "the request body is too large"}
)

func errNoSuchPath(ctx *fasthttp.RequestCtx) error {
	return &apiError{status: 404, name: "NotFound", message: "no such path: " + quoteClient(string(ctx.URI().PathOriginal()))}
}

// fail answers with the contract's envelope.
func (a *API) fail(ctx *fasthttp.RequestCtx, err error) {
	answer, retryAfter, known := describeError(err)
	if !known {
		a.log.Error("request failed for an unknown reason",
			"err", err, "method", cleanText(string(ctx.Method()), 16), "path", cleanText(string(ctx.URI().PathOriginal()), 200))
	}
	if retryAfter > 0 {
		ctx.Response.Header.Set("Retry-After", strconv.Itoa(retryAfter))
	}
	if answer.status == fasthttp.StatusUnauthorized {
		ctx.Response.Header.Set("WWW-Authenticate", "Bearer, ApiKey")
	}
	writeEnvelope(ctx, answer)
}

// describeError finds the answer to an error; known is false when the table has
// no row for it, and then the client learns nothing but that.
func describeError(err error) (answer *apiError, retryAfter int, known bool) {
	if errors.As(err, &answer) {
		return answer, 0, true
	}
	for _, row := range errorTable {
		if !errors.Is(err, row.target) {
			continue
		}
		if row.target == supervisor.ErrInternal {
			return errContained, 0, false
		}
		retryAfter = row.retryAfter
		var cannot *supervisor.CannotStartError
		if errors.As(err, &cannot) && cannot.RetryAfter > 0 {
			retryAfter = max(1, int(math.Ceil(cannot.RetryAfter.Seconds())))
		}
		answer = &apiError{status: row.status, name: cmp.Or(edgeNames[row.target], supervisor.ErrorName(row.target)), message: messageOf(err)}
		var crash *backends.CrashError
		if errors.As(err, &crash) { // whether to repeat the call hangs on it
			answer.extra = []extraField{{"sent", crash.Sent}}
		}
		return answer, retryAfter, true
	}
	return errContained, 0, false
}

// messageOf is an error's text for a client: one line, bounded. Joined errors
// come one per line, and each fault of a spec repeats its sentinel.
func messageOf(err error) string {
	text := strings.ReplaceAll(err.Error(), supervisor.ErrInvalidSpec.Error()+": ", "")
	return cleanText(strings.ReplaceAll(text, "\n", "; "), 1000)
}

// writeEnvelope writes error, message and status_code first, then the extras.
func writeEnvelope(ctx *fasthttp.RequestCtx, e *apiError) {
	fields := append([]extraField{
		{"error", e.name}, {"message", e.message}, {"status_code", e.status},
	}, e.extra...)
	var b bytes.Buffer
	for i, f := range fields {
		sep := byte(',')
		if i == 0 {
			sep = '{'
		}
		b.WriteByte(sep)
		b.WriteString(strconv.Quote(f.name)) // names are our own, plain ASCII
		b.WriteByte(':')
		b.Write(mustJSON(f.value))
	}
	b.WriteByte('}')
	setJSON(ctx, e.status, b.Bytes())
}

// mustJSON encodes values of our own shapes, which cannot fail; if one does
// all the same, null is better than no answer.
func mustJSON(v any) []byte {
	data, err := encodeJSON(v)
	if err != nil {
		return []byte("null")
	}
	return data
}

func encodeJSON(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false) // JSON is never served as HTML: nosniff
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

// respond answers with v as JSON.
func respond(ctx *fasthttp.RequestCtx, status int, v any) error {
	data, err := encodeJSON(v)
	if err != nil {
		return fmt.Errorf("cannot encode the answer: %w", err)
	}
	setJSON(ctx, status, data)
	return nil
}

// setJSON hands body over to the response, which keeps it.
func setJSON(ctx *fasthttp.RequestCtx, status int, body []byte) {
	ctx.SetStatusCode(status)
	ctx.SetContentType("application/json")
	ctx.Response.Header.Set("X-Content-Type-Options", "nosniff")
	ctx.Response.Header.Set("Cache-Control", "no-store")
	ctx.Response.SetBodyRaw(body)
}

// maxClientText bounds what of a client's own text comes back in a message.
const maxClientText = 80

// quoteClient makes a client's text fit for a message or a log.
func quoteClient(s string) string { return `"` + cleanText(s, maxClientText) + `"` }

// cleanText bounds s to about n bytes and spells out control characters and
// the invisible ones that can turn a line around (bidi).
func cleanText(s string, n int) string {
	var b strings.Builder
	for i, r := range s {
		if b.Len() >= n {
			b.WriteString("…")
			break
		}
		_, size := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == utf8.RuneError && size <= 1:
			fmt.Fprintf(&b, `\x%02x`, s[i])
		case unicode.IsControl(r), unicode.Is(unicode.Cf, r), r == 0x2028, r == 0x2029:
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

// isoUTC is RFC 3339 in UTC with microseconds only where there are any.
func isoUTC(t time.Time) string { return isoPlain(t) + "Z" }

// isoPlain is the contract's form of a log's time: UTC without saying so.
func isoPlain(t time.Time) string {
	t = t.UTC()
	if t.Nanosecond()/1000 == 0 {
		return t.Format("2006-01-02T15:04:05")
	}
	return t.Format("2006-01-02T15:04:05.000000")
}

func isoOrNull(t time.Time) *string {
	if t.IsZero() {
		return nil
	}
	s := isoUTC(t)
	return &s
}

// unixFloat is seconds since 1970, to the microsecond.
func unixFloat(t time.Time) float64 { return float64(t.UnixMicro()) / 1e6 }
