package config

import (
	"fmt"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// field is one key of a section, read from the tags of its struct field:
//
//	cfg:"name"            the key; ",required" and ",scalar" may follow
//	default:"300"         value when the key is absent
//	min:"1" max:"86400"   bounds of a number (seconds for a duration)
//	enum:"a|b|c"          allowed words of a text
//	unread:"why"          accepted, without effect, told as a warning
//	apply:"live"          of a server: a changed value needs no new instance
//
// scalar: a number or true/false is taken as the text it is written as.
type field struct {
	name             string
	index            []int
	kind             reflect.Type
	required, scalar bool
	def              string
	min, max         float64
	bounded          bool // min and max stand in the tags
	enum             []string
	unread           string
	live             bool
}

// plan is the schema of one section type.
type plan struct {
	fields []*field
	byName map[string]*field
	open   bool // further keys are the business of somebody else
	closed bool // an unknown key refuses the file, strict mode or not
}

// openKeys, a blank field of a section, takes its unknown keys without a word:
// the contract does not list what belongs there.
type openKeys struct{}

// closedKeys, a blank field of a section, makes its unknown keys faults: a
// misspelt restriction must not become no restriction.
type closedKeys struct{}

var (
	durationType = reflect.TypeFor[time.Duration]()
	openType     = reflect.TypeFor[openKeys]()
	closedType   = reflect.TypeFor[closedKeys]()
	keyedType    = reflect.TypeFor[keyed]()
)

// maxSeconds bounds a duration without a max of its own: 31 years, far from
// the overflow of time.Duration.
const maxSeconds = 1e9

// newPlan reads the tags of a section. A wrong tag is a mistake of this
// package, found by the first test that loads anything, so it panics.
func newPlan(t reflect.Type) *plan {
	p := &plan{byName: make(map[string]*field)}
	p.add(t, nil)
	return p
}

var plans sync.Map // reflect.Type → *plan

// planOf is newPlan, once for each type.
func planOf(t reflect.Type) *plan {
	p, ok := plans.Load(t)
	if !ok {
		p, _ = plans.LoadOrStore(t, newPlan(t))
	}
	return p.(*plan)
}

func (p *plan) add(t reflect.Type, prefix []int) {
	for i := range t.NumField() {
		sf := t.Field(i)
		index := append(slices.Clone(prefix), i)
		tag, ok := sf.Tag.Lookup("cfg")
		switch {
		case sf.Type == openType:
			p.open = true
		case sf.Type == closedType:
			p.closed = true
		case sf.Type == keyedType || !ok && !sf.Anonymous:
		case sf.Anonymous:
			p.add(sf.Type, index)
		default:
			f := newField(sf, tag, index)
			p.fields = append(p.fields, f)
			p.byName[f.name] = f
		}
	}
}

func newField(sf reflect.StructField, tag string, index []int) *field {
	name, options, _ := strings.Cut(tag, ",")
	f := &field{
		name: name, index: index, kind: sf.Type,
		required: strings.Contains(options, "required"),
		scalar:   strings.Contains(options, "scalar"),
		def:      sf.Tag.Get("default"),
		unread:   sf.Tag.Get("unread"),
		live:     sf.Tag.Get("apply") == "live",
		max:      math.MaxInt32,
	}
	if sf.Type == durationType {
		f.max = maxSeconds
	}
	if enum := sf.Tag.Get("enum"); enum != "" {
		f.enum = strings.Split(enum, "|")
	}
	f.min = f.bound(sf, "min", f.min)
	f.max = f.bound(sf, "max", f.max)
	return f
}

func (f *field) bound(sf reflect.StructField, tag string, otherwise float64) float64 {
	text, ok := sf.Tag.Lookup(tag)
	if !ok {
		return otherwise
	}
	n, err := strconv.ParseFloat(text, 64)
	if err != nil {
		panic(fmt.Sprintf("config: %s of %s: %v", tag, sf.Name, err))
	}
	f.bounded = true
	return n
}

// expectation says what the value of a field must be.
func (f *field) expectation(t reflect.Type) string {
	within := ""
	switch {
	case f.bounded && f.max < maxSeconds && f.max != math.MaxInt32:
		within = fmt.Sprintf(" from %g to %d", f.min, int64(f.max))
	case f.bounded:
		within = fmt.Sprintf(" of at least %g", f.min)
	}
	if t == durationType {
		return "a number of seconds" + within
	}
	switch t.Kind() {
	case reflect.Bool:
		return "true or false"
	case reflect.Int:
		return "a whole number" + within
	case reflect.Float64:
		return "a number" + within
	case reflect.Slice:
		return "a list"
	case reflect.Map, reflect.Struct:
		return "a map"
	}
	if f.enum != nil {
		return "one of " + strings.Join(f.enum, ", ")
	}
	return "a text"
}

// setDefaults puts every default of a section and of the sections in it.
func setDefaults(v reflect.Value) {
	for _, f := range planOf(v.Type()).fields {
		fv := v.FieldByIndex(f.index)
		if f.def != "" {
			if err := setText(fv, f.def); err != nil {
				panic(fmt.Sprintf("config: default of %s: %v", f.name, err))
			}
			continue
		}
		if _, custom := fv.Addr().Interface().(nodeDecoder); fv.Kind() == reflect.Struct && !custom {
			setDefaults(fv)
		}
	}
}

// setText fills a field from the text of a default.
func setText(v reflect.Value, text string) error {
	if v.Type() == durationType {
		seconds, err := strconv.ParseFloat(text, 64)
		v.SetInt(int64(seconds * float64(time.Second)))
		return err
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString(text)
	case reflect.Bool:
		b, err := strconv.ParseBool(text)
		v.SetBool(b)
		return err
	case reflect.Int:
		n, err := strconv.ParseInt(text, 10, 64)
		v.SetInt(n)
		return err
	case reflect.Float64:
		n, err := strconv.ParseFloat(text, 64)
		v.SetFloat(n)
		return err
	case reflect.Slice:
		v.Set(reflect.ValueOf(strings.Split(text, "|")))
	default:
		return fmt.Errorf("no default for %s", v.Type())
	}
	return nil
}
