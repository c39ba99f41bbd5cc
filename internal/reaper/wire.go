package reaper

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"syscall"

	"github.com/aabb9013/hangar/backends"
	"github.com/aabb9013/hangar/internal/limits"
)

// maxFrame bounds one message on the life-line. The longest is a start with
// its arguments and environment, of which Linux takes 6 MiB at most.
const maxFrame = 16 << 20

// headerSize is the length of the length before each message.
const headerSize = 4

// request is what the runtime wants; it is a start unless it has a signal.
// Both halves are the same program, so there is one version of it.
type request struct {
	ID     uint64  `json:"id"` // of the instance, chosen by the runtime
	Start  *launch `json:"start,omitempty"`
	Signal int     `json:"signal,omitempty"` // to the instance's process group
}

// launch is what the kernel needs to start a program. JSON keeps bytes that are
// no UTF-8 only in byte slices; a list is its strings with a NUL after each.
type launch struct {
	Path []byte `json:"path"`
	Dir  []byte `json:"dir,omitempty"`
	Argv []byte `json:"argv"`
	Env  []byte `json:"env"`
	Name []byte `json:"name,omitempty"` // the instance's, as in its environment
	// Into is the group that the program starts in.
	Into limits.Entry `json:"into"`
}

// notice is what the reaper tells.
type notice struct {
	Kind   noticeKind `json:"kind"`
	ID     uint64     `json:"id,omitempty"`
	PID    int        `json:"pid,omitempty"`
	Errno  int        `json:"errno,omitempty"`  // why it could not be
	Text   string     `json:"text,omitempty"`   // the whole error, with Errno in it
	Short  bool       `json:"short,omitempty"`  // it is a backends.ErrResource
	Status uint32     `json:"status,omitempty"` // of wait4
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

// frame returns a message as it is sent.
func frame(message any) ([]byte, error) {
	body, err := json.Marshal(message)
	if err != nil {
		return nil, err
	}
	if len(body) > maxFrame {
		return nil, fmt.Errorf("a message of %d bytes, at most %d are sent", len(body), maxFrame)
	}
	return append(binary.LittleEndian.AppendUint32(make([]byte, 0, headerSize+len(body)), uint32(len(body))), body...), nil
}

// readBody reads the message behind a header.
func readBody(r io.Reader, header []byte, message any) error {
	size := binary.LittleEndian.Uint32(header)
	if size > maxFrame {
		return fmt.Errorf("a message of %d bytes, at most %d are taken", size, maxFrame)
	}
	body := make([]byte, size)
	if _, err := io.ReadFull(r, body); err != nil {
		return err
	}
	return json.Unmarshal(body, message)
}

// readMessage reads one message that brings no files.
func readMessage(r io.Reader, message any) error {
	var header [headerSize]byte
	if _, err := io.ReadFull(r, header[:]); err != nil {
		return err
	}
	return readBody(r, header[:], message)
}

// joinNUL is a list as launch has it; false if an entry cannot be in one.
func joinNUL(list []string) ([]byte, bool) {
	size := 0
	for _, s := range list {
		size += len(s) + 1
	}
	block := make([]byte, 0, size)
	for _, s := range list {
		for i := range len(s) {
			if s[i] == 0 {
				return nil, false
			}
		}
		block = append(append(block, s...), 0)
	}
	return block, true
}

// splitNUL is the reverse of joinNUL.
func splitNUL(block []byte) []string {
	var list []string
	for begin, i := 0, 0; i < len(block); i++ {
		if block[i] == 0 {
			list = append(list, string(block[begin:i]))
			begin = i + 1
		}
	}
	return list
}
