//go:build unix

package rawio

import (
	"io"
	"os"
	"syscall"
)

// Stream reads and writes a connection. One goroutine may read while another
// writes. The connection's own deadlines and Close hold, with their errors.
type Stream struct {
	raw syscall.RawConn

	into          []byte
	read          int
	readErr       error
	tryRead       func(fd uintptr) bool
	first, second []byte
	written       int
	writeErr      error
	tryWrite      func(fd uintptr) bool
}

// NewStream returns nil for what is no descriptor.
func NewStream(conn any) *Stream {
	c, ok := conn.(syscall.Conn)
	if !ok {
		return nil
	}
	raw, err := c.SyscallConn()
	if err != nil {
		return nil
	}
	s := &Stream{raw: raw}
	s.tryRead, s.tryWrite = s.attemptRead, s.attemptWrite
	return s
}

// Read is io.Reader's.
func (s *Stream) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	s.into, s.read, s.readErr = p, 0, nil
	err := s.raw.Read(s.tryRead)
	s.into = nil
	switch {
	case err != nil:
		return 0, err
	case s.readErr != nil:
		return 0, os.NewSyscallError("read", s.readErr)
	case s.read == 0:
		return 0, io.EOF
	}
	return s.read, nil
}

func (s *Stream) attemptRead(fd uintptr) bool {
	s.read, s.readErr = Read(int(fd), s.into)
	return s.readErr != syscall.EAGAIN
}

// WriteBoth writes both in one system call, if they fit. It returns how many
// bytes of both were written.
func (s *Stream) WriteBoth(first, second []byte) (int, error) {
	s.first, s.second, s.written, s.writeErr = first, second, 0, nil
	err := s.raw.Write(s.tryWrite)
	s.first, s.second = nil, nil
	if err == nil && s.writeErr != nil {
		err = os.NewSyscallError("write", s.writeErr)
	}
	return s.written, err
}

func (s *Stream) attemptWrite(fd uintptr) bool {
	for len(s.first)+len(s.second) > 0 {
		n, err := writeBoth(int(fd), s.first, s.second)
		if err == syscall.EAGAIN {
			return false
		}
		if err != nil {
			s.writeErr = err
			return true
		}
		s.written += n
		ofFirst := min(n, len(s.first))
		s.first, s.second = s.first[ofFirst:], s.second[n-ofFirst:]
	}
	return true
}
