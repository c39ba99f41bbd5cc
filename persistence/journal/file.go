package journal

import (
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// File is a journal file mapped into memory and cut into segments. What is
// written to a segment is the file's as soon as it is written, for the kernel
// owns the pages: it outlives the process, not the loss of power. The segments
// belong to their users until Close; File itself is for one goroutine.
type File struct {
	file    *os.File
	mem     []byte
	segment int
}

// Open maps the file at path, made with mode 0600 if it is missing, as segments
// of segment bytes. It is extended to size bytes, and to whole segments, never
// shortened. All of its pages are allocated before it is mapped, because a page
// that cannot be had later is a SIGBUS: on a volume without room for them it
// fails with ENOSPC in the error's chain.
func Open(path string, size, segment int) (*File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is no regular file", path)
	}
	if err == nil {
		size = max(size, int(info.Size()))
		size = (size + segment - 1) / segment * segment
		err = allocate(f, info.Size(), int64(size))
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("cannot allocate %s: %w", path, err), f.Close())
	}
	mem, err := unix.Mmap(int(f.Fd()), 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("cannot map %s: %w", path, err), f.Close())
	}
	return &File{file: f, mem: mem, segment: segment}, nil
}

// allocate gives every page of the file a place on the volume. Where the file
// system cannot do that at once, zeros are written to what is new.
func allocate(f *os.File, old, size int64) error {
	err := unix.Fallocate(int(f.Fd()), 0, 0, size)
	if !errors.Is(err, unix.EOPNOTSUPP) || old >= size {
		return err
	}
	_, err = io.CopyN(io.NewOffsetWriter(f, old), zeros{}, size-old)
	return err
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// Segments is how many there are.
func (f *File) Segments() int { return len(f.mem) / f.segment }

// Segment returns the memory of one segment, from 0.
func (f *File) Segment(n int) []byte {
	return f.mem[n*f.segment : (n+1)*f.segment : (n+1)*f.segment]
}

// Close unmaps the file. Who touches a segment afterwards ends the process.
func (f *File) Close() error {
	err := unix.Munmap(f.mem)
	f.mem = nil
	return errors.Join(err, f.file.Close())
}
