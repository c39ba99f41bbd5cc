package reaper

import (
	"errors"
	"sync/atomic"
)

// envKey makes a process the reaper; its value is the owner.
const envKey = "HANGAR_REAPER"

// ErrUnavailable: there can be no reaper here.
var ErrUnavailable = errors.New("no reaper process")

// offered tells that this program becomes the reaper when it is run as one.
// Without that, running it again would be running the host twice.
var offered atomic.Bool
