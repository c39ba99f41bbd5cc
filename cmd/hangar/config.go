package main

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/aabb9013/hangar"
	"github.com/aabb9013/hangar/internal/config"
)

// exitDiffers is how `config diff` says that the files differ; as with diff,
// trouble is 2.
const exitDiffers = 1

// configCommand are the subcommands that look at configuration files. None of
// them needs or touches a running fleet.
func configCommand(f *serveFlags) *cobra.Command {
	parent := &cobra.Command{
		Use: "config", Short: "Check, compare and export configuration files",
		Args: noArguments, RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	parent.AddCommand(
		&cobra.Command{
			Use: "check [FILE]", Short: "Tell every mistake of a configuration file",
			Long: "Read a configuration file as serve does and tell every mistake and warning with its line.\n" +
				"FILE is that of --config unless it is given. Nothing is started.\n\n" +
				"Exit code 0: serve would take the file. 1: it would not. 2: the file cannot be read.\n" +
				"With HANGAR_CONFIG_STRICT=1 an unknown key is a mistake, too.",
			Args: oneFile, RunE: func(cmd *cobra.Command, args []string) error { return checkConfig(cmd, f, args) },
		},
		&cobra.Command{
			Use: "diff OLD NEW", Short: "Show how two configuration files differ in meaning",
			Long: "Compare what two files mean, as a unified diff: defaults are filled in, and the order of keys, quotes\n" +
				"and comments do not count. Secrets are not shown, only that they differ.\n\n" +
				"Exit code 0: they mean the same. 1: they differ. 2: one of them cannot be used.",
			Args: twoFiles, RunE: func(cmd *cobra.Command, args []string) error { return diffConfigs(cmd, args[0], args[1]) },
		},
		&cobra.Command{
			Use: "export [FILE]", Short: "Write a configuration file in its one plain form, without secrets",
			Long: "Write a configuration file with sorted keys, without what is default, and with a ${VARIABLE} in the\n" +
				"place of each secret. FILE is that of --config unless it is given. The variables that must be set\n" +
				"before the result is used stand at its top. POST /api/config/export does it for a running fleet.",
			Args: oneFile, RunE: func(cmd *cobra.Command, args []string) error { return exportConfig(cmd, f, args) },
		},
		&cobra.Command{
			Use: "schema", Short: "Print the JSON Schema of the configuration file, for editors",
			Example: "  hangar config schema > hangar.schema.json\n" +
				"  # yaml-language-server: $schema=hangar.schema.json      as the first line of the file",
			Args: noArguments,
			RunE: func(cmd *cobra.Command, _ []string) error {
				_, err := cmd.OutOrStdout().Write(config.Schema())
				return err
			},
		},
	)
	return parent
}

func oneFile(cmd *cobra.Command, args []string) error {
	if len(args) > 1 {
		return fmt.Errorf("%q takes one file, but got %d", cmd.CommandPath(), len(args))
	}
	return nil
}

func twoFiles(cmd *cobra.Command, args []string) error {
	if len(args) != 2 {
		return &codedError{exitSystem, fmt.Errorf("%q takes two files, but got %d", cmd.CommandPath(), len(args))}
	}
	return nil
}

// loadConfig reads a file as serve does; what cannot be read has exit code 2.
func loadConfig(path string) (*config.Config, error) {
	c, err := config.Load(path, os.LookupEnv)
	if err != nil {
		err = fmt.Errorf("%w: %w", hangar.ErrConfig, err)
	}
	if errors.Is(err, config.ErrUnreadable) {
		return nil, &codedError{exitSystem, err}
	}
	return c, err
}

// loadNamed loads the file that the command is about: the one its argument
// names, or else the one that would be served.
func loadNamed(cmd *cobra.Command, f *serveFlags, args []string) (path string, c *config.Config, err error) {
	if err := f.read(cmd); err != nil {
		return "", nil, err
	}
	path = f.config
	if len(args) == 1 {
		path = args[0]
	}
	if path == "" {
		return "", nil, fmt.Errorf("no file: name it, as in %q, or with --config or MCP_CONFIG", cmd.CommandPath()+" fleet.yaml")
	}
	c, err = loadConfig(path)
	return path, c, err
}

func checkConfig(cmd *cobra.Command, f *serveFlags, args []string) error {
	path, c, err := loadNamed(cmd, f, args)
	if err != nil {
		return err
	}
	for _, w := range c.Warnings() {
		fmt.Fprintln(cmd.ErrOrStderr(), w)
	}
	if missing := c.Unsupported(); len(missing) > 0 {
		return fmt.Errorf("%w: %w: %w", hangar.ErrConfig, hangar.ErrNotBuilt, missing)
	}
	_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s: %d servers, %d groups, %d warnings\n", path, len(c.Definitions), len(c.Groups), len(c.Warnings()))
	return err
}

func diffConfigs(cmd *cobra.Command, oldPath, newPath string) error {
	before, err := loadConfig(oldPath)
	if err != nil {
		return &codedError{exitSystem, err}
	}
	after, err := loadConfig(newPath)
	if err != nil {
		return &codedError{exitSystem, err}
	}
	text, err := config.TextDiff(oldPath, newPath, before, after)
	if err != nil {
		return &codedError{exitSystem, err}
	}
	if _, err := io.WriteString(cmd.OutOrStdout(), text); err != nil {
		return &codedError{exitSystem, err}
	}
	if text != "" {
		return &codedError{code: exitDiffers}
	}
	return nil
}

func exportConfig(cmd *cobra.Command, f *serveFlags, args []string) error {
	_, c, err := loadNamed(cmd, f, args)
	if err != nil {
		return err
	}
	e, err := c.Export()
	if err != nil {
		return err
	}
	for _, v := range e.Variables {
		if v.Made {
			fmt.Fprintf(cmd.ErrOrStderr(), "hangar: the secret at %s became ${%s}\n", v.Path, v.Name)
		}
	}
	_, err = io.WriteString(cmd.OutOrStdout(), e.YAML)
	return err
}
