package persistence_test

import (
	"bytes"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aabb9013/hangar/persistence"
)

// wal is the write-ahead file that a killed writer left, and its content without
// the zeros behind it.
func wal(t *testing.T, dir string) (name string, content []byte) {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "*.mem"))
	if err != nil || len(names) == 0 {
		t.Fatalf("no write-ahead file: %v", err)
	}
	b, err := os.ReadFile(names[0])
	if err != nil {
		t.Fatal(err)
	}
	return names[0], bytes.TrimRight(b, "\x00")
}

// Badger takes damage in a write-ahead file for the end of it: what it drops with
// that is told, by Verify and when the store is opened.
func TestDamagedWriteAheadFileIsTold(t *testing.T) {
	dir := t.TempDir()
	killedWriter(t, dir, 20*time.Millisecond)
	name, content := wal(t, dir)
	wantSound(t, dir)
	content[len(content)/3] ^= 4
	if err := os.WriteFile(name, content, 0o600); err != nil {
		t.Fatal(err)
	}
	report := verified(t, dir)
	if report.Sound() || report.Faults[0].Kind != persistence.FaultStore || !strings.Contains(report.Faults[0].Text, filepath.Base(name)) {
		t.Errorf("got %+v", report)
	}
	var log bytes.Buffer
	open(t, persistence.Options{Dir: dir, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	if !strings.Contains(log.String(), "stored changes are lost") {
		t.Errorf("the log says: %s", &log)
	}
}

// Wherever a kill cuts the file off, that is no damage.
func TestCutWriteAheadFileIsNotDamaged(t *testing.T) {
	dir := t.TempDir()
	killedWriter(t, dir, 20*time.Millisecond)
	name, content := wal(t, dir)
	for range 8 {
		cut := content[:20+rand.IntN(len(content)-20)]
		if err := os.WriteFile(name, append(bytes.Clone(cut), make([]byte, 4096)...), 0o600); err != nil {
			t.Fatal(err)
		}
		for _, f := range verified(t, dir).Faults {
			t.Errorf("cut after %d of %d bytes: %v", len(cut), len(content), f)
		}
	}
}
