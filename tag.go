package jsonrpc2

import (
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// A tag is what encoding/json makes of a field's tag.
type tag struct {
	key    string // `"name":`, as encoding/json writes it; "" if it ignores the field
	named  bool   // the tag gives the name
	omits  bool   // the tag lets encoding/json leave the field out
	quoted bool   // the value is written in a string, if its type allows that
}

func readTag(f reflect.StructField) tag {
	text := f.Tag.Get("json")
	name, rest, _ := strings.Cut(text, ",")
	options := strings.Split(rest, ",")
	t := tag{
		key:    string(appendQuoted(nil, f.Name)) + ":",
		omits:  slices.Contains(options, "omitempty") || slices.Contains(options, "omitzero"),
		quoted: slices.Contains(options, "string"),
	}
	switch {
	case isWord(name):
		t.key, t.named = `"`+name+`":`, true
	case name != "":
		t.ask(text, f.Tag)
	}
	return t
}

// isWord reports whether a name is not empty and has nothing but ASCII letters, digits and
// underscores.
func isWord(name string) bool {
	for _, c := range name {
		if c >= utf8.RuneSelf || c != '_' && !unicode.IsLetter(c) && !unicode.IsDigit(c) {
			return false
		}
	}
	return name != ""
}

// ask encodes a struct with the tag to see which name encoding/json reads in it: the rules
// for odd names depend on its version.
func (t *tag) ask(text string, whole reflect.StructTag) {
	name := "Probe"
	for strings.Contains(text, name) {
		name += "s"
	}
	v := reflect.New(reflect.StructOf([]reflect.StructField{{Name: name, Type: reflect.TypeFor[probe](), Tag: whole}})).Elem()
	v.Field(0).SetBool(true)
	e := newEncoder()
	err := e.value(v.Interface())
	key, ok := strings.CutSuffix(string(e.b), "1}")
	switch {
	case err != nil || !ok: // `{}`
		t.key = ""
	case key[1:] != `"`+name+`":`:
		t.key, t.named = key[1:], true
	}
}

// A probe is the type of the field in the struct of ask. It is written as 1, or left out.
type probe bool

// MarshalJSON implements json.Marshaler.
func (probe) MarshalJSON() ([]byte, error) { return []byte("1"), nil }

// field makes the field of a tag.
func (t tag) field(f reflect.StructField) field {
	return field{
		typ:    f.Type,
		name:   unquote([]byte(strings.TrimSuffix(t.key, ":"))),
		key:    t.key,
		tagged: t.named,
		omits:  t.omits,
		zero:   t.zero(f.Type),
	}
}

var numberType = reflect.TypeFor[json.Number]()

// zero returns what is sent by position for a field that encoding/json has left out: 0, false,
// or an empty string, and null for a field of any other type.
func (t tag) zero(typ reflect.Type) string {
	var zero string
	switch kind := typ.Kind(); {
	case isCustom(typ) || typ == numberType:
		return "null"
	case kind == reflect.Bool:
		zero = "false"
	case kind == reflect.String:
		zero = `""`
	case reflect.Int <= kind && kind <= reflect.Float64:
		zero = "0"
	default:
		return "null"
	}
	if t.quoted {
		return string(appendQuoted(nil, zero))
	}
	return zero
}
