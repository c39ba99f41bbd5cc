//go:build unix

package httpapi

import (
	"errors"
	"net"
	"syscall"
)

// departed tells whether the other end has closed or reset the connection. As
// in net/http an end that only stopped sending counts as gone. Unread bytes
// hide the end: a client that pipelines is not seen to leave.
func departed(conn net.Conn) bool {
	sc, ok := conn.(syscall.Conn)
	if !ok {
		return false
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return false
	}
	gone := false
	_ = raw.Control(func(fd uintptr) {
		var b [1]byte
		n, _, err := syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		passing := errors.Is(err, syscall.EAGAIN) || errors.Is(err, syscall.EINTR)
		gone = n <= 0 && !passing
	})
	return gone
}
