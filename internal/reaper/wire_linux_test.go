package reaper

import (
	"bytes"
	"slices"
	"testing"
)

func TestListsSurviveTheWire(t *testing.T) {
	for _, list := range [][]string{nil, {""}, {"a", "", "b\xff"}} {
		block, ok := joinNUL(list)
		if got := splitNUL(block); !ok || !slices.Equal(got, list) {
			t.Errorf("%q became %q, %v", list, got, ok)
		}
	}
	if block, ok := joinNUL([]string{"a\x00b"}); ok {
		t.Errorf("a NUL was taken: %q", block)
	}
}

func FuzzReadMessage(f *testing.F) {
	hi, err := frame(request{ID: 1, Start: &launch{Path: []byte("/p")}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(hi)
	f.Add([]byte{255, 255, 255, 255})
	f.Fuzz(func(t *testing.T, data []byte) {
		var r request
		if readMessage(bytes.NewReader(data), &r) != nil {
			return
		}
		again, err := frame(r)
		var same request
		if err != nil || readMessage(bytes.NewReader(again), &same) != nil || same.ID != r.ID {
			t.Errorf("%q was read as %+v and back as %+v, %v", data, r, same, err)
		}
	})
}

func TestMarksTellOwnersAndInstancesApart(t *testing.T) {
	owners := []Owner{0, 1 << 26, 1 << 63, NewOwner(), ^Owner(0)}
	for i, o := range owners {
		for _, id := range []uint64{1, 2, maxID} {
			m := o.mark(id)
			if m.id() != id || m < markBit || m >= 2*markBit {
				t.Errorf("mark %x of owner %s, instance %d", m, o, id)
			}
			for j, other := range owners {
				if m.of(other) != (i == j) {
					t.Errorf("mark %x of %s is of %s: %v", m, o, other, m.of(other))
				}
			}
		}
		if again, err := ParseOwner(o.String()); err != nil || again != o || !o.owns(o.Tag(7)) {
			t.Errorf("%s became %s, %v", o, again, err)
		}
	}
	for _, limit := range []mark{0, 1, 1 << 30, ^mark(0)} {
		if limit.of(0) {
			t.Errorf("the limit %d is taken for a mark", limit)
		}
	}
}
