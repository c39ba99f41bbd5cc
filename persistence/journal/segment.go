// Package journal keeps records in a memory-mapped file until they are in the
// log, so that what was recorded survives the death of the process without a
// system call per record.
//
// The file is a pool of segments of one size. A segment, all numbers little endian:
//
//	 0  4 bytes  "HJ1\n"
//	 4  8 bytes  sequence number: the order in which segments were begun
//	12  8 bytes  owner: the run that wrote it
//	20  4 bytes  CRC-32C of bytes 0-19
//	24  records, each: a length of two bytes (a padded uvarint), as many bytes,
//	    and the CRC-32C of both, begun with that of the header
//	..  two zero bytes
//
// A segment is used again and again, so old bytes stand behind the last record.
// The header's checksum begins that of each record: what an earlier use left
// behind never passes for a record of this one.
package journal

import (
	"encoding/binary"
	"hash/crc32"
)

const (
	// HeaderSize is where the first record of a segment begins.
	HeaderSize = 24
	// Overhead is what a record takes beside its frame, the end mark included.
	Overhead = checksumSize + endSize

	checksumSize = 4
	endSize      = 2
	lengthSize   = 2
	magic        = "HJ1\n"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Header says what a segment is.
type Header struct {
	Sequence uint64
	Owner    uint64
}

// Begin makes the segment an empty one. It returns the seed of its checksums.
func Begin(segment []byte, h Header) (seed uint32) {
	copy(segment, magic)
	binary.LittleEndian.PutUint64(segment[4:], h.Sequence)
	binary.LittleEndian.PutUint64(segment[12:], h.Owner)
	seed = crc32.Checksum(segment[:20], castagnoli)
	// Without a record first: a kill between the two stores leaves nothing
	// that could be read as one.
	segment[HeaderSize], segment[HeaderSize+1] = 0, 0
	binary.LittleEndian.PutUint32(segment[20:], seed)
	return seed
}

// Seal ends the record whose length and bytes stand at segment[start:end], with
// room for Overhead behind it. It returns where the next one begins.
func Seal(segment []byte, start, end int, seed uint32) (next int) {
	sum := crc32.Update(seed, castagnoli, segment[start:end])
	binary.LittleEndian.PutUint32(segment[end:], sum)
	next = end + checksumSize
	segment[next], segment[next+1] = 0, 0
	return next
}

// Read returns the header of a segment; false when it holds none, as when it was
// never used or the process died while it was begun.
func Read(segment []byte) (h Header, seed uint32, ok bool) {
	seed = crc32.Checksum(segment[:20], castagnoli)
	if string(segment[:4]) != magic || binary.LittleEndian.Uint32(segment[20:]) != seed {
		return Header{}, 0, false
	}
	h.Sequence = binary.LittleEndian.Uint64(segment[4:])
	h.Owner = binary.LittleEndian.Uint64(segment[12:])
	return h, seed, true
}

// Check counts what a segment holds and what is wrong with it. Torn means that
// its last record was being written when the process died; nobody was told of
// it. Damaged records are followed by a sound one, or have lost their length:
// they were complete once.
func Check(segment []byte, seed uint32) (used, records, damaged int, torn bool) {
	used = HeaderSize
	for {
		end, sound := record(segment, used, seed)
		switch {
		case sound:
			used = end
			records++
		case segment[used] == 0 && segment[used+1] == 0:
			return used, records, damaged, false
		default:
			if _, sound = record(segment, end, seed); end == 0 || !sound {
				return used, records, damaged, true
			}
			used = end
			damaged++
		}
	}
}

// Each calls yield with every sound record from offset on, oldest first: its
// bytes with their length, and where the next one begins. used is from Check.
func Each(segment []byte, from, used int, seed uint32, yield func(frame []byte, next int) error) error {
	for from < used {
		next, sound := record(segment, from, seed)
		if next == 0 {
			return nil
		}
		if sound {
			if err := yield(segment[from:next-checksumSize:next-checksumSize], next); err != nil {
				return err
			}
		}
		from = next
	}
	return nil
}

// record says where the record at start ends, 0 when it has no possible length,
// and whether its checksum is right.
func record(segment []byte, start int, seed uint32) (end int, sound bool) {
	if start < HeaderSize || start+lengthSize > len(segment) {
		return 0, false
	}
	n := int(segment[start]&0x7f) | int(segment[start+1])<<7
	body := start + lengthSize + n
	end = body + checksumSize
	if n == 0 || segment[start] < 0x80 || segment[start+1] >= 0x80 || end+endSize > len(segment) {
		return 0, false
	}
	sum := crc32.Update(seed, castagnoli, segment[start:body])
	return end, binary.LittleEndian.Uint32(segment[body:]) == sum
}
