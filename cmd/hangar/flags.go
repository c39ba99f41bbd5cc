package main

import (
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/aabb9013/hangar"
)

// serveFlags are the flags of serving; they stand on the root, so that they
// are taken before and after the subcommand.
type serveFlags struct {
	set *pflag.FlagSet // of the command that runs

	config, dataDir              string
	http                         bool
	host                         string
	port                         int
	logLevel, logFile            string
	jsonLogs                     bool
	unsafeNoAuth                 bool
	allowedHosts, allowedOrigins []string
	durability                   string
	maxStarts                    int
	callTimeout                  time.Duration
	verbose, quiet               bool
}

// environment lists the variables of the reference, and one of our own, that
// set a flag; a flag given on the command line wins.
var environment = []struct{ variable, flag string }{
	{"MCP_CONFIG", "config"},
	{"HANGAR_DATA_DIR", "data-dir"},
	{"MCP_HTTP_HOST", "host"},
	{"MCP_HTTP_PORT", "port"},
	{"MCP_LOG_LEVEL", "log-level"},
	{"MCP_JSON_LOGS", "json-logs"},
	{"MCP_TRUSTED_HOSTS", "allowed-hosts"},
	{"MCP_CORS_ORIGINS", "allowed-origins"},
}

func (f *serveFlags) register(cmd *cobra.Command) {
	fs := cmd.PersistentFlags()
	fs.StringVarP(&f.config, "config", "c", "", "configuration `file` of the fleet (MCP_CONFIG); else ~/.config/mcp-hangar/config.yaml or config.yaml, if one is there")
	fs.StringVar(&f.dataDir, "data-dir", "", "`directory` of the state and the event log; without it both are in memory (HANGAR_DATA_DIR)")
	fs.BoolVar(&f.http, "http", false, "serve HTTP; without it one MCP client is served over stdio (MCP_MODE=http)")
	fs.StringVar(&f.host, "host", "127.0.0.1", "`address` to listen on (MCP_HTTP_HOST)")
	fs.IntVarP(&f.port, "port", "p", 8000, "`port` to listen on, 0 for any that is free (MCP_HTTP_PORT)")
	fs.StringVar(&f.logLevel, "log-level", "", "DEBUG, INFO, WARNING or ERROR; the configuration's, else INFO (MCP_LOG_LEVEL)")
	fs.StringVar(&f.logFile, "log-file", "", "`file` to add the log to; the configuration's, else stderr")
	fs.BoolVar(&f.jsonLogs, "json-logs", false, "write the log as JSON, one object per line (MCP_JSON_LOGS)")
	fs.BoolVar(&f.unsafeNoAuth, "unsafe-no-auth", false, "allow a --host that others can reach although nobody is authenticated")
	fs.StringSliceVar(&f.allowedHosts, "allowed-hosts", nil, "`names` accepted in the Host header beside loopback ones (MCP_TRUSTED_HOSTS)")
	fs.StringSliceVar(&f.allowedOrigins, "allowed-origins", nil, "`origins` accepted beside loopback ones (MCP_CORS_ORIGINS)")
	fs.StringVar(&f.durability, "durability", "", "what an acknowledged change survives: process (kill -9) or power; the configuration's, else process")
	fs.IntVar(&f.maxStarts, "max-parallel-starts", 0, "`number` of servers that start at once; the configuration's, else twice the cores")
	fs.DurationVar(&f.callTimeout, "call-timeout", 0, "`bound` of a tool call through MCP (default 5m)")
	fs.BoolVarP(&f.verbose, "verbose", "v", false, "log at level DEBUG")
	fs.BoolVarP(&f.quiet, "quiet", "q", false, "log at level ERROR and print no hints")
}

// given tells whether the flag was set, on the command line or by its
// variable.
func (f *serveFlags) given(name string) bool { return f.set.Changed(name) }

// read fills flags that were not given from their variables and checks what
// package hangar does not.
func (f *serveFlags) read(cmd *cobra.Command) error {
	f.set = cmd.Flags()
	byVariable := map[string]string{}
	for _, e := range environment {
		value, ok := os.LookupEnv(e.variable)
		if !ok || value == "" || f.set.Changed(e.flag) {
			continue
		}
		byVariable[e.flag] = e.variable
		if err := f.set.Set(e.flag, value); err != nil {
			return fmt.Errorf("environment variable %s: %q is no value for --%s: %w", e.variable, value, e.flag, cause(err))
		}
	}
	if f.config == "" && !f.set.Changed("config") {
		f.config = findConfig()
	}
	source := func(flag string) string {
		if variable := byVariable[flag]; variable != "" {
			return "environment variable " + variable
		}
		return "--" + flag
	}
	if mode := os.Getenv("MCP_MODE"); mode != "" && !f.set.Changed("http") {
		switch strings.ToLower(mode) {
		case "http":
			f.http = true
		case "stdio":
		default:
			return fmt.Errorf("environment variable MCP_MODE: %q is neither stdio nor http", mode)
		}
	}
	if f.port < 0 || f.port > 65535 {
		return fmt.Errorf("%s: port %d is not between 0 and 65535", source("port"), f.port)
	}
	if _, err := parseLevel(f.logLevel); err != nil {
		return fmt.Errorf("%s: %w", source("log-level"), err)
	}
	if f.verbose && f.quiet {
		return fmt.Errorf("--verbose and --quiet exclude each other; give one of them")
	}
	if hangar.Durability(f.durability) == hangar.DurabilityPower && f.dataDir == "" {
		return fmt.Errorf("--durability power needs --data-dir: state in memory survives nothing")
	}
	return nil
}
