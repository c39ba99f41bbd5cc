package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/aabb9013/hangar"
)

// shutdownTime bounds the end after a signal: 15 s in all, the rest is kept
// back for closing the state.
const shutdownTime = 14 * time.Second

// serve runs the fleet until a signal, or until the stdio client leaves.
func serve(cmd *cobra.Command, f *serveFlags) error {
	if err := f.fromEnvironment(cmd); err != nil {
		return err
	}
	if f.http && !f.unsafeNoAuth && !isLoopback(f.host) {
		return &codedError{exitSystem, fmt.Errorf(
			"refusing to listen on %s: nobody would be authenticated there; "+
				"listen on 127.0.0.1 (behind a proxy that authenticates), or accept the risk with --unsafe-no-auth", f.host)}
	}
	logger, closeLog, err := f.openLog()
	if err != nil {
		return err
	}
	defer closeLog()
	rt, err := hangar.New(hangar.Options{
		DataDir: f.dataDir, ConfigFile: f.config, Durability: hangar.Durability(f.durability),
		MaxParallelStarts: f.maxStarts, CallTimeout: f.callTimeout,
		AllowedHosts: f.hosts(), AllowedOrigins: f.allowedOrigins,
		Logger: logger, Warnings: os.Stderr,
	})
	if err != nil {
		return err
	}
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	defer signal.Stop(signals)
	if err := rt.Start(context.Background()); err != nil {
		return errors.Join(err, rt.Close(context.Background()))
	}
	serving, stopServing := context.WithCancel(context.Background())
	defer stopServing()
	go keepSmall(serving, rt)
	done := make(chan error, 1)
	if f.http {
		ln, err := net.Listen("tcp", net.JoinHostPort(f.host, strconv.Itoa(f.port)))
		if err != nil {
			return errors.Join(&codedError{exitUnavailable, fmt.Errorf("cannot listen: %w; choose another --port", err)}, rt.Close(context.Background()))
		}
		printHints(cmd.ErrOrStderr(), rt, ln.Addr().String(), f)
		go func() { done <- rt.Serve(serving, ln) }()
	} else {
		go func() { done <- rt.ServeStdio(serving, os.Stdin, os.Stdout) }()
	}
	return waitAndClose(rt, logger, f.http, signals, stopServing, done)
}

// waitAndClose waits for the end and carries it out; a second signal ends the
// process at once (its children die with it).
func waitAndClose(rt *hangar.Runtime, logger *slog.Logger, http bool, signals <-chan os.Signal, stopServing func(), done <-chan error) error {
	var failure error
	select {
	case err := <-done:
		failure = err
		done = nil
	case sig := <-signals:
		logger.Info("closing", "signal", sig.String())
	}
	closing, cancel := context.WithTimeout(context.Background(), shutdownTime)
	defer cancel()
	closed := make(chan error, 1)
	stopServing()
	go func() { closed <- rt.Close(closing) }()
	for {
		select {
		case err := <-closed:
			failure = errors.Join(failure, err)
			if done != nil && http {
				if err := <-done; err != nil {
					logger.Warn("connections were closed by force", "err", err)
				}
			}
			return failure
		case sig := <-signals:
			logger.Warn("ending at once", "signal", sig.String())
			cancel() // kills every instance
			select {
			case <-closed:
			case <-time.After(500 * time.Millisecond):
			}
			os.Exit(exitInterrupted)
		}
	}
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
func printHints(w io.Writer, rt *hangar.Runtime, addr string, f *serveFlags) {
	if f.quiet {
		return
	}
	servers := rt.Servers().List()
	fmt.Fprintf(w, "Hangar %s serves %d MCP servers.\n\n  MCP   http://%s/mcp\n  REST  http://%s/api\n", hangar.Version, len(servers), addr, addr)
	if f.dataDir == "" {
		fmt.Fprintln(w, "  state is in memory only; --data-dir DIR keeps it")
	}
	fmt.Fprintf(w, "\nTry next:\n  curl http://%s/api/mcp_servers\n", addr)
	for _, v := range servers {
		if v.Spec.ID == "calc" {
			fmt.Fprintf(w, "  curl -X POST http://%s/api/mcp_servers/calc/tools/add/call -H 'Content-Type: application/json' -d '{\"a\": 2, \"b\": 3}'\n", addr)
		}
	}
	fmt.Fprintln(w)
}
