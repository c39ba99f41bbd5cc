package main

import (
	"math"

	"golang.org/x/sys/unix"
)

// keepDescriptors lets no server inherit what this program was started with,
// such as a socket of a service manager. Everything opened later is closed by
// exec anyhow. A kernel older than 5.11 cannot, and says so to nobody.
func keepDescriptors() { _ = unix.CloseRange(3, math.MaxInt32, unix.CLOSE_RANGE_CLOEXEC) }
