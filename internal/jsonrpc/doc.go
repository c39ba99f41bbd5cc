// Package jsonrpc finds its way in JSON-RPC 2.0 messages without unmarshalling
// them, and puts messages together from raw bytes.
//
// A call passes through the runtime as the bytes it arrived in. What has to be
// known on the way – what kind of message it is, its id, its method, which tool
// it names, where the progress token stands – [Scan] notes as spans of those
// bytes, in one pass and without allocating. What has to be changed on the way –
// the id, the name, the progress token – the Append functions splice in; every
// other byte reaches the other side as it was sent.
//
// # One message, one meaning
//
// Policy is decided on what Scan sees, and the server acts on what its own
// parser sees. Scan therefore refuses whatever two parsers may read in two ways,
// rather than choosing one reading:
//
//   - A key is compared after decoding: "\u0069d" is "id".
//   - A duplicate key is refused, known or not, in each object whose members are
//     inspected: the message, params, params._meta and result.
//   - Keys are matched exactly. In the message, params and params._meta a key
//     that differs from an inspected one only in letter case ("Name", "ProgressToken")
//     is refused, because parsers that ignore case would take it for that member.
//   - Invalid UTF-8, control characters in strings, a byte order mark and
//     anything after the message are refused.
//
// Objects further down are checked for syntax, encoding and depth only; their
// duplicate keys pass, since nothing here depends on them.
//
// # Concurrency and ownership
//
// All functions are pure: they keep neither their arguments nor any state and
// may be called from any goroutine. An [Envelope] is valid for exactly the bytes
// it was scanned from; using it with others is a programming error and may panic.
package jsonrpc
