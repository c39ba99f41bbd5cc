package httpapi

import (
	"bytes"
	"net/netip"
	"strings"

	"github.com/valyala/fasthttp"
)

// edgeGuard keeps web pages out: a page of another site that a user's browser
// shows sends its Origin, and one that reached us by DNS rebinding sends its
// Host. Requests without Origin are not made by pages and pass.
type edgeGuard struct {
	anyHost bool
	hosts   []hostName
	origins [][]byte
}

type hostName struct{ name, port []byte } // no port: any

// newEdgeGuard also returns the names that cannot be heeded.
func newEdgeGuard(hosts, origins []string) (g edgeGuard, unusable []string) {
	for _, h := range hosts {
		name := strings.TrimSpace(h)
		if ip, err := netip.ParseAddr(name); err == nil && ip.Is6() {
			name = "[" + ip.String() + "]" // as it stands in a URL, and so in the header
		}
		if name == "*" {
			g.anyHost = true
		} else if name, port, ok := splitHostPort([]byte(name)); ok && !bytes.ContainsRune(name, '*') {
			g.hosts = append(g.hosts, hostName{name: name, port: port})
		} else if h != "" {
			unusable = append(unusable, h)
		}
	}
	for _, o := range origins {
		if origin := strings.TrimSuffix(strings.TrimSpace(o), "/"); strings.Contains(origin, "://") {
			g.origins = append(g.origins, []byte(origin))
		} else if o != "" {
			unusable = append(unusable, o)
		}
	}
	return g, unusable
}

// check tells why a request is refused; origin says that it has the header.
func (g *edgeGuard) check(ctx *fasthttp.RequestCtx, origin bool) error {
	host := ctx.Request.Header.Host()
	if !g.anyHost && !g.known(host) {
		return forbiddenHost(host)
	}
	// A request line with a whole URL names a host of its own, which stands
	// above the header (RFC 9112, 3.2.2).
	if !g.anyHost {
		if uri := ctx.URI().Host(); !bytes.EqualFold(uri, host) && !g.known(uri) {
			return forbiddenHost(uri)
		}
	}
	if !origin {
		return nil
	}
	for _, origin := range ctx.Request.Header.PeekAll("Origin") {
		if len(origin) > 0 && !g.originAllowed(origin, host) {
			return &apiError{
				status: fasthttp.StatusForbidden, name: "ForbiddenOrigin",
				message: "origin " + quoteClient(string(origin)) + " is not allowed",
			}
		}
	}
	return nil
}

func forbiddenHost(host []byte) error {
	return &apiError{
		status: fasthttp.StatusForbidden, name: "ForbiddenHost",
		message: "host " + quoteClient(string(host)) + " is not allowed",
	}
}

// originAllowed accepts configured origins, pages of known hosts, and pages of
// the very host and port that the request went to, which is known by then.
func (g *edgeGuard) originAllowed(origin, host []byte) bool {
	for _, o := range g.origins {
		if bytes.EqualFold(o, origin) {
			return true
		}
	}
	scheme, authority, ok := bytes.Cut(origin, []byte("://"))
	if !ok || !bytes.EqualFold(scheme, []byte("http")) && !bytes.EqualFold(scheme, []byte("https")) {
		return false
	}
	return g.known(authority) || len(host) > 0 && bytes.EqualFold(authority, host)
}

// known tells whether a "name[:port]" is loopback or configured. Nothing here
// allocates for the usual names: it runs for every request.
func (g *edgeGuard) known(hostPort []byte) bool {
	name, port, ok := splitHostPort(hostPort)
	if !ok {
		return false
	}
	if isLoopbackName(name) {
		return true
	}
	for _, h := range g.hosts {
		if bytes.EqualFold(h.name, name) && (len(h.port) == 0 || bytes.Equal(h.port, port)) {
			return true
		}
	}
	return false
}

func isLoopbackName(name []byte) bool {
	switch {
	case string(name) == "localhost", string(name) == "127.0.0.1", string(name) == "[::1]":
		return true
	case len(name) == len("localhost"):
		if bytes.EqualFold(name, []byte("localhost")) {
			return true
		}
	}
	if bytes.HasPrefix(name, []byte("127.")) {
		ip, err := netip.ParseAddr(string(name))
		return err == nil && ip.Is4() && ip.IsLoopback()
	}
	if len(name) > 2 && name[0] == '[' {
		ip, err := netip.ParseAddr(string(name[1 : len(name)-1]))
		return err == nil && ip == netip.IPv6Loopback()
	}
	return false
}

// splitHostPort splits "name", "name:port", "[v6]" and "[v6]:port"; a v6 name
// keeps its brackets. The port is 1 to 5 digits.
func splitHostPort(b []byte) (name, port []byte, ok bool) {
	if len(b) == 0 || len(b) > 300 {
		return nil, nil, false
	}
	end := bytes.IndexByte(b, ':')
	if b[0] == '[' {
		end = bytes.IndexByte(b, ']') + 1
		if end < 2 {
			return nil, nil, false
		}
	} else if end < 0 {
		end = len(b)
	}
	name, rest := b[:end], b[end:]
	if len(name) == 0 || bytes.ContainsAny(name, "/@?# \t\\") {
		return nil, nil, false
	}
	if len(rest) == 0 {
		return name, nil, true
	}
	port = rest[1:]
	if rest[0] != ':' || len(port) < 1 || len(port) > 5 {
		return nil, nil, false
	}
	for _, c := range port {
		if c < '0' || c > '9' {
			return nil, nil, false
		}
	}
	return name, port, true
}
