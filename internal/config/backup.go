package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
)

// maxBackups is how many backups of a file are kept: .bak1, the newest, to
// .bak5.
const maxBackups = 5

// WriteBackup keeps text as path.bak1; the older ones move up and the fifth is
// dropped. Only the owner can read it. The new backup is whole or not there,
// also after a crash; its errors are those of the file system.
func WriteBackup(path, text string) (name string, err error) {
	name = path + ".bak1"
	// One name, so that what a killed process leaves is not there for ever.
	unfinished := path + ".bak.tmp"
	if err := remove(unfinished); err != nil {
		return "", fmt.Errorf("cannot write a backup beside %s: %w", path, err)
	}
	temporary, err := os.OpenFile(unfinished, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return "", fmt.Errorf("cannot write a backup beside %s: %w", path, err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, remove(temporary.Name()))
		}
	}()
	_, err = temporary.WriteString(text)
	if err = errors.Join(err, temporary.Sync(), temporary.Close()); err != nil {
		return "", fmt.Errorf("cannot write a backup beside %s: %w", path, err)
	}
	for i := maxBackups - 1; i >= 1; i-- {
		older := path + ".bak" + strconv.Itoa(i+1)
		if err := os.Rename(path+".bak"+strconv.Itoa(i), older); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return "", fmt.Errorf("cannot move the older backup to %s: %w", older, err)
		}
	}
	if err := os.Rename(temporary.Name(), name); err != nil {
		return "", fmt.Errorf("cannot put the backup in its place: %w", err)
	}
	return name, syncDir(filepath.Dir(path))
}

func remove(name string) error {
	if err := os.Remove(name); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
