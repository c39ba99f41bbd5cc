package config

import (
	"bytes"
	"encoding/json"
	"reflect"
	"slices"
)

var (
	rawType     = reflect.TypeFor[json.RawMessage]()
	sectionType = reflect.TypeFor[interface{ recorder() *keyed }]()
)

// same reports whether two values of one type mean the same: where they stand
// in the file does not matter, and nothing is as good as empty.
func same(a, b reflect.Value) bool {
	if a.Type() == rawType {
		return sameJSON(a.Bytes(), b.Bytes())
	}
	switch a.Kind() {
	case reflect.Pointer:
		if a.IsNil() || b.IsNil() {
			return a.IsNil() == b.IsNil()
		}
		return same(a.Elem(), b.Elem())
	case reflect.Slice:
		if a.Len() != b.Len() {
			return false
		}
		for i := range a.Len() {
			if !same(a.Index(i), b.Index(i)) {
				return false
			}
		}
		return true
	case reflect.Map:
		if a.Len() != b.Len() {
			return false
		}
		for it := a.MapRange(); it.Next(); {
			other := b.MapIndex(it.Key())
			if !other.IsValid() || !same(it.Value(), other) {
				return false
			}
		}
		return true
	case reflect.Struct:
		for i := range a.NumField() {
			if a.Type().Field(i).IsExported() && !same(a.Field(i), b.Field(i)) {
				return false
			}
		}
		return !reflect.PointerTo(a.Type()).Implements(sectionType) || sameExtra(keyedOf(a), keyedOf(b))
	}
	return a.Equal(b)
}

// sameExtra compares what open sections hold for others, in any order.
func sameExtra(a, b *keyed) bool {
	if len(a.extra)+len(b.extra) == 0 {
		return true
	}
	return slices.EqualFunc(a.sortedExtra(), b.sortedExtra(), func(a, b extraKey) bool {
		return a.name == b.name && sameJSON(a.value.JSON, b.value.JSON)
	})
}

func sameJSON(a, b json.RawMessage) bool {
	if bytes.Equal(a, b) {
		return true
	}
	var x, y any
	return json.Unmarshal(a, &x) == nil && json.Unmarshal(b, &y) == nil && reflect.DeepEqual(x, y)
}
