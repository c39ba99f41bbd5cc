package subprocess

import (
	"bytes"
	"sync"
	"time"

	"github.com/aabb9013/hangar/backends"
)

// A child that floods its stderr is read, after the first MiB, a pipe's capacity
// every 8 ms, some 8 MB/s. Those that do at the same time share that, until each
// has 1 MB/s: read as fast as they can write, they had the cores that other
// servers' calls need. Less than 4 MB/s is no flood.
const (
	stderrCredit = 1 << 20
	stderrBurst  = 32 << 10
	stderrRest   = 8 * time.Millisecond
)

var stderrBuffers = sync.Pool{New: func() any { b := make([]byte, 64<<10); return &b }}

// stderrLog is the receiver of a child's stderr: it puts the lines into the
// server's ring for as long as the child lives, for a full pipe would block it.
type stderrLog struct {
	ring    *backends.LogRing // may be nil
	epoch   uint64
	buf     *[]byte // borrowed while there is something to read
	partial []byte
	ended   chan struct{} // closed when all was read
}

// Space implements rawio.Receiver.
func (s *stderrLog) Space() []byte {
	s.buf = stderrBuffers.Get().(*[]byte)
	return *s.buf
}

// Received implements rawio.Receiver.
func (s *stderrLog) Received(n int) bool {
	s.lines((*s.buf)[:n])
	stderrBuffers.Put(s.buf)
	s.buf = nil
	return true
}

// Ended implements rawio.Receiver.
func (s *stderrLog) Ended() {
	if len(s.partial) > 0 {
		s.log(time.Now(), s.partial)
	}
	close(s.ended)
}

// lines logs every whole line of what was left and of data; a line over the
// ring's limit is cut there and its remainder dropped.
func (s *stderrLog) lines(data []byte) {
	now := time.Now()
	for {
		i := bytes.IndexByte(data, '\n')
		if i < 0 {
			break
		}
		line := data[:i]
		if len(s.partial) > 0 {
			line = append(s.partial, line...)
			s.partial = s.partial[:0]
		}
		s.log(now, line)
		data = data[i+1:]
	}
	switch room := backends.LogLineBytes + 1 - len(s.partial); {
	case len(data) == 0 && len(s.partial) == 0:
		s.partial = nil
	case room > 0:
		s.partial = append(s.partial, data[:min(room, len(data))]...)
	}
}

func (s *stderrLog) log(at time.Time, line []byte) {
	if s.ring != nil {
		s.ring.Add(at, s.epoch, false, bytes.TrimSuffix(line, []byte("\r")))
	}
}
