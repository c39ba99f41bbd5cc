// Command hangar hosts a fleet of MCP servers: `hangar serve --http --config
// fleet.yaml`. It parses flags, makes a runtime of package hangar, and waits;
// it holds no logic of its own.
//
// Reading order: main.go, flags.go, serve.go, listen.go, log.go, reload.go,
// failure.go; config.go is the commands for configuration files, backup.go and
// verify.go those for the state.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/aabb9013/hangar"
)

func main() {
	hangar.BeReaper()
	os.Exit(run(os.Args[1:]))
}

func run(args []string) int {
	runtime.MemProfileRate = 0 // nothing reads the profile, and its table is 1.4 MiB
	stopProfile, err := startProfile()
	if err != nil {
		return report(err)
	}
	defer stopProfile()
	root := rootCommand()
	root.SetArgs(args)
	return report(root.ExecuteContext(context.Background()))
}

func rootCommand() *cobra.Command {
	f := &serveFlags{}
	root := &cobra.Command{
		Use:   "hangar",
		Short: "Host a fleet of MCP servers and keep them alive",
		Long: "Hangar hosts many MCP servers on one node: it starts them on first use, supervises them,\n" +
			"and serves all their tools through one MCP endpoint and a REST API.\n\n" +
			"Without a subcommand it serves.",
		Example: "  hangar --config fleet.yaml serve --http --data-dir data   the fleet at http://127.0.0.1:8000\n" +
			"  hangar --config fleet.yaml                                the fleet for one MCP client over stdio",
		Version:       hangar.Version,
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          noArguments,
		RunE:          func(cmd *cobra.Command, _ []string) error { return serve(cmd, f) },
	}
	root.SetVersionTemplate("hangar {{.Version}}\n")
	root.Flags().BoolP("version", "V", false, "print the version")
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		var invalid *pflag.InvalidValueError
		if errors.As(err, &invalid) {
			err = fmt.Errorf("--%s: %q is no value for it: %w", invalid.GetFlag().Name, invalid.GetValue(), cause(err))
		}
		return fmt.Errorf("%w; %q lists the flags", err, cmd.CommandPath()+" --help")
	})
	f.register(root)
	serveCmd := &cobra.Command{
		Use:   "serve",
		Short: "Serve the fleet over HTTP, or over stdio without --http",
		Long: "Serve the fleet over HTTP (MCP at /mcp, REST at /api, health at /health/ready), or without --http\n" +
			"to one MCP client over stdio.\n\n" +
			"SIGTERM and SIGINT end it: calls under way may finish, every server is stopped, the state is\n" +
			"written. With a second signal nothing is waited for: what runs is killed, the state is written, usually\n" +
			"within a second. The exit code is 0, or 130 if the second was SIGINT (Ctrl-C), or 2 if closing failed.\n" +
			"A third ends it at once, with 130 and the state as it is. Over stdio the end of stdin counts as the first.\n\n" +
			"The configuration file is watched: a change of its servers is applied within seconds, and those that\n" +
			"did not change keep running. SIGHUP applies it at once. The section config_reload sets this.",
		Example: "  hangar serve --config fleet.yaml --http --port 8000 --data-dir data",
		Args:    noArguments,
		RunE:    func(cmd *cobra.Command, _ []string) error { return serve(cmd, f) },
	}
	root.AddCommand(serveCmd, configCommand(f), backupCommand(f), verifyCommand(f), versionCommand(), exampleCommand())
	return root
}

// noArguments refuses arguments and names the command that was probably
// meant.
func noArguments(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	help := cmd.CommandPath() + " --help"
	if cmd.HasParent() {
		return fmt.Errorf("%q takes no argument, but got %q; see %q", cmd.CommandPath(), args[0], help)
	}
	cmd.SuggestionsMinimumDistance = 2
	if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
		return fmt.Errorf("no command %q; did you mean %q? %q lists all", args[0], near[0], help)
	}
	return fmt.Errorf("no command %q; %q lists all", args[0], help)
}

func versionCommand() *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Print the version", Args: noArguments,
		Run: func(cmd *cobra.Command, _ []string) { fmt.Fprintln(cmd.OutOrStdout(), "hangar", hangar.Version) },
	}
}
