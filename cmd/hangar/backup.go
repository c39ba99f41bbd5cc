package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/spf13/cobra"

	"github.com/aabb9013/hangar"
)

// maxReply bounds what is read of a runtime's answer.
const maxReply = 1 << 20

func backupCommand(f *serveFlags) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "backup",
		Short: "Back up the state, or restore it",
		Args:  noArguments,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	var output, url string
	create := &cobra.Command{
		Use:   "create",
		Short: "Write the whole state to one file",
		Long: "Write the whole state, servers, event log and call history, to one checksummed file.\n\n" +
			"With --url a running hangar does it, into the directory backups of its data directory, and keeps\n" +
			"the newest five. Without it the data directory is read, which no running hangar may have open.",
		Example: "  hangar backup create --url http://127.0.0.1:8000\n" +
			"  hangar backup create --data-dir data --output hangar.backup",
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := f.read(cmd); err != nil {
				return err
			}
			switch {
			case url != "" && output != "":
				return errors.New("--url and --output exclude each other: a running hangar writes into its own data directory")
			case url != "":
				return createOnline(cmd, url)
			}
			dir, err := f.stateDir()
			if err != nil {
				return err
			}
			info, err := hangar.BackupDir(cmd.Context(), dir, output)
			if err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%s\n%d bytes, events to position %d, sha256 %s\n", info.Path, info.Bytes, info.Position, info.SHA256)
			return nil
		},
	}
	create.Flags().StringVarP(&output, "output", "o", "", "`file` to write, which must not exist; a new one in the directory backups of the data directory")
	create.Flags().StringVar(&url, "url", "", "`address` of a running hangar that is to do it")
	var force bool
	restore := &cobra.Command{
		Use:   "restore file",
		Short: "Make a data directory of a backup",
		Long: "Make a data directory of a backup. The file is checked first, what is made of it is verified, and\n" +
			"then takes its place in one step; if anything fails the directory stays as it was. A directory with\n" +
			"data is refused, and with --force moved aside and kept. One where a volume is mounted cannot be replaced:\n" +
			"name a directory below it.",
		Example: "  hangar backup restore hangar.backup --data-dir data",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 {
				return fmt.Errorf("%q takes the backup's file, but got %d arguments; see %q", cmd.CommandPath(), len(args), cmd.CommandPath()+" --help")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := f.read(cmd); err != nil {
				return err
			}
			dir, err := f.stateDir()
			if err != nil {
				return err
			}
			restored, err := hangar.Restore(args[0], dir, force)
			if err != nil {
				return err
			}
			out, r := cmd.OutOrStdout(), restored.Report
			fmt.Fprintf(out, "%s restored: %d events at positions %d to %d, %d documents\n", dir, r.Events, r.First, r.Last, r.Documents)
			if restored.Replaced != "" {
				fmt.Fprintf(out, "what stood there is now %s\n", restored.Replaced)
			}
			return nil
		},
	}
	restore.Flags().BoolVar(&force, "force", false, "replace a directory that holds data; it is moved aside and kept")
	cmd.AddCommand(create, restore)
	return cmd
}

// stateDir is the data directory of commands that need one.
func (f *serveFlags) stateDir() (string, error) {
	if f.dataDir == "" {
		return "", errors.New("no data directory is given; name it with --data-dir or in HANGAR_DATA_DIR")
	}
	return f.dataDir, nil
}

// createOnline asks a running hangar.
func createOnline(cmd *cobra.Command, url string) error {
	request, err := http.NewRequestWithContext(cmd.Context(), http.MethodPost, strings.TrimSuffix(url, "/")+"/api/system/backup", nil)
	if err != nil {
		return fmt.Errorf("--url: %w", err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return &codedError{exitUnavailable, fmt.Errorf("cannot reach a running hangar: %w", err)}
	}
	defer response.Body.Close()
	var answer struct {
		Path     string `json:"path"`
		Bytes    int64  `json:"size_bytes"`
		Position uint64 `json:"event_log_position"`
		SHA256   string `json:"sha256"`
		Message  string `json:"message"`
	}
	err = json.NewDecoder(io.LimitReader(response.Body, maxReply)).Decode(&answer)
	switch {
	case err != nil:
		return fmt.Errorf("%s did not answer as a hangar does (status %s): %w", url, response.Status, err)
	case response.StatusCode != http.StatusCreated:
		return fmt.Errorf("%s refused the backup: %s (status %s)", url, answer.Message, response.Status)
	}
	fmt.Fprintf(cmd.OutOrStdout(), "%s\n%d bytes, events to position %d, sha256 %s\n", answer.Path, answer.Bytes, answer.Position, answer.SHA256)
	return nil
}
