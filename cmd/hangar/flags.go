package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// serveFlags are the flags of serving; they stand on the root, so that they
// are taken before and after the subcommand.
type serveFlags struct {
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

// envOf lists the environment variables of the reference that set a flag; a
// flag given on the command line wins.
var envOf = map[string]string{
	"config": "MCP_CONFIG", "host": "MCP_HTTP_HOST", "port": "MCP_HTTP_PORT",
	"log-level": "MCP_LOG_LEVEL", "json-logs": "MCP_JSON_LOGS", "data-dir": "HANGAR_DATA_DIR",
	"allowed-hosts": "MCP_TRUSTED_HOSTS", "allowed-origins": "MCP_CORS_ORIGINS",
}

func (f *serveFlags) register(cmd *cobra.Command) {
	fs := cmd.PersistentFlags()
	fs.StringVarP(&f.config, "config", "c", "", "configuration file of the fleet (MCP_CONFIG)")
	fs.StringVar(&f.dataDir, "data-dir", "", "directory of the state and the event log; empty keeps both in memory (HANGAR_DATA_DIR)")
	fs.BoolVar(&f.http, "http", false, "serve HTTP; without it one MCP client is served over stdio (MCP_MODE=http)")
	fs.StringVar(&f.host, "host", "127.0.0.1", "address to listen on (MCP_HTTP_HOST)")
	fs.IntVarP(&f.port, "port", "p", 8000, "port to listen on, 0 for any (MCP_HTTP_PORT)")
	fs.StringVar(&f.logLevel, "log-level", "", "DEBUG, INFO, WARNING or ERROR; INFO unless the file says otherwise (MCP_LOG_LEVEL)")
	fs.StringVar(&f.logFile, "log-file", "", "write the log to this file instead of stderr")
	fs.BoolVar(&f.jsonLogs, "json-logs", false, "write the log as JSON (MCP_JSON_LOGS)")
	fs.BoolVar(&f.unsafeNoAuth, "unsafe-no-auth", false, "allow a non-loopback host although nobody is authenticated")
	fs.StringSliceVar(&f.allowedHosts, "allowed-hosts", nil, "names accepted in the Host header beside loopback ones (MCP_TRUSTED_HOSTS)")
	fs.StringSliceVar(&f.allowedOrigins, "allowed-origins", nil, "origins accepted beside loopback ones (MCP_CORS_ORIGINS)")
	fs.StringVar(&f.durability, "durability", "", "what an acknowledged change survives: process (kill -9) or power")
	fs.IntVar(&f.maxStarts, "max-parallel-starts", 0, "servers that start at once; 0 chooses by the number of cores")
	fs.DurationVar(&f.callTimeout, "call-timeout", 0, "bound of a tool call through MCP (default 5m)")
	fs.BoolVarP(&f.verbose, "verbose", "v", false, "log at level DEBUG")
	fs.BoolVarP(&f.quiet, "quiet", "q", false, "log at level ERROR")
}

// fromEnvironment fills flags that were not given from their variables.
func (f *serveFlags) fromEnvironment(cmd *cobra.Command) error {
	fs := cmd.Flags()
	for name, variable := range envOf {
		value, ok := os.LookupEnv(variable)
		if !ok || value == "" || fs.Changed(name) {
			continue
		}
		if err := fs.Set(name, value); err != nil {
			return fmt.Errorf("environment variable %s: %w", variable, err)
		}
	}
	if mode := strings.ToLower(os.Getenv("MCP_MODE")); mode != "" && !fs.Changed("http") {
		switch mode {
		case "http":
			f.http = true
		case "stdio":
		default:
			return fmt.Errorf("environment variable MCP_MODE must be stdio or http, not %s", strconv.Quote(mode))
		}
	}
	if f.port < 0 || f.port > 65535 {
		return fmt.Errorf("port %d is not between 0 and 65535", f.port)
	}
	return nil
}
