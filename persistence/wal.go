package persistence

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// What badger writes into a write-ahead file: a header, and then entries (meta,
// user meta, lengths of key and value, expiry, key, value, CRC-32C of all that), of
// which the last of a transaction has the key endOfTxn and a timestamp.
const (
	walHeader   = 20
	walMaxKey   = 1 << 16
	endOfTxn    = "!badger!txn"
	endOfTxnKey = len(endOfTxn) + 8
	isEndOfTxn  = 1 << 7 // in meta
)

// damagedWAL looks for write-ahead files with transactions behind an entry that
// cannot be read. Badger takes such an entry for the end of the file, as it is where
// a process was killed, and drops what is behind it without a word; but what a kill
// cuts off has no end of a transaction behind it.
func damagedWAL(dir string) (faults []Fault, err error) {
	names, err := filepath.Glob(filepath.Join(dir, "*.mem"))
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		at, lost, err := lostTransactions(name)
		switch {
		case errors.Is(err, os.ErrNotExist):
		case err != nil:
			return faults, err
		case lost > 0:
			faults = append(faults, Fault{Kind: FaultStore, Text: fmt.Sprintf(
				"the write-ahead file %s is damaged at byte %d, the %d transactions behind that are lost", filepath.Base(name), at, lost)})
		}
	}
	return faults, nil
}

// lostTransactions tells where the sound beginning of a file ends, and how many
// transactions end behind it.
func lostTransactions(name string) (at, lost int, err error) {
	f, err := os.Open(name)
	if err != nil {
		return 0, 0, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil || info.Size() <= walHeader {
		return 0, 0, err
	}
	data, err := unix.Mmap(int(f.Fd()), 0, int(info.Size()), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return 0, 0, err
	}
	defer func() { err = errors.Join(err, unix.Munmap(data)) }()
	at = walHeader
	for n := walEntry(data[at:]); n > 0; n = walEntry(data[at:]) {
		at += n
	}
	const before = 5 // bytes of such an entry before its key
	for rest := data[at:]; ; {
		i := bytes.Index(rest, []byte(endOfTxn))
		if i < 0 {
			return at, lost, nil
		}
		if i >= before && rest[i-before]&isEndOfTxn != 0 && int(rest[i-before+2]) == endOfTxnKey && walEntry(rest[i-before:]) > 0 {
			lost++
		}
		rest = rest[i+len(endOfTxn):]
	}
}

// walEntry is the length of the entry that b begins with, 0 if there is none.
func walEntry(b []byte) int {
	at := 2 // meta and user meta
	var fields [3]uint64
	for i := range fields {
		if at > len(b) {
			return 0
		}
		value, n := binary.Uvarint(b[at:])
		if n <= 0 {
			return 0
		}
		fields[i], at = value, at+n
	}
	key, value := fields[0], fields[1]
	if key == 0 || key > walMaxKey || value > uint64(len(b)) {
		return 0
	}
	end := at + int(key) + int(value)
	if end+crc32.Size > len(b) || crc32.Checksum(b[:end], castagnoli) != binary.BigEndian.Uint32(b[end:]) {
		return 0
	}
	return end + crc32.Size
}

// tellDamagedWAL logs what badger is about to drop. It does not keep the store from
// opening: a loss of power leaves the same, which Process durability allows.
func (s *Badger) tellDamagedWAL() {
	faults, err := damagedWAL(s.opts.Dir)
	for _, f := range faults {
		s.logger.Error("stored changes are lost", "dir", s.opts.Dir, "why", f.Text)
	}
	if err != nil {
		s.logger.Warn("the write-ahead files cannot be checked", "dir", s.opts.Dir, "err", err)
	}
}
