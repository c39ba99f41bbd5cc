package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/aabb9013/hangar"
)

const (
	// shutdownTime bounds the end after a signal: 15 s in all, the rest is
	// kept back for closing the state.
	shutdownTime = 14 * time.Second
)

// signals of the process, as serving takes them.
type signals struct{ end, hangup chan os.Signal }

func catchSignals() signals {
	s := signals{end: make(chan os.Signal, 3), hangup: make(chan os.Signal, 1)}
	signal.Notify(s.end, os.Interrupt, syscall.SIGTERM)
	signal.Notify(s.hangup, syscall.SIGHUP)
	// Taken and not read: a write to a pipe whose reader has left then fails
	// as any other, where the process would die with its state open. To ignore
	// the signal instead would be inherited by the servers.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	return s
}

func (s signals) release() {
	signal.Stop(s.end)
	signal.Stop(s.hangup)
}

// serve runs the fleet until a signal, or until the stdio client leaves.
func serve(cmd *cobra.Command, f *serveFlags) error {
	if err := f.read(cmd); err != nil {
		return err
	}
	if err := f.refuseOpenHost(); err != nil {
		return err
	}
	keepDescriptors()
	caught := catchSignals()
	defer caught.release()
	out := &logOutput{talk: cmd.ErrOrStderr()}
	defer out.close()
	rt, err := hangar.New(hangar.Options{
		DataDir: f.dataDir, ConfigFile: f.config, Durability: hangar.Durability(f.durability),
		MaxParallelStarts: f.maxStarts, CallTimeout: f.callTimeout,
		AllowedHosts: f.hosts(), AllowedOrigins: f.allowedOrigins,
		OpenLog:     func(settings hangar.LogSettings) (*slog.Logger, error) { return out.open(f, settings) },
		SetLogLevel: func(level string) { out.setLevel(f, level) },
		Warnings:    out,
	})
	if err != nil {
		return err
	}
	if err := rt.Start(context.Background()); err != nil {
		return &codedError{exitSystem, errors.Join(err, rt.Close(context.Background()))}
	}
	running, ended := context.WithCancel(context.Background())
	defer ended()
	go keepSmall(running, rt)
	go reloadOnHangup(running, rt, caught.hangup)
	done := make(chan error, 1)
	if f.http {
		ln, err := f.listen()
		if err != nil {
			return errors.Join(err, rt.Close(context.Background()))
		}
		servers, addr := rt.Servers().List(), ln.Addr().String()
		out.logger.Info("serving", "address", addr, "mcp_servers", len(servers), "data_dir", f.dataDir)
		if out.talks() {
			f.printHints(out.talk, servers, addr)
		}
		go func() { done <- rt.Serve(context.Background(), ln) }()
	} else {
		if out.talks() && stdinIsTerminal() {
			fmt.Fprintln(out.talk, "Hangar waits for an MCP client on stdin; --http serves HTTP, Ctrl-D ends.")
		}
		go func() { done <- rt.ServeStdio(context.Background(), os.Stdin, os.Stdout) }()
	}
	err = awaitEnd(rt, out.logger, f.http, caught, done)
	var coded *codedError
	if err == nil || errors.As(err, &coded) {
		return err
	}
	return &codedError{exitSystem, err}
}

// awaitEnd waits for the end and carries it out. A second signal is a wish for
// haste: nothing drains any more, what runs is killed, the state is closed all
// the same. A third one ends the process as it is; its children die with it.
// The end of stdin counts as the first: a client that sends a signal after it
// kills next. A listener that failed does not: other clients' calls drain.
func awaitEnd(rt *hangar.Runtime, logger *slog.Logger, http bool, caught signals, done <-chan error) error {
	var failure error
	asked := 1 // times that we were told to end
	select {
	case failure = <-done:
		done = nil
		if http {
			asked = 0
			logger.Error("closing, for the listener has ended; a second signal ends without waiting", "err", failure)
		} else {
			logger.Info("closing, for the client has left; a signal ends without waiting")
		}
	case sig := <-caught.end:
		logger.Info("closing, a second signal ends without waiting", "signal", sig.String())
	}
	closing, hurry := context.WithTimeout(context.Background(), shutdownTime)
	defer hurry()
	closed := make(chan error, 1)
	go func() { closed <- rt.Close(closing) }()
	var last os.Signal // that asked for haste
	for {
		select {
		case err := <-closed:
			failure = errors.Join(failure, err)
			if done != nil && http {
				awaitConnections(closing, logger, done)
			}
			logger.Info("closed")
			if failure == nil && last == os.Interrupt {
				return &codedError{code: exitInterrupted}
			}
			return failure
		case sig := <-caught.end:
			switch asked++; asked {
			case 1:
				logger.Info("closing already, a second signal ends without waiting", "signal", sig.String())
			case 2:
				last = sig
				logger.Warn("ending without waiting, one more signal ends at once", "signal", sig.String())
				hurry() // kills every instance
			default:
				logger.Error("ending as it is", "signal", sig.String())
				os.Exit(exitInterrupted)
			}
		}
	}
}

// awaitConnections waits for the HTTP server to have sent its last answers.
func awaitConnections(closing context.Context, logger *slog.Logger, done <-chan error) {
	select {
	case err := <-done:
		if err != nil {
			logger.Warn("connections were closed by force", "err", err)
		}
	case <-closing.Done():
		logger.Warn("connections were still open at the end")
	}
}
