package procs

import (
	"slices"
	"strings"
	"testing"
)

// A program built with -buildmode=pie died a second after it fell idle: its
// relocated data is read-only, and yet not in the file.
func TestOnlyPagesOfTheFileAreDropped(t *testing.T) {
	const smaps = `1000-2000 r--p 00000000 08:01 42   /bin/hangar
Size:                  4 kB
Anonymous:             0 kB
VmFlags: rd mr mw me sd
2000-4000 r-xp 00001000 08:01 42   /bin/hangar
Anonymous:             0 kB
4000-5000 r--p 00003000 08:01 42   /bin/hangar
Anonymous:             4 kB
5000-6000 rw-p 00004000 08:01 42   /bin/hangar
Anonymous:             0 kB
6000-7000 r-xp 00000000 08:01 43   /lib/other
Anonymous:             0 kB
7000-8000 rw-p 00000000 00:00 0
Anonymous:             0 kB
8000-9000 rw-s 00000000 08:01 44   /data/calls.journal
Anonymous:             0 kB
9000-a000 rw-s 00000000 00:01 45   anon_inode:[perf]
Anonymous:             0 kB
`
	want := []mapping{{0x1000, 0x2000}, {0x2000, 0x4000}, {0x8000, 0x9000}}
	if got := cleanMappings(strings.NewReader(smaps), "/bin/hangar"); !slices.Equal(got, want) {
		t.Errorf("%x, want %x", got, want)
	}
}
