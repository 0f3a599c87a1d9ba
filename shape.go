package jsonrpc2

import (
	"cmp"
	"encoding"
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// A shape says how params that are an array are decoded into a type.
type shape struct {
	kind   shapeKind
	most   int     // elements that an array may have; -1: any number
	fields []field // of a structShape, as encoding/json sees and orders them

	// pointers has an element for each embedded pointer on the way to the fields: the
	// index in pointers of the embedded pointer around it, -1 if there is none.
	pointers []int

	names  map[string]int // indexes of fields, by name
	folded map[string]int // by folded name; the first of those that are alike
}

// A shapeKind says what a type makes of an array.
type shapeKind int

const (
	wholeShape  shapeKind = iota // takes the array as it is
	structShape                  // an element for each exported field
	scalarShape                  // takes the one element
	bytesShape                   // takes the array, or one base64 string
	customShape                  // decodes itself, from the array or from its one element
)

// A field is one positional param of a struct.
type field struct {
	index   []int
	typ     reflect.Type
	name    string
	key     string // `"name":`, as encoding/json writes it
	tagged  bool   // the tag gives the name
	omits   bool   // the tag lets encoding/json leave the field out
	zero    string // what is sent by position for a field that was left out
	pointer int    // index in shape.pointers of the innermost one on the way, -1 if there is none

	null nullEffect // for readsNull, which sets it
}

// A nullEffect is what null does to a field that has no value yet.
type nullEffect int

const (
	nullUnknown nullEffect = iota
	nullIgnored
	nullRead
)

// shapes remembers the shapes of the types seen. It belongs to one goroutine.
type shapes map[reflect.Type]*shape

var (
	jsonUnmarshaler = reflect.TypeFor[json.Unmarshaler]()
	textUnmarshaler = reflect.TypeFor[encoding.TextUnmarshaler]()
	jsonMarshaler   = reflect.TypeFor[json.Marshaler]()
	textMarshaler   = reflect.TypeFor[encoding.TextMarshaler]()
)

func (s shapes) of(t reflect.Type) *shape {
	known := s[t]
	if known == nil {
		known = newShape(t)
		s[t] = known
	}
	return known
}

func newShape(t reflect.Type) *shape {
	if isCustom(t) {
		return &shape{kind: customShape, most: -1}
	}
	switch t.Kind() {
	case reflect.Struct:
		return newStructShape(t)
	case reflect.Array:
		return &shape{kind: wholeShape, most: t.Len()}
	case reflect.Slice:
		if isBytes(t) {
			return &shape{kind: bytesShape, most: -1}
		}
		return &shape{kind: wholeShape, most: -1}
	case reflect.Interface:
		return &shape{kind: wholeShape, most: -1}
	}
	return &shape{kind: scalarShape, most: 1}
}

// isBytes reports whether encoding/json encodes a slice as base64.
func isBytes(t reflect.Type) bool {
	ptr := reflect.PointerTo(t.Elem())
	return t.Elem().Kind() == reflect.Uint8 && !ptr.Implements(jsonMarshaler) && !ptr.Implements(textMarshaler)
}

// isCustom reports whether a type, or a pointer to it, has methods of its own
// for JSON or text.
func isCustom(t reflect.Type) bool {
	ptr := reflect.PointerTo(t)
	return ptr.Implements(jsonUnmarshaler) || ptr.Implements(textUnmarshaler) ||
		ptr.Implements(jsonMarshaler) || ptr.Implements(textMarshaler)
}

func newStructShape(t reflect.Type) *shape {
	s := &shape{kind: structShape, names: make(map[string]int), folded: make(map[string]int)}
	s.fields = dominant(s.findFields(t))
	s.most = max(len(s.fields), 1)
	for i := range s.fields {
		f := &s.fields[i]
		s.names[f.name] = i
		folded := string(appendFolded(nil, f.name))
		if _, ok := s.folded[folded]; !ok {
			s.folded[folded] = i
		}
	}
	return s
}

// An embedding is a struct whose fields are looked for: the outermost, or one
// that is embedded in it.
type embedding struct {
	typ      reflect.Type
	index    []int
	pointer  int  // index in shape.pointers of the innermost one on the way, -1 if there is none
	repeated bool // it is embedded at this depth more than once
}

// findFields finds all fields that encoding/json would find, as it does: level
// by level, each type at its least depth.
func (s *shape) findFields(t reflect.Type) (found []field) {
	visited := make(map[reflect.Type]bool)
	for level := []embedding{{typ: t, pointer: -1}}; len(level) > 0; {
		var next []embedding
		for _, e := range level {
			if !visited[e.typ] {
				visited[e.typ] = true
				found, next = s.look(e, found, next)
			}
		}
		level = next
	}
	return found
}

// look appends the fields of one struct to found, and the structs embedded in it
// to next.
func (s *shape) look(e embedding, found []field, next []embedding) ([]field, []embedding) {
	for i := range e.typ.NumField() {
		f := e.typ.Field(i)
		inner := elemOf(f.Type)
		if !f.IsExported() && !(f.Anonymous && inner.Kind() == reflect.Struct) {
			continue
		}
		tag := readTag(f)
		if tag.key == "" {
			continue
		}
		index := append(slices.Clip(e.index), i)
		if f.Anonymous && !tag.named && inner.Kind() == reflect.Struct {
			next = s.embed(next, embedding{typ: inner, index: index, pointer: e.pointer}, f.Type)
			continue
		}
		made := tag.field(f)
		made.index, made.pointer = index, e.pointer
		found = append(found, made)
		if e.repeated { // dominant then drops both
			found = append(found, made)
		}
	}
	return found, next
}

// embed appends a struct that is embedded as t, which may be a pointer to it.
func (s *shape) embed(next []embedding, e embedding, t reflect.Type) []embedding {
	for i := range next {
		if next[i].typ == e.typ {
			next[i].repeated = true
			return next
		}
	}
	if t.Kind() == reflect.Pointer {
		s.pointers = append(s.pointers, e.pointer)
		e.pointer = len(s.pointers) - 1
	}
	return append(next, e)
}

// elemOf returns what t points to, t if it is no pointer.
func elemOf(t reflect.Type) reflect.Type {
	if t.Kind() == reflect.Pointer {
		return t.Elem()
	}
	return t
}

// dominant returns the fields that encoding/json sees, in their order. Of several fields of
// one name it sees the one at the least depth. If there are several at that depth, it sees the
// tagged one, if there is exactly one, or else none.
func dominant(fields []field) []field {
	byName := func(a, b field) int { return strings.Compare(a.name, b.name) }
	byRank := func(a, b field) int {
		if a.tagged != b.tagged && len(a.index) == len(b.index) {
			if a.tagged {
				return -1
			}
			return 1
		}
		return cmp.Compare(len(a.index), len(b.index))
	}
	slices.SortStableFunc(fields, func(a, b field) int { return cmp.Or(byName(a, b), byRank(a, b)) })
	var kept []field
	for len(fields) > 0 {
		n := 1
		for n < len(fields) && fields[n].name == fields[0].name {
			n++
		}
		if n == 1 || byRank(fields[0], fields[1]) != 0 {
			kept = append(kept, fields[0])
		}
		fields = fields[n:]
	}
	slices.SortFunc(kept, func(a, b field) int { return slices.Compare(a.index, b.index) })
	return kept
}

// readsNull reports whether decoding null changes the field of a new struct. It changes a
// json.RawMessage, for example.
func (f *field) readsNull() bool {
	if f.null == nullUnknown {
		f.null = nullIgnored
		v := reflect.New(f.typ)
		if err, _ := newDecoder().decode(jsonNull, v.Interface()); err != nil || !v.Elem().IsZero() {
			f.null = nullRead
		}
	}
	return f.null == nullRead
}

// find returns the index of the field that encoding/json decodes a member into,
// -1 if there is none. name is what stands between the quotes.
func (s *shape) find(name []byte) int {
	name = unescaped(name)
	if i, ok := s.names[string(name)]; ok {
		return i
	}
	var folded [64]byte
	if i, ok := s.folded[string(appendFolded(folded[:0], string(name)))]; ok {
		return i
	}
	return -1
}

// appendFolded appends a name in a form that is the same for all names that differ only in
// case.
func appendFolded(b []byte, name string) []byte {
	for _, r := range name {
		if 'a' <= r && r <= 'z' {
			r -= 'a' - 'A'
		} else if r >= utf8.RuneSelf {
			r = foldRune(r)
		}
		b = utf8.AppendRune(b, r)
	}
	return b
}

// foldRune returns the smallest of the runes that differ from r only in case.
func foldRune(r rune) rune {
	for {
		next := unicode.SimpleFold(r)
		if next <= r {
			return next
		}
		r = next
	}
}
