package persistence

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/dgraph-io/badger/v4"
	"golang.org/x/sys/unix"
)

// A backup is one file: a first line, every entry of the store as it was at one
// moment (uvarint + key, uvarint + value, in the order of the keys), an empty
// key, and the SHA-256 of all of that.
const (
	backupMagic = "hangar-backup 1\n"
	// BackupDir is where a store keeps its own backups, in its directory.
	BackupDir = "backups"
	// MaxBackups is how many of them stay; the oldest go.
	MaxBackups = 5

	backupPrefix, backupSuffix = "hangar-", ".backup"
	backupCheckEvery           = 1000 // entries between two looks at the context
)

// BackupInfo describes a finished backup.
type BackupInfo struct {
	Path     string
	Bytes    int64
	Position uint64 // of the newest event in it
	SHA256   string // of the whole file but its last 32 bytes, which say the same
}

// Backup writes all that was stored when it began to w, while reads and writes
// go on. The caller flushes before, if calls just answered are to be in it.
func (s *Badger) Backup(ctx context.Context, w io.Writer) (info BackupInfo, err error) {
	sum := sha256.New()
	counted := &countingWriter{w: w}
	out := bufio.NewWriterSize(io.MultiWriter(counted, sum), 256<<10)
	err = s.view(func(txn *badger.Txn) error {
		last, err := readEnd(txn)
		if err != nil {
			return err
		}
		info.Position = last.position
		return writeEntries(ctx, txn, out)
	})
	if err == nil {
		err = out.Flush()
	}
	if err != nil {
		return BackupInfo{}, fmt.Errorf("cannot back up %s: %w", s.opts.Dir, err)
	}
	digest := sum.Sum(nil)
	if _, err := counted.Write(digest); err != nil {
		return BackupInfo{}, fmt.Errorf("cannot back up %s: %w", s.opts.Dir, err)
	}
	info.Bytes, info.SHA256 = counted.n, hex.EncodeToString(digest)
	return info, nil
}

func writeEntries(ctx context.Context, txn *badger.Txn, out *bufio.Writer) error {
	if _, err := out.WriteString(backupMagic); err != nil {
		return err
	}
	it := txn.NewIterator(badger.IteratorOptions{})
	defer it.Close()
	var length []byte
	put := func(b []byte) error {
		length = binary.AppendUvarint(length[:0], uint64(len(b)))
		out.Write(length) // a bufio.Writer keeps its error
		_, err := out.Write(b)
		return err
	}
	n := 0
	for it.Rewind(); it.Valid(); it.Next() {
		if n++; n%backupCheckEvery == 0 && ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err := put(it.Item().Key()); err != nil {
			return err
		}
		if err := it.Item().Value(put); err != nil {
			return err
		}
	}
	return out.WriteByte(0)
}

type countingWriter struct {
	w io.Writer
	n int64
}

func (c *countingWriter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}

// BackupHere writes a backup into the store's own directory: a file of mode 0600
// in BackupDir, complete when it has its name. Then all but the newest
// MaxBackups go. ErrNoSpace when the volume would fall below its floor.
func (s *Badger) BackupHere(ctx context.Context) (BackupInfo, error) {
	if err := s.space.admit(s.backupBytes()); err != nil {
		return BackupInfo{}, err
	}
	root, err := os.OpenRoot(s.opts.Dir) // a link that leads out of it is not followed
	if err != nil {
		return BackupInfo{}, err
	}
	defer root.Close()
	if err := root.Mkdir(BackupDir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return BackupInfo{}, fmt.Errorf("cannot back up %s: %w: %w", s.opts.Dir, ErrUnwritable, err)
	}
	name := filepath.Join(BackupDir, backupPrefix+s.opts.Now().UTC().Format("20060102T150405.000000000Z")+backupSuffix)
	info, err := writeBackup(name, root.OpenFile, root.Rename, func(w io.Writer) (BackupInfo, error) { return s.Backup(ctx, w) })
	if err != nil {
		return BackupInfo{}, errors.Join(err, ignoreMissing(root.Remove(name+partSuffix)))
	}
	info.Path = filepath.Join(s.opts.Dir, name)
	return info, rotateBackups(root)
}

// BackupTo writes a backup to a new file of mode 0600; fs.ErrExist if there is one,
// or what another backup to it left or is writing.
func (s *Badger) BackupTo(ctx context.Context, path string) (BackupInfo, error) {
	for _, name := range []string{path, path + partSuffix} { // the other one may be of a backup under way
		if _, err := os.Lstat(name); err == nil {
			return BackupInfo{}, fmt.Errorf("cannot write the backup %s: %s: %w", path, name, fs.ErrExist)
		}
	}
	info, err := writeBackup(path, os.OpenFile, os.Rename, func(w io.Writer) (BackupInfo, error) { return s.Backup(ctx, w) })
	if err != nil {
		return BackupInfo{}, errors.Join(err, ignoreMissing(os.Remove(path+partSuffix)))
	}
	info.Path = path
	return info, nil
}

const partSuffix = ".part"

func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// writeBackup gives the file its name when all of it is on the disk.
func writeBackup(name string, open func(string, int, os.FileMode) (*os.File, error), rename func(from, to string) error,
	write func(io.Writer) (BackupInfo, error),
) (BackupInfo, error) {
	f, err := open(name+partSuffix, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return BackupInfo{}, fmt.Errorf("cannot write the backup %s: %w: %w", name, ErrUnwritable, err)
	}
	info, err := write(f)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return BackupInfo{}, err
	}
	if err := rename(name+partSuffix, name); err != nil {
		return BackupInfo{}, fmt.Errorf("cannot write the backup %s: %w", name, err)
	}
	return info, nil
}

// backupBytes is about what a backup takes.
func (s *Badger) backupBytes() (n uint64) {
	_ = s.view(func(txn *badger.Txn) error {
		it := txn.NewIterator(badger.IteratorOptions{})
		defer it.Close()
		for it.Rewind(); it.Valid(); it.Next() {
			n += uint64(it.Item().EstimatedSize())
		}
		return nil
	})
	return n
}

// rotateBackups removes the oldest of our own backups, and what killed ones
// left; names sort by time.
func rotateBackups(root *os.Root) error {
	dir, err := root.Open(BackupDir)
	if err != nil {
		return err
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return err
	}
	var ours []string
	for _, name := range names {
		switch {
		case !strings.HasPrefix(name, backupPrefix):
		case strings.HasSuffix(name, backupSuffix+partSuffix):
			err = errors.Join(err, ignoreMissing(root.Remove(filepath.Join(BackupDir, name))))
		case strings.HasSuffix(name, backupSuffix):
			ours = append(ours, name)
		}
	}
	slices.Sort(ours)
	for _, name := range ours[:max(0, len(ours)-MaxBackups)] {
		err = errors.Join(err, ignoreMissing(root.Remove(filepath.Join(BackupDir, name))))
	}
	return errors.Join(err, dir.Sync())
}

// ErrNotEmpty: a backup is not restored over data unless that is forced.
var ErrNotEmpty = errors.New("directory is not empty")

// Restored describes a restored directory.
type Restored struct {
	Report   *Report // of Verify, on what was restored
	Replaced string  // where what stood there before is now, "" if nothing did
}

// Restore makes dir what it was when the backup was written. The backup is
// checked before anything is touched, what is made of it is verified beside dir,
// and then takes its place in one step. With force what stands in dir is moved
// aside and kept. Errors: ErrCorrupt or ErrForeign (of the backup), ErrNotEmpty,
// ErrLocked, ErrUnwritable.
func Restore(backup, dir string, force bool, audit Auditor) (*Restored, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	if real, err := filepath.EvalSymlinks(dir); err == nil {
		dir = real // a link stays, and what it leads to is replaced where it is
	}
	if err := readBackup(backup, nil); err != nil {
		return nil, err
	}
	lock, occupied, err := claim(dir, force)
	if err != nil {
		return nil, err
	}
	if lock != nil {
		defer lock.dir.Close()
	}
	fresh, err := os.MkdirTemp(filepath.Dir(dir), filepath.Base(dir)+".restoring-")
	if err != nil {
		return nil, fmt.Errorf("cannot restore %s: %w: %w", dir, ErrUnwritable, err)
	}
	defer os.RemoveAll(fresh) // it has another name once all went well
	if err := loadBackup(backup, fresh); err != nil {
		return nil, err
	}
	r := &Restored{}
	if r.Report, err = Verify(fresh, audit); err != nil {
		return nil, err
	}
	if !r.Report.Sound() {
		return nil, fmt.Errorf("cannot restore %s: %w: what was backed up is not sound: %s", dir, ErrCorrupt, r.Report.Faults[0])
	}
	if occupied {
		r.Replaced = dir + ".replaced-" + time.Now().UTC().Format("20060102T150405.000Z")
		err = os.Rename(dir, r.Replaced)
	} else {
		err = ignoreMissing(os.Remove(dir))
	}
	if err == nil {
		if err = os.Rename(fresh, dir); err != nil && occupied {
			err = errors.Join(err, os.Rename(r.Replaced, dir))
		}
	}
	if errors.Is(err, unix.EBUSY) {
		return nil, fmt.Errorf("cannot restore %s: %w: something is mounted there, which cannot be replaced; name a directory below it", dir, ErrUnwritable)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot restore %s: %w: %w", dir, ErrUnwritable, err)
	}
	if occupied { // the backups stay with the path they are looked for at
		err = ignoreMissing(os.Rename(filepath.Join(r.Replaced, BackupDir), filepath.Join(dir, BackupDir)))
	}
	return r, errors.Join(err, syncDir(filepath.Dir(dir)))
}

func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// claim locks the directory if there is one; occupied tells whether it holds
// anything. The lock is held without its pid file, for the directory will go.
func claim(dir string, force bool) (lock *dirLock, occupied bool, err error) {
	if _, err := os.Lstat(dir); errors.Is(err, fs.ErrNotExist) {
		return nil, false, nil
	}
	if lock, err = lockDir(dir); err != nil {
		return nil, false, err
	}
	entries, err := os.ReadDir(dir)
	if err = errors.Join(err, os.Remove(lock.path)); err != nil {
		return nil, false, errors.Join(fmt.Errorf("cannot restore %s: %w: %w", dir, ErrUnwritable, err), lock.dir.Close())
	}
	occupied = len(entries) > 1 // the pid file
	if occupied && !force {
		return nil, false, errors.Join(fmt.Errorf("cannot restore %s: %w", dir, ErrNotEmpty), lock.dir.Close())
	}
	return lock, occupied, nil
}

// readBackup reads a whole backup and checks it; each, if set, gets every entry.
func readBackup(path string, each func(key, value []byte) error) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("cannot read the backup: %w", err)
	}
	defer f.Close()
	r := &backupReader{r: bufio.NewReaderSize(f, 256<<10), sum: sha256.New()}
	damaged := func(reason string) error { return fmt.Errorf("the backup %s is %w: %s", path, ErrCorrupt, reason) }
	magic := make([]byte, len(backupMagic))
	if err := r.full(magic); err != nil || string(magic) != backupMagic {
		if bytes.HasPrefix(magic, []byte("hangar-backup ")) {
			return fmt.Errorf("cannot restore %s: it is %w: another version wrote it", path, ErrNotBackup)
		}
		return fmt.Errorf("cannot restore %s: it is %w", path, ErrNotBackup)
	}
	for {
		key, err := r.bytes(2*MaxName + 64)
		if err != nil {
			return damaged(err.Error())
		}
		if len(key) == 0 {
			break
		}
		value, err := r.bytes(MaxDocBody + 1<<20)
		if err != nil {
			return damaged(err.Error())
		}
		if each != nil {
			if err := each(key, value); err != nil {
				return err
			}
		}
	}
	want := r.sum.Sum(nil)
	got := make([]byte, len(want))
	if _, err := io.ReadFull(r.r, got); err != nil || !bytes.Equal(got, want) {
		return damaged("its checksum does not match")
	}
	if _, err := r.r.ReadByte(); err != io.EOF {
		return damaged("something follows its end")
	}
	return nil
}

type backupReader struct {
	r   *bufio.Reader
	sum hash.Hash
}

func (b *backupReader) full(p []byte) error {
	if _, err := io.ReadFull(b.r, p); err != nil {
		return errors.New("it is cut off")
	}
	b.sum.Write(p)
	return nil
}

// ReadByte makes it an io.ByteReader for the lengths.
func (b *backupReader) ReadByte() (byte, error) {
	var p [1]byte
	err := b.full(p[:])
	return p[0], err
}

func (b *backupReader) bytes(limit uint64) ([]byte, error) {
	n, err := binary.ReadUvarint(b)
	if err != nil {
		return nil, err
	}
	if n > limit {
		return nil, fmt.Errorf("an entry of %d bytes is too long", n)
	}
	p := make([]byte, n)
	return p, b.full(p)
}

// loadBackup fills a new directory.
func loadBackup(path, dir string) error {
	opts := Options{Dir: dir}.withDefaults()
	_, total, err := statfs(dir)
	if err != nil {
		return err
	}
	size := sizeFor(total, opts)
	space := &spaceGuard{dir: dir, floor: size.floor, hard: 3 * uint64(size.memtable), statfs: statfs, logger: opts.Logger}
	db, err := openBadger(opts, size, space)
	if err != nil {
		return err
	}
	batch := db.NewWriteBatch()
	err = readBackup(path, func(key, value []byte) error {
		if err := space.admit(uint64(len(key) + len(value) + entryOverhead)); err != nil {
			return err
		}
		return batch.Set(key, value)
	})
	if err == nil {
		err = batch.Flush()
	}
	batch.Cancel()
	space.leaving.Store(true)
	if err = errors.Join(err, db.Close()); err != nil {
		return err
	}
	// The journal is what shows at once whose directory it is; see checkOwner.
	return os.WriteFile(filepath.Join(dir, journalFile), nil, 0o600)
}
