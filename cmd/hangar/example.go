package main

import (
	"strings"

	"github.com/spf13/cobra"

	"github.com/aabb9013/hangar/internal/examplefleet"
)

// exampleCommand serves one of the example MCP servers; the example fleet
// runs them as its children.
func exampleCommand() *cobra.Command {
	return &cobra.Command{
		Use:       "example-server NAME",
		Short:     "Serve one of the example MCP servers over stdio: " + strings.Join(examplefleet.Names(), ", "),
		Hidden:    true,
		Args:      cobra.MatchAll(cobra.ExactArgs(1), cobra.OnlyValidArgs),
		ValidArgs: examplefleet.Names(),
		RunE:      func(cmd *cobra.Command, args []string) error { return examplefleet.Run(cmd.Context(), args[0]) },
	}
}
