package subprocess

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/aabb9013/hangar/backends"
	"github.com/aabb9013/hangar/internal/rawio"
)

// coresPerReader is for how many cores there is one goroutine that reads answers.
const coresPerReader = 4

// readers read what the children write: answers, and apart from them words, as
// many as a child likes to write to stderr.
type readers struct {
	answers, words []*rawio.Poller // parts of all
	all            []*rawio.Poller
	next           atomic.Uint32
}

func newReaders() (*readers, error) {
	r := &readers{}
	forAnswers := (runtime.GOMAXPROCS(0) + coresPerReader - 1) / coresPerReader
	for range forAnswers + 1 {
		p, err := rawio.NewPoller()
		if err != nil {
			r.close()
			return nil, err
		}
		r.all = append(r.all, p)
	}
	r.answers, r.words = r.all[:forAnswers], r.all[forAnswers:]
	return r, nil
}

// close lets the readers end with the last child.
func (r *readers) close() {
	for _, p := range r.all {
		p.Close()
	}
}

// pipe makes a pipe that one of the pollers reads, and its end for the child.
func (r *readers) pipe(pollers []*rawio.Poller) (*rawio.Source, *os.File, error) {
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_CLOEXEC); err != nil {
		return nil, nil, os.NewSyscallError("pipe2", err)
	}
	write := os.NewFile(uintptr(fds[1]), "|1") // blocks, as children expect
	err := os.NewSyscallError("fcntl", unix.SetNonblock(fds[0], true))
	if err != nil {
		unix.Close(fds[0])
		write.Close()
		return nil, nil, err
	}
	s, err := pollers[int(r.next.Add(1))%len(pollers)].Add(fds[0])
	if err != nil {
		write.Close()
		if errors.Is(err, unix.ENOSPC) {
			err = fmt.Errorf("%w: %w; raise fs.epoll.max_user_watches", backends.ErrResource, err)
		}
		return nil, nil, err
	}
	return s, write, nil
}
