// Package httpapi is the HTTP edge of the runtime: the REST control API, its
// OpenAPI document, health, and the place where the MCP front is mounted. It
// knows the runtime only by the interface Runtime, which it declares.
//
// One request passes, in this order: panic containment, the check of Host and
// Origin, the echo of X-Correlation-ID, the size limit, the router, the content
// type, the permission of its row in the route table, its handler. A handler
// decodes, makes one Runtime call and answers; it returns its error, and
// respond.go alone turns errors into statuses.
//
// fasthttp reuses every buffer of a request once its handler has returned, so
// what leaves a handler (into the runtime, a log, a goroutine) is a copy.
//
// The event stream (ws.go) leaves HTTP after its handshake. From then on it is
// ours to bound, contain and end: fasthttp does none of it.
//
// Reading order: api.go, routes.go, respond.go, decode.go, servers.go, views.go.
package httpapi
