package persistence

import (
	"log/slog"
	"os"
)

// tellIfReadable warns of a directory that every user of the host may look into:
// the environment of servers stands in it in clear. A directory that the store
// makes itself is the owner's alone; one that it finds is left as it is.
func tellIfReadable(dir string, logger *slog.Logger) {
	info, err := os.Stat(dir)
	if err == nil && info.Mode().Perm()&0o007 != 0 {
		logger.Warn("the data directory holds secrets of servers and other users may read it; chmod o-rwx closes it",
			"dir", dir, "mode", info.Mode().Perm().String())
	}
}
