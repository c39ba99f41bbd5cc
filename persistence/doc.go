// Package persistence is the memory of a node: an append-only event log and a
// set of documents, kept in one badger directory. It is the only package that
// imports badger.
//
// # Model
//
// The log is one sequence of events with a global position (from 1, given without
// gaps). Every event also belongs to a stream, which is a server id or "" for
// the node, and has a version within it (from 1, given without gaps). A document is
// the latest state of one thing: (kind, id) and bytes. A [Batch] changes
// documents and appends events all or nothing.
//
// Events reach the log on two ways that meet in the same block format:
//
//	Commit       control events with their documents; stored when it returns
//	CallBuffer → FlushCalls    one packed record per tool call, written in bulk
//
// # Layout
//
//	g/<position of the first record, 8 bytes BE>     block: many records, one checksum
//	i/<stream>\0<version of its first record, BE>    index: which block holds these versions
//	v/<stream>                                       last version of a stream whose newest block was dropped
//	d/<kind>\0<id>                                   document
//	m/format, m/first, m/end                         format version; oldest retained block, and how far
//	                                                 retention is; newest block, what was written, and
//	                                                 how far the journal is in the log
//
// A block is the unit of checksum, of retention and of replay; codec.go and
// block.go describe its bytes. Numbers are held by the single writer and are
// found again by one reverse seek; badger's sequences would leave gaps.
//
// # Retention
//
// Calls and all other events are two classes with bounds of their own, and a
// block holds records of one: a busy fleet's calls do not push out its crashes
// and changes. Without [Retention] calls keep three quarters of
// [Options.MaxLogBytes], the others a quarter.
//
// Every append that finds a class larger drops its oldest blocks with their index
// entries, 64 blocks or twice the bytes it appended, whichever is more, so that
// its cost stays bounded. What stands before all that stays moves the start of
// the log; elsewhere a gap stays for the chain of checksums, one at most between
// two blocks. [Store.History], [Store.StreamEvents] and [Store.Events] then start
// later and leave out positions and versions, which are never used twice. With
// [Options.MaxLogAge] blocks whose newest event is older go too, 64 of each class
// a second. The newest block of the log always stays.
//
// badger returns the disk space at its next compactions: the directory takes at
// most [Stats.MaxDiskBytes], three times the log and sixteen memtables (of 16
// MiB; 2 MiB on a volume under 512 MiB), besides documents and backups.
//
// # Durability
//
// badger writes through memory-mapped files. With [Process] an acknowledged
// write survives kill -9 of the process but not the loss of power; [Power]
// adds one fsync per Commit and per AppendCalls.
//
// Calls wait for their block in the file calls.journal, which is mapped: they
// survive kill -9 from the moment they are recorded (see package journal). Each
// transaction moves the mark behind the last record it holds, so what is found
// in the file at Open is written once. [Power] does not sync it: after a loss of
// power the calls of the last flush interval may be missing.
//
// # A full volume
//
// A mapped page that cannot be had is a SIGBUS, which ends the process from
// inside badger and cannot be caught. So every write is preceded by a look at
// the free space and is refused with [ErrNoSpace] below a floor that leaves room
// for what badger still has to flush and compact; the pages of the active
// write-ahead file are allocated ahead; compactions are held back table by table
// while space is short; and a ballast file of two memtables is given up when
// even that room shrinks. The store becomes writable by itself when space
// returns. What remains: another program that takes all of the floor within the
// tens of milliseconds that a memtable's flush takes can still end the process. No
// acknowledged write is lost then.
//
// # Reading order
//
// store.go (the contract), codec.go, block.go and builder.go (bytes), ledger.go
// (numbers), badger.go, foreign.go, format.go, migrate.go, write.go, read.go,
// retain.go and sweep.go, space.go, callbuffer.go, calljournal.go; memory.go is
// the same over slices.
package persistence
