package persistence

import (
	"errors"
	"fmt"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// journalFile is the file of the calls that are not in a block yet.
const journalFile = "calls.journal"

// openJournal makes the buffer in front of the log and writes what an earlier
// run left in it. On a full volume that waits for the first flush that succeeds.
func (s *Badger) openJournal() error {
	path := filepath.Join(s.opts.Dir, journalFile)
	calls, found, err := openCallBuffer(path, s.sizing.journal, s.opts.RunID, s.mark)
	if errors.Is(err, unix.ENOSPC) {
		free, _, _ := s.opts.statfs(s.opts.Dir)
		return &NoSpaceError{Dir: s.opts.Dir, Free: free, Need: uint64(s.sizing.journal)}
	}
	if err != nil {
		return fmt.Errorf("cannot open %s: %w: %w", s.opts.Dir, ErrUnwritable, err)
	}
	s.calls = calls
	if found.damaged > 0 {
		s.logger.Warn("damaged call records dropped", "dir", s.opts.Dir, "records", found.damaged)
	}
	err = s.FlushCalls(0)
	switch {
	case errors.Is(err, ErrNoSpace):
		s.logger.Warn("calls of an earlier run wait for space", "dir", s.opts.Dir, "records", found.records)
	case err != nil:
		return errors.Join(err, calls.close())
	case found.records > 0:
		s.logger.Info("calls of an earlier run recovered", "dir", s.opts.Dir, "records", found.records)
	}
	return nil
}
