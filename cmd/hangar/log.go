package main

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"runtime/pprof"
	"strings"

	"github.com/aabb9013/hangar"
)

// logOutput is where the log goes and in which form, and where people are told
// things besides: what the flags (or their environment variables) say wins over
// the configuration file. stdout is never written to: over stdio it belongs to
// the protocol.
type logOutput struct {
	talk   io.Writer // stderr
	logger *slog.Logger
	level  slog.Level    // at the start
	now    slog.LevelVar // as a reload may have changed it
	json   bool
	file   *os.File // nil: stderr
	queue  *logQueue
}

// open makes the logger.
func (o *logOutput) open(f *serveFlags, settings hangar.LogSettings) (*slog.Logger, error) {
	name := f.logLevel
	if name == "" {
		name = settings.Level
	}
	level, err := parseLevel(name)
	if err != nil {
		return nil, err
	}
	switch {
	case f.verbose:
		level = slog.LevelDebug
	case f.quiet:
		level = slog.LevelError
	}
	o.level, o.json = level, settings.JSON
	if f.given("json-logs") {
		o.json = f.jsonLogs
	}
	path := settings.File
	if f.given("log-file") {
		path = f.logFile
	}
	var out io.Writer = os.Stderr
	if path != "" {
		if o.file, err = os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600); err != nil {
			return nil, fmt.Errorf("cannot open the log file: %w; choose another with --log-file, or --log-file= for stderr", err)
		}
		out = o.file
	}
	o.queue = newLogQueue(out)
	o.now.Set(level)
	opts := &slog.HandlerOptions{Level: &o.now}
	o.logger = slog.New(slog.NewTextHandler(o.queue, opts))
	if o.json {
		o.logger = slog.New(slog.NewJSONHandler(o.queue, opts))
	}
	return o.logger, nil
}

// setLevel takes the level of a reloaded file, unless a flag has set it.
func (o *logOutput) setLevel(f *serveFlags, name string) {
	if f.logLevel != "" || f.verbose || f.quiet {
		return
	}
	if level, err := parseLevel(name); err == nil { // the file was checked
		o.now.Set(level)
	}
}

// talks tells whether stderr may carry lines for people: not when it carries
// a log for programs, and not when quiet was asked for.
func (o *logOutput) talks() bool {
	return o.level < slog.LevelError && (!o.json || o.file != nil)
}

// Write takes a warning about the configuration: for people if they read
// stderr, else for the log.
func (o *logOutput) Write(line []byte) (int, error) {
	if o.talks() {
		return o.talk.Write(line)
	}
	o.logger.Warn("configuration", "detail", strings.TrimSpace(string(line)))
	return len(line), nil
}

func (o *logOutput) close() {
	if o.queue != nil {
		o.queue.close()
	}
	if o.file != nil {
		o.file.Close()
	}
}

func parseLevel(name string) (slog.Level, error) {
	switch strings.ToUpper(name) {
	case "DEBUG":
		return slog.LevelDebug, nil
	case "", "INFO":
		return slog.LevelInfo, nil
	case "WARN", "WARNING":
		return slog.LevelWarn, nil
	case "ERROR", "CRITICAL":
		return slog.LevelError, nil
	}
	return 0, fmt.Errorf("log level %q is not one of DEBUG, INFO, WARNING, ERROR", name)
}

// startProfile writes a CPU profile of the whole run to the file named by
// HANGAR_CPUPROFILE, for the benchmarks.
func startProfile() (stop func(), err error) {
	path := os.Getenv("HANGAR_CPUPROFILE")
	if path == "" {
		return func() {}, nil
	}
	file, err := os.Create(path)
	if err != nil {
		return nil, fmt.Errorf("cannot write the profile: %w", err)
	}
	if err := pprof.StartCPUProfile(file); err != nil {
		file.Close()
		return nil, err
	}
	return func() {
		pprof.StopCPUProfile()
		file.Close()
	}, nil
}
