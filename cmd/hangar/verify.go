package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/aabb9013/hangar"
)

// errDamaged: verify has told what is wrong.
var errDamaged = errors.New("the data directory is damaged")

func verifyCommand(f *serveFlags) *cobra.Command {
	return &cobra.Command{
		Use:   "verify",
		Short: "Check the state in a data directory",
		Long: "Check the state in a data directory that no running hangar has open: every checksum, the chain of\n" +
			"the event log from its oldest block to its end, the journal of calls, and whether the stored servers\n" +
			"and the log agree. Nothing is changed. What is wrong is printed with its position and stream, and\n" +
			"the exit code is then 1.",
		Example: "  hangar verify --data-dir data",
		Args:    noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := f.read(cmd); err != nil {
				return err
			}
			dir, err := f.stateDir()
			if err != nil {
				return err
			}
			report, err := hangar.Verify(dir)
			if err != nil {
				return err
			}
			return printReport(cmd, dir, report)
		},
	}
}

func printReport(cmd *cobra.Command, dir string, r *hangar.StateReport) error {
	out := cmd.OutOrStdout()
	fmt.Fprintf(out, "%s: format %d, %d events at positions %d to %d in %d blocks, %d documents\n",
		dir, r.Format, r.Events, r.First, r.Last, r.Blocks, r.Documents)
	if r.Dropped > 0 {
		fmt.Fprintf(out, "%d calls or other events between them were dropped by retention\n", r.Dropped)
	}
	if r.Waiting+r.Torn > 0 {
		fmt.Fprintf(out, "the journal holds %d calls for the next start, and %d that were cut off before anybody was answered\n", r.Waiting, r.Torn)
	}
	for _, fault := range r.Faults {
		fmt.Fprintln(out, "damaged:", fault)
	}
	if r.More > 0 {
		fmt.Fprintf(out, "and %d more\n", r.More)
	}
	if !r.Sound() {
		return fmt.Errorf("%w: %s", errDamaged, dir)
	}
	fmt.Fprintln(out, "sound")
	return nil
}
