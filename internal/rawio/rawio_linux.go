//go:build !race

package rawio

import (
	"syscall"
	"unsafe"
)

// Read reads what there is, at most MaxIO bytes; 0 with a nil error is the end.
// When nothing is there the error is syscall.EAGAIN. fd must not block; nobody
// may close it meanwhile.
func Read(fd int, p []byte) (int, error) {
	return call(syscall.SYS_READ, fd, unsafe.Pointer(unsafe.SliceData(p)), min(len(p), MaxIO))
}

// Write writes what fits, at most MaxIO bytes. When nothing fits the error is
// syscall.EAGAIN. fd must not block; nobody may close it meanwhile.
func Write(fd int, p []byte) (int, error) {
	return call(syscall.SYS_WRITE, fd, unsafe.Pointer(unsafe.SliceData(p)), min(len(p), MaxIO))
}

// writeBoth is Write of both together.
func writeBoth(fd int, first, second []byte) (int, error) {
	switch {
	case len(first) == 0:
		return Write(fd, second)
	case len(second) == 0 || len(first) >= MaxIO:
		return Write(fd, first)
	}
	second = second[:min(len(second), MaxIO-len(first))]
	pieces := [2]syscall.Iovec{{Base: unsafe.SliceData(first)}, {Base: unsafe.SliceData(second)}}
	pieces[0].SetLen(len(first))
	pieces[1].SetLen(len(second))
	return call(syscall.SYS_WRITEV, fd, unsafe.Pointer(&pieces), len(pieces))
}

func call(number uintptr, fd int, p unsafe.Pointer, n int) (int, error) {
	for {
		done, _, errno := syscall.RawSyscall(number, uintptr(fd), uintptr(p), uintptr(n))
		switch errno {
		case 0:
			return int(done), nil
		case syscall.EINTR:
		default:
			return 0, errno
		}
	}
}
