package subprocess

import (
	"fmt"
	"os"
	"syscall"

	"github.com/aabb9013/hangar/backends"
)

// ReservedDescriptors are kept free of servers: connections, the store and the
// log must work on when there is no room for one server more.
const ReservedDescriptors = 64

// leaveReserve refuses a descriptor from the reserve. The kernel gives out the
// lowest free number, so that the number of the last one tells how many are in
// use: this costs no look at all of them.
func leaveReserve(last *os.File) error {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return nil
	}
	raw, err := last.SyscallConn()
	if err != nil {
		return err
	}
	number := uint64(0)
	if err := raw.Control(func(fd uintptr) { number = uint64(fd) }); err != nil {
		return err
	}
	if number+ReservedDescriptors >= limit.Cur {
		return fmt.Errorf("%w: descriptor %d of %d, the last %d are kept for connections and the log; raise the limit of open files (ulimit -n)",
			backends.ErrResource, number, limit.Cur, ReservedDescriptors)
	}
	return nil
}
