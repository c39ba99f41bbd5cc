package rawio

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

// collect is a Receiver that keeps all.
type collect struct {
	space []byte
	want  int // bytes after which it wants no more; 0 = all
	ended chan struct{}

	mu  sync.Mutex
	got bytes.Buffer
}

func newCollect(space int) *collect {
	return &collect{space: make([]byte, space), ended: make(chan struct{})}
}

func (c *collect) Space() []byte { return c.space }

func (c *collect) Received(n int) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.got.Write(c.space[:n])
	return c.want == 0 || c.got.Len() < c.want
}

func (c *collect) Ended() { close(c.ended) }

func (c *collect) text() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.got.String()
}

func (c *collect) await(t testing.TB, text string) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); c.text() != text; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%q came, want %q", c.text(), text)
		}
	}
}

func newPoller(t testing.TB) *Poller {
	t.Helper()
	p, err := NewPoller()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

func add(t testing.TB, p *Poller) (*Source, *os.File) {
	t.Helper()
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	if err := unix.SetNonblock(fds[0], true); err != nil {
		t.Fatal(err)
	}
	w := os.NewFile(uintptr(fds[1]), "w")
	t.Cleanup(func() { w.Close() })
	s, err := p.Add(fds[0])
	if err != nil {
		t.Fatal(err)
	}
	return s, w
}

// Every byte of many pipes arrives in order, however it is cut, and their ends
// after it; then nothing is left.
func TestPollerReadsAll(t *testing.T) {
	defer goleak.VerifyNone(t)
	p, err := NewPoller()
	if err != nil {
		t.Fatal(err)
	}
	var writers sync.WaitGroup
	for i := range 3 * pollBatch {
		s, w := add(t, p)
		to := newCollect(1 + i*7)
		s.Start(to)
		writers.Go(func() {
			sum := sha256.New()
			for n := range 40 {
				line := bytes.Repeat([]byte{byte(i)}, n*n)
				sum.Write(line)
				if _, err := w.Write(line); err != nil {
					t.Error(err)
				}
			}
			w.Close()
			<-to.ended
			if got := sha256.Sum256(to.got.Bytes()); !bytes.Equal(got[:], sum.Sum(nil)) {
				t.Errorf("pipe %d: other bytes came, %d", i, to.got.Len())
			}
			s.Close()
		})
	}
	p.Close()
	writers.Wait()
}

// A child's last word and its end may come as one, even before Start.
func TestPollerSeesTheEndBehindTheLastByte(t *testing.T) {
	p := newPoller(t)
	for name, space := range map[string]int{"room": 1 << 10, "none": 4} {
		for _, early := range []bool{false, true} {
			t.Run(fmt.Sprint(name, early), func(t *testing.T) {
				s, w := add(t, p)
				defer s.Close()
				to := newCollect(space)
				if !early {
					s.Start(to)
				}
				io.WriteString(w, "last")
				w.Close()
				if early {
					s.Start(to)
				}
				<-to.ended
				if to.text() != "last" {
					t.Errorf("%q", to.text())
				}
			})
		}
	}
}

func TestSourceEndsWhenNoMoreIsWanted(t *testing.T) {
	s, w := add(t, newPoller(t))
	defer s.Close()
	to := newCollect(2)
	to.want = 4
	s.Start(to)
	io.WriteString(w, "123456")
	<-to.ended
	if to.text() != "1234" {
		t.Errorf("%q", to.text())
	}
}

// Somebody else may hold the pipe open for ever, and write to it.
func TestSourceEndsInTime(t *testing.T) {
	p := newPoller(t)
	s, w := add(t, p)
	to := newCollect(8)
	s.Start(to)
	io.WriteString(w, "some")
	to.await(t, "some")
	s.EndIn(time.Millisecond)
	<-to.ended
	s.Close()
	s.EndIn(0) // finds it closed

	// What lies there at the deadline is read, but not what never ends.
	s, w = add(t, p)
	defer s.Close()
	io.WriteString(w, "first")
	go func() {
		for {
			if _, err := w.Write(make([]byte, 4<<10)); err != nil {
				return
			}
		}
	}()
	to = newCollect(1 << 10)
	s.Start(to)
	s.EndIn(0)
	<-to.ended
	if to.text() == "" {
		t.Error("nothing came")
	}
}

// A pipe that is never empty does not keep the others waiting.
func TestFloodDoesNotStopOthers(t *testing.T) {
	p := newPoller(t)
	s, w := add(t, p)
	flood := newCollect(1 << 10)
	s.Start(flood)
	stop := make(chan struct{})
	flooding := make(chan struct{})
	go func() {
		defer close(flooding)
		for {
			select {
			case <-stop:
				w.Close()
				return
			default:
				w.Write(make([]byte, 64<<10))
				flood.mu.Lock()
				flood.got.Reset()
				flood.mu.Unlock()
			}
		}
	}()
	quiet, v := add(t, p)
	defer quiet.Close()
	to := newCollect(64)
	quiet.Start(to)
	said := ""
	for i := range 100 {
		word := fmt.Sprintln(i)
		io.WriteString(v, word)
		said += word
		to.await(t, said)
	}
	close(stop)
	<-flooding
	<-flood.ended
	s.Close()
}

func TestClosedPollerTakesNothing(t *testing.T) {
	p, err := NewPoller()
	if err != nil {
		t.Fatal(err)
	}
	p.Close()
	p.Close()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	fd, err := unix.Dup(int(r.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Add(fd); err == nil {
		t.Error("a closed poller took a descriptor")
	}
	if err := unix.Close(fd); err != unix.EBADF {
		t.Errorf("the descriptor was left open: %v", err)
	}
}

// BenchmarkPipes compares the ways to read many pipes of which now this
// one, now that one speaks.
func BenchmarkPipes(b *testing.B) {
	const pipes = 100
	b.Run("poller", func(b *testing.B) {
		p := newPoller(b)
		said := make(chan struct{}, pipes)
		var writers []*os.File
		for range pipes {
			s, w := add(b, p)
			defer s.Close()
			s.Start(&told{buf: make([]byte, 512), said: said})
			writers = append(writers, w)
		}
		speak(b, writers, said)
	})
	b.Run("goroutines", func(b *testing.B) {
		said := make(chan struct{}, pipes)
		var writers []*os.File
		for range pipes {
			r, w, err := os.Pipe()
			if err != nil {
				b.Fatal(err)
			}
			defer r.Close()
			defer w.Close()
			go func() {
				for buf := make([]byte, 512); ; {
					if _, err := r.Read(buf); err != nil {
						return
					}
					said <- struct{}{}
				}
			}()
			writers = append(writers, w)
		}
		speak(b, writers, said)
	})
}

func speak(b *testing.B, writers []*os.File, said chan struct{}) {
	b.ReportAllocs()
	word := make([]byte, 200)
	i := 0
	for b.Loop() {
		for range 16 {
			i++
			if _, err := writers[i*7%len(writers)].Write(word); err != nil {
				b.Fatal(err)
			}
		}
		for range 16 {
			<-said
		}
	}
}

// told tells of each read.
type told struct {
	buf  []byte
	said chan struct{}
}

func (t *told) Space() []byte { return t.buf }
func (t *told) Ended()        {}
func (t *told) Received(n int) bool {
	if n > 0 {
		t.said <- struct{}{}
	}
	return true
}

// stuck is a Receiver that asks to be apart and then takes for ever.
type stuck struct {
	*collect
	s      *Source
	stuck  chan struct{}
	goOn   chan struct{}
	wanted bool
}

func (c *stuck) Received(n int) bool {
	if n == 0 {
		return true
	}
	if !c.wanted {
		c.wanted = true
		c.s.Apart()
		return c.collect.Received(n)
	}
	close(c.stuck)
	<-c.goOn
	return c.collect.Received(n)
}

// Whoever takes long keeps nobody waiting once he has said so, and loses nothing.
func TestSourceApart(t *testing.T) {
	defer goleak.VerifyNone(t)
	p, err := NewPoller()
	if err != nil {
		t.Fatal(err)
	}
	s, w := add(t, p)
	slow := &stuck{collect: newCollect(4), s: s, stuck: make(chan struct{}), goOn: make(chan struct{})}
	s.Start(slow)
	io.WriteString(w, "12345678")
	<-slow.stuck
	quiet, v := add(t, p)
	to := newCollect(64)
	quiet.Start(to)
	io.WriteString(v, "hello")
	to.await(t, "hello")
	close(slow.goOn)
	slow.await(t, "12345678")
	w.Close()
	<-slow.ended
	s.Close()
	v.Close()
	<-to.ended
	quiet.Close()
	p.Close()
}

// All that a dead child left in its pipe is read, however busy the poller was.
func TestSourceEndsWithAWholePipe(t *testing.T) {
	p := newPoller(t)
	other, ow := add(t, p)
	busy := &stuck{collect: newCollect(16), s: other, stuck: make(chan struct{}), goOn: make(chan struct{}), wanted: true}
	other.Start(busy)
	io.WriteString(ow, "x")
	<-busy.stuck
	s, w := add(t, p)
	s.Widen(256 << 10)
	to := newCollect(64 << 10)
	s.Start(to)
	left := bytes.Repeat([]byte("0123456789abcde\n"), 200<<10/16)
	if _, err := w.Write(left); err != nil {
		t.Fatal(err)
	}
	w.Close()
	s.EndIn(0)
	<-to.ended
	if to.text() != string(left) {
		t.Errorf("%d bytes came of %d", to.got.Len(), len(left))
	}
	close(busy.goOn)
	s.Close()
	other.Close()
}

// A source that rests is not read, also when its writer ends, and others are;
// what its end finds is read at once.
func TestPacedSourceRests(t *testing.T) {
	p := newPoller(t)
	s, w := add(t, p)
	defer s.Close()
	s.Pace(3, 1, time.Hour)
	to := newCollect(2)
	s.Start(to)
	io.WriteString(w, "123456789")
	to.await(t, "1234")
	w.Close()
	beside, v := add(t, p)
	defer beside.Close()
	other := newCollect(8)
	beside.Start(other)
	for _, text := range []string{"a", "ab", "abc"} {
		v.WriteString(text[len(text)-1:])
		other.await(t, text)
	}
	if got := to.text(); got != "1234" {
		t.Errorf("%q was read while it rests", got)
	}
	s.EndIn(0)
	<-to.ended
	if got := to.text(); got != "123456789" {
		t.Errorf("%q came in the end", got)
	}
}

// However often it rests, every byte arrives, and the end.
func TestPacedSourceIsReadToItsEnd(t *testing.T) {
	const sources, size = 8, 1 << 20
	p := newPoller(t)
	var writers sync.WaitGroup
	for i := range sources {
		s, w := add(t, p)
		s.Pace(1<<10<<i, 1<<10, time.Microsecond)
		to := newCollect(4 << 10 << (i % 5))
		s.Start(to)
		writers.Go(func() {
			defer s.Close()
			data := bytes.Repeat([]byte("0123456789abcdef"), size/16)
			for at := 0; at < size; at += 10_007 {
				if _, err := w.Write(data[at:min(at+10_007, size)]); err != nil {
					t.Error(err)
				}
			}
			w.Close()
			<-to.ended
			if !bytes.Equal(to.got.Bytes(), data) {
				t.Errorf("source %d: other bytes came, %d", i, to.got.Len())
			}
		})
	}
	writers.Wait()
	for end := time.Now().Add(30 * time.Second); p.resting.Load() != 0; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%d rest, and all have ended", p.resting.Load())
		}
	}
}

// Sources that rest together rest longer, but none for ever.
func TestRestsAreShared(t *testing.T) {
	p := newPoller(t)
	for i := range 2 * restingShare {
		s, w := add(t, p)
		defer s.Close()
		s.Pace(3, 1, time.Hour)
		to := newCollect(4)
		s.Start(to)
		io.WriteString(w, "1234")
		to.await(t, "1234")
		s.mu.Lock()
		beyond := time.Until(s.spentAt).Round(time.Hour)
		s.mu.Unlock()
		if want := time.Duration(min(i, restingShare-1)) * time.Hour; beyond != want {
			t.Errorf("the rest of source %d is %s longer than one alone, want %s", i, beyond, want)
		}
	}
}
