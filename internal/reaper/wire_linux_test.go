package reaper

import (
	"bytes"
	"encoding/binary"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/aabb9013/hangar/internal/limits"
)

func TestMessagesSurviveTheWire(t *testing.T) {
	for _, list := range [][]string{nil, {""}, {"a", "", "b\xff\x00", strings.Repeat("x", 300)}} {
		sent := request{ID: maxID, Start: launch{
			Path: "/p", Dir: "d", Name: "s/1", Argv: list, Env: list,
			Into: limits.Entry{Dir: "g", Tasks: list, Home: list, After: []limits.Setting{{File: "f", Text: "t"}}, Data: 1 << 63},
		}}
		survives(t, &sent, new(request))
	}
	survives(t, &request{ID: 1, Signal: 9}, new(request))
	survives(t, &notice{Kind: hello}, new(notice))
	survives(t, &notice{exited, maxID, 1 << 22, 2, "no such file", true, 1<<32 - 1}, new(notice))
}

func survives(t *testing.T, sent, got message) {
	t.Helper()
	framed, err := frame(nil, sent)
	if err != nil {
		t.Fatal(err)
	}
	if err := readMessage(bytes.NewReader(framed), got); err != nil || !reflect.DeepEqual(got, sent) {
		t.Errorf("got %+v, %v, want %+v", got, err, sent)
	}
	for size := range len(framed) - headerSize {
		short := slices.Clone(framed[:headerSize+size])
		binary.LittleEndian.PutUint32(short, uint32(size))
		if err := readMessage(bytes.NewReader(short), got); err == nil {
			t.Errorf("%d of %d bytes of %+v were taken for a whole message", size, len(framed)-headerSize, sent)
		}
	}
}

func FuzzReadMessage(f *testing.F) {
	hi, err := frame(nil, &request{ID: 1, Start: launch{Path: "/p", Argv: []string{"p", ""}}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(hi)
	f.Add([]byte{255, 255, 255, 255})
	f.Fuzz(func(t *testing.T, data []byte) {
		var r, same request
		if readMessage(bytes.NewReader(data), &r) != nil {
			return
		}
		again, err := frame(nil, &r)
		if err != nil || readMessage(bytes.NewReader(again), &same) != nil || !reflect.DeepEqual(same, r) {
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
