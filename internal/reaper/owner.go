package reaper

import (
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"
)

// Variables that every process of an instance is started with. They are for
// those who look for processes; what decides is the mark, where there is one.
const (
	RunEnv      = "HANGAR_RUN"      // Owner.Tag of the run
	InstanceEnv = "HANGAR_INSTANCE" // <server>/<epoch>
)

// Owner names the one data directory, or the one runtime without any, that
// processes belong to: 64 random bits.
type Owner uint64

// NewOwner makes a name that nobody else has.
func NewOwner() Owner {
	var random [8]byte
	rand.Read(random[:]) // never fails
	return Owner(binary.LittleEndian.Uint64(random[:]))
}

// ParseOwner reads what String wrote.
func ParseOwner(text string) (Owner, error) {
	n, err := strconv.ParseUint(text, 16, 64)
	if err != nil {
		return 0, fmt.Errorf("an owner is 16 hexadecimal digits, not %q", text)
	}
	return Owner(n), nil
}

func (o Owner) String() string { return fmt.Sprintf("%016x", uint64(o)) }

// Tag is the value of RunEnv in one run of the owner's runtime.
func (o Owner) Tag(run uint64) string { return fmt.Sprintf("%s.%016x", o, run) }

// owns tells whether a tag is of one of the owner's runs.
func (o Owner) owns(tag string) bool { return strings.HasPrefix(tag, o.String()+".") }
