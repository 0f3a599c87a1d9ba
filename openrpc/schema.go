// No library that we tried makes schemas of what encoding/json writes: swaggest/jsonschema-go
// v0.3.74 overflows the stack for some types of TestOddTypes, invopop/jsonschema v0.14.0 allows no
// null in elements, google/jsonschema-go v0.4.3 refuses recursive types.

package openrpc

import (
	"cmp"
	"encoding"
	"encoding/json"
	"fmt"
	"maps"
	"math/big"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"time"
)

var (
	rawMessage = reflect.TypeFor[json.RawMessage]()

	jsonMarshaler   = reflect.TypeFor[json.Marshaler]()
	jsonUnmarshaler = reflect.TypeFor[json.Unmarshaler]()
	textMarshaler   = reflect.TypeFor[encoding.TextMarshaler]()
	textUnmarshaler = reflect.TypeFor[encoding.TextUnmarshaler]()

	isZeroer = reflect.TypeFor[interface{ IsZero() bool }]() // what omitzero asks
)

// A reflector makes the schemas of Go types, as encoding/json encodes their values.
//
//	of            a value wherever it stands, which may be null
//	  value         the same without null: a ref for a named type
//	    component     the schema that it refers to, made once
//	    inline        what a type's kind says
type reflector struct {
	custom  func(reflect.Type) any // Options.Schema
	doc     map[string]string
	names   map[reflect.Type]string // of the components
	schemas map[string]any          // the components
}

func newReflector(opts *Options) *reflector {
	r := &reflector{
		custom: opts.Schema, doc: maps.Clone(opts.Doc),
		names: make(map[reflect.Type]string), schemas: make(map[string]any),
	}
	if r.custom == nil {
		r.custom = func(reflect.Type) any { return nil }
	}
	for key, text := range r.doc {
		r.doc[key] = strings.TrimSpace(text)
	}
	return r
}

// of returns the schema of a value. A nil pointer, slice or map is null.
func (r *reflector) of(t reflect.Type) any {
	isNilable := t.Kind() == reflect.Slice || t.Kind() == reflect.Map
	if t.Kind() == reflect.Pointer || isNilable && !isCustom(t) {
		return orNull(r.value(pointed(t)))
	}
	return r.value(t)
}

// orNull returns a schema that also takes null.
func orNull(s any) any {
	plain, ok := s.(*schema)
	if !ok || plain.Not != nil {
		return &schema{AnyOf: []any{s, &schema{Type: "null"}}}
	}
	if name, ok := plain.Type.(string); ok {
		also := *plain
		also.Type = []string{name, "null"}
		return &also
	}
	return plain // which takes null already
}

// value returns the schema of a value that is not null. t is no pointer.
func (r *reflector) value(t reflect.Type) any {
	if t.Name() == "" || t.PkgPath() == "" || r.custom(t) == nil && (isCustom(t) || t.Kind() == reflect.Interface || t == numberType) {
		return r.inline(t)
	}
	return ref{"#/components/schemas/" + r.component(t)}
}

// component returns the name of the component of a type.
func (r *reflector) component(t reflect.Type) string {
	name, known := r.names[t]
	if known {
		return name
	}
	name = r.newName(t)
	r.names[t], r.schemas[name] = name, nil // before it is made: it may refer to itself
	r.schemas[name] = r.described(docKey(t), r.inline(t))
	return name
}

// described returns a schema with a description, if there is one.
func (r *reflector) described(docKey string, s any) any {
	text := r.doc[docKey]
	if text == "" {
		return s
	}
	if plain, ok := s.(*schema); ok {
		plain.Description = text
		return plain
	}
	return &schema{Description: text, AllOf: []any{s}} // beside a $ref it would not count
}

var (
	folders   = regexp.MustCompile(`[^\[\],]*/`)
	notInName = regexp.MustCompile(`[^A-Za-z0-9._-]+`) // OpenRPC allows no other letters
)

// newName returns a name for a component that no other has: that of the type, with its package
// if needed, and with a number if types of the same package have the same name.
func (r *reflector) newName(t reflect.Type) string {
	pkg, _, _ := strings.Cut(t.String(), ".") // the last folder of its path may have another name
	short := allowed(t.Name())
	full := allowed(pkg + "." + short)
	name := short
	for n := 1; ; n++ {
		if _, taken := r.schemas[name]; !taken {
			return name
		}
		name = full
		if n > 1 {
			name = fmt.Sprint(full, n)
		}
	}
}

// allowed returns what is left of a name without what OpenRPC does not allow, Type if that is
// nothing.
func allowed(name string) string {
	name = notInName.ReplaceAllString(folders.ReplaceAllString(name, ""), "_")
	return cmp.Or(strings.Trim(name, "._"), "Type")
}

// inline returns the schema of a type without a reference to it. t is no pointer.
func (r *reflector) inline(t reflect.Type) any {
	if s := r.custom(t); s != nil {
		return s
	}
	if isCustom(t) || t == numberType {
		return customSchema(t)
	}
	switch k := t.Kind(); {
	case k == reflect.Interface:
		return &schema{}
	case k == reflect.Bool:
		return &schema{Type: "boolean"}
	case k == reflect.String:
		return &schema{Type: "string"}
	case k == reflect.Float32 || k == reflect.Float64:
		return &schema{Type: "number"}
	case isUnsigned(k):
		return &schema{Type: "integer", Minimum: new(int)}
	case isNumber(k):
		return &schema{Type: "integer"}
	case isBytes(t):
		return &schema{Type: "string", ContentEncoding: "base64"}
	case k == reflect.Slice:
		return &schema{Type: "array", Items: r.of(t.Elem())}
	case k == reflect.Array:
		n := t.Len()
		return &schema{Type: "array", Items: r.of(t.Elem()), MinItems: &n, MaxItems: &n}
	case k == reflect.Map && isKey(t.Key()):
		return &schema{Type: "object", AdditionalProperties: r.inMap(t.Elem())}
	case k == reflect.Struct:
		return r.object(t)
	}
	return &schema{Not: &schema{}} // encoding/json refuses it, such as a channel
}

// inMap returns the schema of a map's value.
func (r *reflector) inMap(t reflect.Type) any {
	if r.needsAddress(t) {
		return &schema{}
	}
	return r.of(t)
}

// needsAddress reports whether encoding/json writes values of a type in another way if they have
// no address: then it does not call methods of a pointer. The values of a map have none.
func (r *reflector) needsAddress(t reflect.Type) bool {
	switch {
	case t.Kind() == reflect.Pointer || r.custom(t) != nil:
		return false
	case isCustom(t):
		return slices.ContainsFunc([]reflect.Type{jsonMarshaler, textMarshaler}, func(marshaler reflect.Type) bool {
			return implements(t, marshaler) && !t.Implements(marshaler)
		})
	case t.Kind() == reflect.Array:
		return r.needsAddress(t.Elem())
	case t.Kind() == reflect.Struct:
		return slices.ContainsFunc(fieldsOf(t), func(f field) bool { return !f.behindPointer && r.needsAddress(f.typ) })
	}
	return false // the elements of a slice have addresses
}

// object returns the schema of a struct.
func (r *reflector) object(t reflect.Type) *schema {
	s := &schema{Type: "object"}
	for _, f := range fieldsOf(t) {
		s.Properties = append(s.Properties, property{f.name, r.described(f.docKey, r.field(f))})
		if f.isRequired() {
			s.Required = append(s.Required, f.name)
		}
	}
	return s
}

// field returns the schema of a field's value.
func (r *reflector) field(f field) any {
	switch isPointer := f.typ.Kind() == reflect.Pointer; {
	case f.quoted && isPointer && !f.omitsNil:
		return orNull(&schema{Type: "string"})
	case f.quoted:
		return &schema{Type: "string"}
	case f.omitsNil && isPointer:
		return r.of(f.typ.Elem())
	case f.omitsNil:
		return r.value(f.typ)
	}
	return r.of(f.typ)
}

var (
	numberType = reflect.TypeFor[json.Number]()
	wellKnown  = map[reflect.Type]schema{
		numberType:                   {Type: "number"},
		reflect.TypeFor[time.Time](): {Type: "string", Format: "date-time"},
		reflect.TypeFor[big.Int]():   {Type: "integer"},
	}
)

// customSchema returns the schema of a type that encodes itself: what is known of it. A type
// may read other values than it writes, and one schema describes both. A text is known to be
// both only if the type has both methods.
func customSchema(t reflect.Type) *schema {
	if s, ok := wellKnown[t]; ok {
		return &s
	}
	isText := implements(t, textMarshaler) && implements(t, textUnmarshaler)
	if isText && !implements(t, jsonMarshaler, jsonUnmarshaler) {
		return &schema{Type: "string"}
	}
	return &schema{}
}

// isCustom reports whether a type encodes or decodes itself.
func isCustom(t reflect.Type) bool {
	return t.Kind() != reflect.Interface && implements(t, jsonMarshaler, jsonUnmarshaler, textMarshaler, textUnmarshaler)
}

// implements reports whether a type, or a pointer to it, implements one of the interfaces.
func implements(t reflect.Type, interfaces ...reflect.Type) bool {
	return slices.ContainsFunc(interfaces, reflect.PointerTo(t).Implements)
}

// isBytes reports whether encoding/json writes a type as base64. It reads base64 even where the
// bytes decode themselves.
func isBytes(t reflect.Type) bool {
	return t.Kind() == reflect.Slice && t.Elem().Kind() == reflect.Uint8 && !implements(t.Elem(), jsonMarshaler, textMarshaler)
}

// isKey reports whether encoding/json writes maps with keys of a type.
func isKey(t reflect.Type) bool {
	k := t.Kind()
	return k == reflect.String || reflect.Int <= k && k <= reflect.Uintptr || t.Implements(textMarshaler)
}

func isNumber(k reflect.Kind) bool   { return reflect.Int <= k && k <= reflect.Float64 }
func isUnsigned(k reflect.Kind) bool { return reflect.Uint <= k && k <= reflect.Uintptr }

// pointed returns what t points to, through any number of pointers.
func pointed(t reflect.Type) reflect.Type {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	return t
}

// elemOf returns what t points to, t if it is no pointer.
func elemOf(t reflect.Type) reflect.Type {
	if t.Kind() == reflect.Pointer {
		return t.Elem()
	}
	return t
}
