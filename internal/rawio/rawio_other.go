//go:build unix && (!linux || race)

package rawio

// The race detector takes part in the standard library's reads and writes: it
// learns from them what happened before what, where both ends are in a test.

import "syscall"

// Read is read(2), as on Linux.
func Read(fd int, p []byte) (int, error) { return transfer(syscall.Read, fd, p) }

// Write is write(2), as on Linux.
func Write(fd int, p []byte) (int, error) { return transfer(syscall.Write, fd, p) }

func transfer(call func(int, []byte) (int, error), fd int, p []byte) (int, error) {
	for {
		n, err := call(fd, p[:min(len(p), MaxIO)])
		if err != syscall.EINTR {
			return max(n, 0), err
		}
	}
}

func writeBoth(fd int, first, second []byte) (int, error) {
	if len(first) > 0 {
		return Write(fd, first)
	}
	return Write(fd, second)
}
