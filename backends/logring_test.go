package backends

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"
)

func TestLogRingKeepsTheNewestWithinItsBounds(t *testing.T) {
	var r LogRing
	for i := range 3 * LogLines {
		r.Add(time.Now(), 1, false, []byte(fmt.Sprint(i)))
	}
	tail := r.Tail(2 * LogLines)
	if len(tail) != LogLines || tail[LogLines-1].Text != fmt.Sprint(3*LogLines-1) || tail[0].Text != fmt.Sprint(2*LogLines) || r.Dropped() != 2*LogLines {
		t.Errorf("%d lines from %q, %d dropped", len(tail), tail[0].Text, r.Dropped())
	}
	if got := r.Tail(2); len(got) != 2 || got[1] != tail[LogLines-1] {
		t.Errorf("the last two are %v", got)
	}
	for range 100 {
		r.Add(time.Now(), 1, false, []byte(strings.Repeat("ż", LogLineBytes)))
	}
	total := 0
	for _, line := range r.Tail(LogLines) {
		total += len(line.Text)
	}
	last := r.Tail(1)[0]
	if total > LogBytes || len(last.Text) > LogLineBytes || !last.Cut || !strings.HasSuffix(last.Text, "ż") {
		t.Errorf("%d bytes in the ring, the last line has %d and ends in %q", total, len(last.Text), last.Text[len(last.Text)-5:])
	}
	if got := r.Tail(-1); len(got) != 0 {
		t.Errorf("%v", got)
	}
}

// The ring beside a list of all lines that were added: what it tells is always
// the end of that list, and what it dropped the rest.
func FuzzLogRing(f *testing.F) {
	f.Add([]byte("\x00a\x01\xff\x02zz"), uint16(300))
	f.Add(bytes.Repeat([]byte{200, 7, 0, 31, 9}, 40), uint16(9000))
	f.Fuzz(func(t *testing.T, lengths []byte, unit uint16) {
		var r LogRing
		var all []LogLine
		for i, n := range lengths {
			text := strings.Repeat(string(rune('a'+i%26)), int(n)*int(unit)/64) + fmt.Sprint(i)
			line := LogLine{At: time.Unix(int64(i), 0), Epoch: uint64(i / 8), Text: text, Stdout: i%3 == 0}
			r.Add(line.At, line.Epoch, line.Stdout, []byte(text))
			if len(text) > LogLineBytes {
				line.Text, line.Cut = text[:LogLineBytes], true
			}
			all = append(all, line)
			if n == 255 {
				r.DropBefore(uint64(i / 16))
			}
		}
		tail, total := r.Tail(len(all)+1), 0
		first := len(all) - len(tail)
		for i, line := range tail {
			n := first + i
			total += len(line.Text)
			if line != all[n] {
				t.Fatalf("line %d of %d is %.100v, want %.100v", n, len(all), line, all[n])
			}
		}
		if r.Dropped() != uint64(first) || total > LogBytes || cap(r.text.room) > LogBytes {
			t.Errorf("%d lines of %d bytes kept, %d dropped, room for %d", len(tail), total, r.Dropped(), cap(r.text.room))
		}
	})
}

// A line in a flood of them.
func BenchmarkLogRing(b *testing.B) {
	var r LogRing
	text, now := bytes.Repeat([]byte("e"), 99), time.Now()
	b.ReportAllocs()
	b.SetBytes(100)
	for b.Loop() {
		r.Add(now, 1, false, text)
	}
}
