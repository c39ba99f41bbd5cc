package reaper

import (
	"encoding/binary"

	"github.com/aabb9013/hangar/internal/limits"
)

func (r *request) encode(b []byte) []byte {
	b = binary.AppendUvarint(b, r.ID)
	b = binary.AppendUvarint(b, uint64(r.Signal))
	if r.Signal != 0 {
		return b
	}
	l := &r.Start
	b = appendString(appendString(appendString(b, l.Path), l.Dir), l.Name)
	b = appendList(appendList(b, l.Argv), l.Env)
	b = appendList(appendList(appendString(b, l.Into.Dir), l.Into.Tasks), l.Into.Home)
	b = binary.AppendUvarint(b, uint64(len(l.Into.After)))
	for _, s := range l.Into.After {
		b = appendString(appendString(b, s.File), s.Text)
	}
	return binary.AppendUvarint(b, l.Into.Data)
}

func (r *request) decode(d *decoder) {
	r.ID, r.Signal = d.number(), int(d.number())
	if r.Signal != 0 {
		return
	}
	l := &r.Start
	l.Path, l.Dir, l.Name = d.string(), d.string(), d.string()
	l.Argv, l.Env = d.list(), d.list()
	l.Into.Dir, l.Into.Tasks, l.Into.Home = d.string(), d.list(), d.list()
	for range d.count() {
		l.Into.After = append(l.Into.After, limits.Setting{File: d.string(), Text: d.string()})
	}
	l.Into.Data = d.number()
}

func (n *notice) encode(b []byte) []byte {
	b = binary.AppendUvarint(append(b, byte(n.Kind)), n.ID)
	b = binary.AppendUvarint(binary.AppendUvarint(b, uint64(n.PID)), uint64(n.Errno))
	short := uint64(0)
	if n.Short {
		short = 1
	}
	b = binary.AppendUvarint(appendString(b, n.Text), short)
	return binary.AppendUvarint(b, uint64(n.Status))
}

func (n *notice) decode(d *decoder) {
	n.Kind, n.ID = noticeKind(d.number()), d.number()
	n.PID, n.Errno = int(d.number()), int(d.number())
	n.Text, n.Short = d.string(), d.number() != 0
	n.Status = uint32(d.number())
}

func appendString(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

func appendList(b []byte, list []string) []byte {
	b = binary.AppendUvarint(b, uint64(len(list)))
	for _, s := range list {
		b = appendString(b, s)
	}
	return b
}

// decoder takes a message apart. What it returns shares the memory of the
// message. Once bad it returns zeros.
type decoder struct {
	rest string
	bad  bool
}

func (d *decoder) number() (n uint64) {
	for shift := 0; !d.bad && shift < 64 && len(d.rest) > 0; shift += 7 {
		c := d.rest[0]
		d.rest = d.rest[1:]
		n |= uint64(c&0x7f) << shift
		if c < 0x80 {
			return n
		}
	}
	d.bad = true
	return 0
}

// count is the length of what follows, of which nothing takes less than a byte.
func (d *decoder) count() int {
	n := d.number()
	if n > uint64(len(d.rest)) {
		d.bad = true
		return 0
	}
	return int(n)
}

func (d *decoder) string() string {
	n := d.count()
	s := d.rest[:n]
	d.rest = d.rest[n:]
	return s
}

func (d *decoder) list() []string {
	n := d.count()
	if n == 0 {
		return nil
	}
	list := make([]string, n)
	for i := range list {
		list[i] = d.string()
	}
	return list
}
