package persistence_test

import (
	"encoding/binary"
	"fmt"
	"log/slog"
	"slices"
	"testing"

	"github.com/dgraph-io/badger/v4"

	"github.com/aabb9013/hangar/actors"
	"github.com/aabb9013/hangar/persistence"
)

// TestSubscriberPassesOverDamage: the events of damaged blocks are told as
// dropped, and what stands behind them comes.
func TestSubscriberPassesOverDamage(t *testing.T) {
	const blocks, each = 6, 20
	for _, damaged := range [][]int{{0}, {2}, {2, 3}, {1, 4}} {
		t.Run(fmt.Sprint(damaged), func(t *testing.T) {
			dir := t.TempDir()
			s := open(t, persistence.Options{Dir: dir})
			for range blocks {
				batch := persistence.Batch{Events: slices.Repeat([]persistence.Event{{Kind: "K"}}, each)}
				if err := s.Commit(batch); err != nil {
					t.Fatal(err)
				}
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			bad := map[uint64]bool{}
			for _, block := range damaged {
				first := uint64(block*each + 1)
				for i := range uint64(each) {
					bad[first+i] = true
				}
				rawUpdate(t, dir, func(txn *badger.Txn) error {
					key := binary.BigEndian.AppendUint64([]byte("g/"), first)
					item, err := txn.Get(key)
					if err != nil {
						return err
					}
					value, err := item.ValueCopy(nil)
					if err != nil {
						return err
					}
					return flip(txn, key, value)
				})
			}
			system, err := actors.New(actors.Options{Store: open(t, persistence.Options{Dir: dir}), Logger: slog.New(slog.DiscardHandler)})
			if err != nil {
				t.Fatal(err)
			}
			defer system.Close(t.Context())
			for _, after := range []uint64{0, 2*each - 1, 2*each + 3} {
				passesOver(t, system, after, blocks*each, bad)
			}
		})
	}
}

// passesOver reads the log behind a position up to another and checks that each
// position comes once, or is told as dropped if it is bad.
func passesOver(t *testing.T, system *actors.System, after, until uint64, bad map[uint64]bool) {
	t.Helper()
	sub, err := system.Subscribe(after)
	if err != nil {
		t.Fatal(err)
	}
	defer sub.Close()
	for at := after; at < until; {
		<-sub.Ready()
		events, dropped, err := sub.Next()
		if err != nil {
			t.Fatalf("behind %d, at %d: %v", after, at, err)
		}
		for ; dropped > 0; dropped-- {
			if at++; !bad[at] {
				t.Errorf("behind %d: position %d was told as dropped", after, at)
			}
		}
		for _, e := range events {
			if at++; e.Position != at || bad[at] {
				t.Fatalf("behind %d: position %d came in place of %d", after, e.Position, at)
			}
		}
	}
}
