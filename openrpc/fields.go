package openrpc

import (
	"cmp"
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"unicode"
)

// A field is one that encoding/json sees in a struct.
type field struct {
	name          string
	typ           reflect.Type
	docKey        string
	index         []int
	tagged        bool // the tag gives the name
	omits         bool // the tag lets encoding/json leave it out
	omitsNil      bool // the tag lets it leave out nil
	quoted        bool // the value stands in a string
	behindPointer bool // it is behind an embedded pointer
}

// isRequired reports whether a server with the option Strict wants the field.
func (f *field) isRequired() bool {
	return !f.omits && !f.behindPointer && f.typ.Kind() != reflect.Pointer
}

// An embedding is a struct whose fields are looked for: the outermost, or one that is embedded
// in it.
type embedding struct {
	typ           reflect.Type
	index         []int
	behindPointer bool // it, or a struct around it, is embedded by a pointer
	repeated      bool // it is embedded at its depth more than once
}

// fieldsOf returns the fields of a struct, in the order in which encoding/json writes them.
func fieldsOf(t reflect.Type) []field {
	var found []field
	visited := make(map[reflect.Type]bool)
	for level := []embedding{{typ: t}}; len(level) > 0; {
		var next []embedding
		for _, e := range level {
			if !visited[e.typ] {
				visited[e.typ] = true
				found, next = e.look(found, next)
			}
		}
		level = next
	}
	return dominant(found)
}

// look appends the fields of one struct to found, and the structs embedded in it to next.
func (e embedding) look(found []field, next []embedding) ([]field, []embedding) {
	for f := range e.typ.Fields() {
		inner := elemOf(f.Type)
		isStruct := f.Anonymous && inner.Kind() == reflect.Struct
		text := f.Tag.Get("json")
		if !f.IsExported() && !isStruct || text == "-" {
			continue
		}
		_, options, _ := strings.Cut(text, ",")
		name := tagName(f.Tag)
		tagged := name != ""
		index := append(slices.Clip(e.index), f.Index...)
		if isStruct && !tagged {
			next = embed(next, embedding{typ: inner, index: index, behindPointer: e.behindPointer || f.Type != inner})
			continue
		}
		if !tagged {
			name = f.Name
		}
		has := func(option string) bool { return slices.Contains(strings.Split(options, ","), option) }
		made := field{
			name: name, typ: f.Type, docKey: docKey(e.typ) + "." + f.Name, index: index,
			tagged: tagged, behindPointer: e.behindPointer,
			omits:    has("omitempty") || has("omitzero"),
			omitsNil: has("omitempty") || has("omitzero") && !implements(f.Type, isZeroer),
			quoted:   has("string") && isQuotable(elemOf(f.Type)),
		}
		found = append(found, made)
		if e.repeated { // so that it is dominant no more
			found = append(found, made)
		}
	}
	return found, next
}

func embed(next []embedding, e embedding) []embedding {
	for i := range next {
		if next[i].typ == e.typ {
			next[i].repeated = true
			return next
		}
	}
	return append(next, e)
}

// tagName returns the name that a tag gives a field, "" for none. encoding/json is asked for odd
// names, since its rules for them depend on its version.
func tagName(tag reflect.StructTag) string {
	const goName = "NotOfTheTag"
	name, _, _ := strings.Cut(tag.Get("json"), ",")
	isOdd := func(c rune) bool { return c != '_' && !unicode.IsLetter(c) && !unicode.IsDigit(c) }
	if strings.IndexFunc(name, isOdd) < 0 {
		return name
	}
	probe := reflect.New(reflect.StructOf([]reflect.StructField{{Name: goName, Type: reflect.TypeFor[bool](), Tag: tag}})).Elem()
	probe.Field(0).SetBool(true) // which omitempty does not omit
	var members map[string]any
	if text, err := json.Marshal(probe.Interface()); err != nil || json.Unmarshal(text, &members) != nil {
		return ""
	}
	for member := range members { // there is one
		if member != goName {
			return member
		}
	}
	return ""
}

// isQuotable reports whether the option string of a tag has an effect on a type.
func isQuotable(t reflect.Type) bool {
	k := t.Kind()
	return !isCustom(t) && (k == reflect.Bool || k == reflect.String || isNumber(k))
}

// dominant returns the fields that encoding/json sees, in their order. Of the fields of one
// name that is the one at the least depth; of several there, the tagged one or else none.
func dominant(fields []field) []field {
	byRank := func(a, b field) int {
		if byDepth := cmp.Compare(len(a.index), len(b.index)); byDepth != 0 || a.tagged == b.tagged {
			return byDepth
		}
		if a.tagged {
			return -1
		}
		return 1
	}
	slices.SortStableFunc(fields, func(a, b field) int { return cmp.Or(strings.Compare(a.name, b.name), byRank(a, b)) })
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
