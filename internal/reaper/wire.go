package reaper

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"syscall"

	"github.com/aabb9013/hangar/backends"
	"github.com/aabb9013/hangar/internal/limits"
)

// maxFrame bounds one message on the life-line. The longest is a start with
// its arguments and environment, of which Linux takes 6 MiB at most.
const maxFrame = 16 << 20

// frameHint is room for most starts.
const frameHint = 4 << 10

// headerSize is the length of the length before each message.
const headerSize = 4

var errGarbled = errors.New("a message that cannot be read")

// message is what either half says. Both are the same program, so there is one
// version of it: numbers as varints, strings and lists with their length before
// them. A start is on the way of every cold call, and so is its coding.
type message interface {
	encode([]byte) []byte
	decode(*decoder)
}

// request is what the runtime wants; it is a start unless it has a signal.
type request struct {
	ID     uint64 // of the instance, chosen by the runtime
	Signal int    // to the instance, see Signal
	Start  launch
}

// launch is what the kernel needs to start a program.
type launch struct {
	Path, Dir string
	Name      string // the instance's, as in its environment
	Argv, Env []string
	Into      limits.Entry // the group that the program starts in
}

// notice is what the reaper tells.
type notice struct {
	Kind   noticeKind
	ID     uint64
	PID    int
	Errno  int    // why it could not be
	Text   string // the whole error, with Errno in it
	Short  bool   // it is a backends.ErrResource
	Status uint32 // of wait4
}

// startError is an error of the reaper as the runtime sees it.
type startError struct {
	text  string
	errno syscall.Errno
	short bool
}

func (e *startError) Error() string { return e.text }

func (e *startError) Unwrap() error { return e.errno }

// Is makes it an ErrResource if it was one.
func (e *startError) Is(target error) bool { return e.short && target == backends.ErrResource }

type noticeKind uint8

// The notices. Every request is answered by started or signalled, in order.
const (
	hello     noticeKind = iota + 1 // the reaper is up, or Errno says why it cannot be
	started                         // the instance has PID, or Errno
	signalled                       // the signal was sent, or the instance had ended
	exited                          // the instance ended and nothing of it is left
)

// frame appends a message as it is sent.
func frame(b []byte, m message) ([]byte, error) {
	begin := len(b)
	b = m.encode(append(b, make([]byte, headerSize)...))
	size := len(b) - begin - headerSize
	if size > maxFrame {
		return b[:begin], fmt.Errorf("a message of %d bytes, at most %d are sent", size, maxFrame)
	}
	binary.LittleEndian.PutUint32(b[begin:], uint32(size))
	return b, nil
}

// readBody reads the message behind a header.
func readBody(r io.Reader, header []byte, m message) error {
	size := binary.LittleEndian.Uint32(header)
	if size > maxFrame {
		return fmt.Errorf("a message of %d bytes, at most %d are taken", size, maxFrame)
	}
	body := make([]byte, size)
	if _, err := io.ReadFull(r, body); err != nil {
		return err
	}
	d := decoder{rest: string(body)}
	m.decode(&d)
	if d.bad || d.rest != "" {
		return errGarbled
	}
	return nil
}

// readMessage reads one message that brings no files.
func readMessage(r io.Reader, m message) error {
	var header [headerSize]byte
	if _, err := io.ReadFull(r, header[:]); err != nil {
		return err
	}
	return readBody(r, header[:], m)
}
