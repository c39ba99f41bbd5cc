package persistence

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
)

// badgerLogger sends badger's messages to slog: errors as warnings, since some
// are reported nowhere else, the rest at debug.
//
// It is also the only place where badger can be held back between two tables of
// a compaction, since it says that it has built one just before it writes it; a
// test proves that it still does.
type badgerLogger struct {
	logger *slog.Logger
	space  *spaceGuard
}

const tableBuilt = "[%d] LOG Compact. Added "

func (l badgerLogger) log(level slog.Level, format string, args []any) {
	if l.logger.Enabled(context.Background(), level) {
		l.logger.Log(context.Background(), level, "badger", "message", strings.TrimSpace(fmt.Sprintf(format, args...)))
	}
}

func (l badgerLogger) Errorf(format string, args ...any)   { l.log(slog.LevelWarn, format, args) }
func (l badgerLogger) Warningf(format string, args ...any) { l.log(slog.LevelDebug, format, args) }
func (l badgerLogger) Infof(format string, args ...any)    { l.log(slog.LevelDebug, format, args) }

// Debugf may wait for space.
func (l badgerLogger) Debugf(format string, args ...any) {
	if strings.HasPrefix(format, tableBuilt) {
		l.space.holdTable()
	}
	l.log(slog.LevelDebug, format, args)
}
