package actors

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/aabb9013/hangar/backends/fake"
	"github.com/aabb9013/hangar/persistence"
	"github.com/aabb9013/hangar/supervisor"
)

func TestACommitTheStoreCannotTakeFailsAlone(t *testing.T) {
	for bad, at := range map[string]int{"first": 0, "between": 2, "last": 4} {
		store := persistence.NewMemory()
		batches := make([]persistence.Batch, 5)
		for i := range batches {
			batches[i].Docs = []persistence.Doc{{Kind: "k", ID: string(rune('a' + i)), Body: []byte("x")}}
		}
		batches[at].Docs[0].Body = make([]byte, persistence.MaxDocBody+1)
		errs := make([]error, len(batches))
		commitEach(store, batches, errs)
		for i, err := range errs {
			_, stored, _ := store.Doc("k", batches[i].Docs[0].ID)
			if fails := i == at; errors.Is(err, persistence.ErrTooLarge) != fails || stored == fails {
				t.Errorf("the %s too large: commit %d: %v, stored %v", bad, i, err, stored)
			}
		}
	}
}

// partly stores the first batch of each commit.
type partly struct{ persistence.Store }

func (p partly) Commit(batches ...persistence.Batch) error {
	return &persistence.PartialError{Applied: 1, Err: persistence.ErrNoSpace}
}

func TestAStoredPartOfAGroupIsToldAsStored(t *testing.T) {
	errs := make([]error, 3)
	commitEach(partly{}, make([]persistence.Batch, 3), errs)
	if errs[0] != nil || !errors.Is(errs[1], supervisor.ErrReadOnly) || !errors.Is(errs[2], persistence.ErrNoSpace) {
		t.Errorf("got %v", errs)
	}
}

// A tool list that is too large to be kept is served all the same, and its
// change is an event.
func TestHugeToolListIsNotKept(t *testing.T) {
	bubble(t, func(t *testing.T) {
		huge := strings.Repeat("x", persistence.MaxDocBody/2)
		s := newTestSystem(t, always(fake.Script{Tools: []string{huge}, ListChanged: true}), spec("a"))
		s.mustEcho("a")
		time.Sleep(5 * time.Second)
		if s.view("a").Catalogue.Tool([]byte("added")) == nil {
			t.Error("the added tool is not listed")
		}
		if n := s.count("a", supervisor.ToolsChanged); n != 1 {
			t.Errorf("%d ToolSchemaChanged events, want 1", n)
		}
	})
}
