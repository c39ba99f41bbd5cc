package jsonrpc

type Span struct{ Start, End int32 }
type Kind uint8
type Envelope struct{ Kind Kind; ID Span; IsError bool }
