package link

import (
	"bytes"
	"fmt"
	"time"

	"github.com/aabb9013/hangar/backends"
)

// noise is what a link remembers of the lines that were no message.
type noise struct {
	inARow int
	second time.Time // when the present second of logging began
	logged int       // lines logged in it
}

// onNoise counts a line of stdout that is no message, shows a few of them in the
// server's log, and gives the instance up when it writes nothing else. A blank
// line is noise, but a habit of printing, so it does neither of the two.
func (l *Link) onNoise(line []byte) {
	l.cfg.Streams.Noise.Add(1)
	text := bytes.TrimSpace(line)
	if len(text) == 0 {
		return
	}
	l.logNoise(text)
	if l.noise.inARow++; l.noise.inARow > backends.MaxNoise {
		l.garbled = true
		l.fail(fmt.Errorf("%w: more than %d lines in a row on stdout are no JSON-RPC", backends.ErrProtocol, backends.MaxNoise))
	}
}

func (l *Link) logNoise(text []byte) {
	if l.cfg.Log == nil {
		return
	}
	now := time.Now()
	if now.Sub(l.noise.second) >= time.Second {
		l.noise.second, l.noise.logged = now, 0
	}
	if l.noise.logged >= backends.NoiseLines {
		return
	}
	l.noise.logged++
	l.cfg.Log.Add(now, l.cfg.Epoch, true, text)
}
