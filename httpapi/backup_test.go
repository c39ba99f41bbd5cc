package httpapi

import (
	"errors"
	"fmt"
	"testing"

	"github.com/aabb9013/hangar/supervisor"
)

func TestBackupSaysWhyItIsRefused(t *testing.T) {
	for _, c := range []struct {
		err           error
		status        int
		name, message string
	}{
		{fmt.Errorf("%w: give it a directory", supervisor.ErrInMemory), 409, "StateInMemoryError", "give it a directory"},
		{fmt.Errorf("%w: full", supervisor.ErrReadOnly), 507, "StateReadOnlyError", "full"},
		{fmt.Errorf("%w: another backup is under way", supervisor.ErrOverloaded), 429, "RateLimitExceededError", "another backup"},
		{errors.New("disk on fire"), 500, "InternalServerError", "internal error"},
	} {
		a := testAPI(&fakeRuntime{backup: func() (Backup, error) { return Backup{}, c.err }})
		r := send(t, a, request{method: "POST", path: "/api/system/backup"})
		wantError(t, r, c.status, c.name, c.message)
	}
}
