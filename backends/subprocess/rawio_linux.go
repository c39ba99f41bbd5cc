package subprocess

import (
	"syscall"
	"unsafe"
)

// shortIO is up to where a read or write of a pipe that does not wait is so
// short that telling the scheduler of it costs more than it takes.
const shortIO = 8 << 10

// tryWrite writes to a descriptor that does not block.
func tryWrite(fd int, p []byte) (int, error) {
	if len(p) == 0 || len(p) > shortIO {
		return syscall.Write(fd, p)
	}
	n, _, errno := syscall.RawSyscall(syscall.SYS_WRITE, uintptr(fd), uintptr(unsafe.Pointer(&p[0])), uintptr(len(p)))
	if errno != 0 {
		return -1, errno
	}
	return int(n), nil
}

// tryRead reads from a descriptor that does not block. How much there is to
// copy is not known before; it is at most what a pipe holds.
func tryRead(fd int, p []byte) (int, error) {
	if len(p) == 0 {
		return syscall.Read(fd, p)
	}
	n, _, errno := syscall.RawSyscall(syscall.SYS_READ, uintptr(fd), uintptr(unsafe.Pointer(&p[0])), uintptr(len(p)))
	if errno != 0 {
		return -1, errno
	}
	return int(n), nil
}
