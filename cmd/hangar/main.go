// Command hangar hosts a fleet of MCP servers: `hangar serve --http --config
// fleet.yaml`. It parses flags, makes a runtime of package hangar, and waits;
// it holds no logic of its own.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"

	"github.com/spf13/cobra"

	"github.com/aabb9013/hangar"
)

// Exit codes, as the reference program has them where it has one.
const (
	exitOK          = 0
	exitFailure     = 1 // user or configuration error
	exitSystem      = 2 // system or unexpected error, or a refused unsafe start
	exitUnavailable = 6 // the data directory or port is not to be had
	exitInterrupted = 130
)

// codedError carries the exit code of a failure.
type codedError struct {
	code int
	err  error
}

func (e *codedError) Error() string { return e.err.Error() }
func (e *codedError) Unwrap() error { return e.err }

func main() { os.Exit(run(os.Args[1:])) }

func run(args []string) int {
	runtime.MemProfileRate = 0 // nothing reads the profile, and its table is 1.4 MiB
	stopProfile, err := startProfile()
	if err != nil {
		fmt.Fprintln(os.Stderr, "hangar:", err)
		return exitFailure
	}
	defer stopProfile()
	root := rootCommand()
	root.SetArgs(args)
	if err = root.ExecuteContext(context.Background()); err == nil {
		return exitOK
	}
	fmt.Fprintln(os.Stderr, "hangar:", err)
	var coded *codedError
	switch {
	case errors.As(err, &coded):
		return coded.code
	case errors.Is(err, hangar.ErrLocked), errors.Is(err, hangar.ErrUnwritable), errors.Is(err, hangar.ErrForeign):
		return exitUnavailable
	}
	return exitFailure
}

func rootCommand() *cobra.Command {
	f := &serveFlags{}
	root := &cobra.Command{
		Use:   "hangar",
		Short: "Host a fleet of MCP servers and keep them alive",
		Long: "Hangar hosts many MCP servers on one node: it starts them on first use, supervises them,\n" +
			"and serves all their tools through one MCP endpoint, a REST API, and this command.\n\n" +
			"Without a subcommand it serves.",
		Version:       hangar.Version,
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          cobra.NoArgs,
		RunE:          func(cmd *cobra.Command, _ []string) error { return serve(cmd, f) },
	}
	root.SetVersionTemplate("hangar {{.Version}}\n")
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return fmt.Errorf("%w; see %q", err, cmd.CommandPath()+" --help")
	})
	f.register(root)
	serveCmd := &cobra.Command{
		Use:   "serve",
		Short: "Serve the fleet over HTTP, or over stdio without --http",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return serve(cmd, f) },
	}
	root.AddCommand(serveCmd, versionCommand(), exampleCommand())
	return root
}

func versionCommand() *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Print the version", Args: cobra.NoArgs,
		Run: func(cmd *cobra.Command, _ []string) { fmt.Fprintln(cmd.OutOrStdout(), "hangar", hangar.Version) },
	}
}
