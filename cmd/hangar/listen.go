package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"syscall"

	"github.com/aabb9013/hangar"
)

// listen opens the port, or says why it is not to be had.
func (f *serveFlags) listen() (net.Listener, error) {
	ln, err := net.Listen("tcp", net.JoinHostPort(f.host, strconv.Itoa(f.port)))
	if err == nil {
		return ln, nil
	}
	next := "check --host and --port"
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		next = "stop the program that has it, choose another --port, or let --port 0 choose"
	case errors.Is(err, syscall.EACCES):
		next = "ports below 1024 need a privilege; choose a higher --port"
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		next = "this machine has no such address; choose another --host"
	}
	return nil, &codedError{exitUnavailable, fmt.Errorf("cannot serve HTTP on %s port %d: %w; %s", f.host, f.port, err, next)}
}

// refuseOpenHost keeps strangers out: nobody is authenticated, and whoever
// reaches the API can run programs on this machine.
func (f *serveFlags) refuseOpenHost() error {
	if !f.http || f.unsafeNoAuth || isLoopback(f.host) {
		return nil
	}
	return &codedError{exitSystem, fmt.Errorf(
		"refusing to listen on %q: nobody is authenticated, and whoever reaches that address could run programs here; "+
			"listen on 127.0.0.1, behind a proxy that authenticates if need be, or accept the risk with --unsafe-no-auth", f.host)}
}

// hosts are the names a client may call this runtime by: the address it was
// told to listen on is one.
func (f *serveFlags) hosts() []string {
	hosts := f.allowedHosts
	if ip := net.ParseIP(f.host); f.unsafeNoAuth && (f.host == "" || ip != nil && ip.IsUnspecified()) {
		return append(hosts, "*")
	}
	return append(hosts, f.host)
}

func isLoopback(host string) bool {
	if host == "localhost" {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}

// printHints tells a newcomer what to try next.
func (f *serveFlags) printHints(w io.Writer, servers []*hangar.View, addr string) {
	fmt.Fprintf(w, "Hangar %s serves %d MCP servers.\n\n  MCP   http://%s/mcp\n  REST  http://%s/api\n", hangar.Version, len(servers), addr, addr)
	if f.config != "" {
		fmt.Fprintf(w, "  file  %s\n", f.config)
	}
	if f.dataDir == "" {
		fmt.Fprintln(w, "  state is in memory only; --data-dir DIR keeps it")
	}
	if len(servers) == 0 {
		fmt.Fprintln(w, "  no server yet; --config FILE names a fleet, POST /api/mcp_servers adds to it")
	}
	fmt.Fprintf(w, "\nTry next:\n  curl http://%s/api/mcp_servers\n", addr)
	for _, v := range servers {
		if v.Spec.ID == "calc" {
			fmt.Fprintf(w, "  curl -X POST http://%s/api/mcp_servers/calc/tools/add/call -H 'Content-Type: application/json' -d '{\"a\": 2, \"b\": 3}'\n", addr)
		}
	}
	fmt.Fprintln(w)
}

// stdinIsTerminal tells whether a person sits where an MCP client is awaited.
func stdinIsTerminal() bool {
	info, err := os.Stdin.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
