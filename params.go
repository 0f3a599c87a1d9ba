package jsonrpc2

import (
	"bytes"
	"encoding"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"unicode/utf8"
)

// An encoder builds one message after the other in a buffer of its own.
type encoder struct {
	b      []byte
	json   *json.Encoder // appends to b
	shapes shapes
}

// maxKeptBuffer is what a buffer may hold on to when its message is gone.
const maxKeptBuffer = 64 << 10

func newEncoder() *encoder {
	e := &encoder{shapes: shapes{}}
	e.json = json.NewEncoder(e)
	e.json.SetEscapeHTML(false)
	return e
}

// Write lets the json.Encoder append to the buffer.
func (e *encoder) Write(p []byte) (int, error) {
	e.b = append(e.b, p...)
	return len(p), nil
}

func (e *encoder) reset() {
	if cap(e.b) > maxKeptBuffer {
		e.b = nil
	}
	e.b = e.b[:0]
}

// value appends v. A panic in a method of v's is an error, and so is what
// encoding/json can't encode; nothing is appended then.
func (e *encoder) value(v any) (err error) {
	if e.plainString(v) {
		return nil
	}
	start := len(e.b)
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic while encoding %T: %v", v, p)
		}
		if err != nil {
			e.b = e.b[:start]
		}
	}()
	if err := e.json.Encode(v); err != nil {
		return err
	}
	e.b = e.b[:len(e.b)-1]        // the newline that Encode ends with
	if !utf8.Valid(e.b[start:]) { // of a MarshalJSON's: Encode lets it pass
		return errUTF8
	}
	return nil
}

// plainString appends v if it is a string that travels as it is. encoding/json
// takes twice as long for a long one.
func (e *encoder) plainString(v any) bool {
	var s string
	switch v := v.(type) {
	case string:
		s = v
	case *string:
		if v == nil {
			return false
		}
		s = *v
	default:
		return false
	}
	if !isPlain(s) {
		return false
	}
	e.b = append(append(append(slices.Grow(e.b, len(s)+len(`""}`)), '"'), s...), '"')
	return true
}

var errUTF8 = errors.New("not valid UTF-8")

// params appends the member params for v, or nothing where there is nothing to
// send: nil, and structs without a value.
func (e *encoder) params(v any, positional bool) error {
	start := len(e.b)
	e.b = append(e.b, `,"params":`...)
	open := len(e.b)
	err := e.paramsValue(v, positional)
	if err != nil {
		return err
	}
	switch value := e.b[open:]; {
	case string(value) == "null", string(value) == "{}" && structOf(v).IsValid():
		e.b = e.b[:start]
	case value[0] != '{' && value[0] != '[': // params are never a scalar
		e.b = append(e.b, ']', 0)
		copy(e.b[open+1:], e.b[open:len(e.b)-2])
		e.b[open] = '['
		e.b[len(e.b)-1] = ']'
	}
	return nil
}

func (e *encoder) paramsValue(v any, positional bool) error {
	s := structOf(v)
	if !positional || !s.IsValid() {
		return e.value(v)
	}
	shape := e.shapes.of(s.Type())
	if shape.kind != structShape || len(shape.fields) == 0 {
		return e.value(v)
	}
	for i, field := range shape.fields {
		e.b = append(e.b, "[,"[min(i, 1)])
		var value any // null where an embedded pointer is nil
		if f, err := s.FieldByIndexErr(field.index); err == nil {
			value = f.Interface()
		}
		start := len(e.b)
		if err := e.value(value); err != nil {
			return err
		}
		if field.quoted && e.b[start] != 'n' {
			e.b = appendQuoted(e.b[:start], string(e.b[start:]))
		}
	}
	e.b = append(e.b, ']')
	return nil
}

// structOf returns the struct that v is or points to, the zero Value if none.
func structOf(v any) reflect.Value {
	rv := reflect.ValueOf(v)
	for rv.Kind() == reflect.Pointer {
		rv = rv.Elem()
	}
	if rv.Kind() != reflect.Struct {
		return reflect.Value{}
	}
	return rv
}

// A paramsDecoder decodes one request's params after the other.
type paramsDecoder struct {
	decoder  *decoder
	shapes   shapes
	elements [][]byte
	object   []byte
}

func newParamsDecoder() *paramsDecoder {
	return &paramsDecoder{decoder: newDecoder(), shapes: shapes{}}
}

// decode decodes params into what v points to. Absent and empty params leave
// it as it is.
func (d *paramsDecoder) decode(params []byte, v any) *Error {
	switch {
	case isEmpty(params):
		return nil
	case params[0] == '{':
		return d.unmarshal(params, v)
	}
	d.split(params)
	t := reflect.TypeOf(v).Elem()
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	shape := d.shapes.of(t)
	if most := shape.most; most >= 0 && len(d.elements) > most {
		return errorf(CodeInvalidParams, "invalid params: %d elements where %d are taken", len(d.elements), most)
	}
	switch shape.kind {
	case structShape:
		if len(d.elements) == 1 && shape.isWhole(d.elements[0]) {
			return d.unmarshal(d.elements[0], v)
		}
		return d.unmarshal(d.zip(shape.fields), v)
	case scalarShape:
		return d.unmarshal(d.elements[0], v)
	case bytesShape:
		if len(d.elements) == 1 && d.elements[0][0] == '"' {
			return d.unmarshal(d.elements[0], v)
		}
	case customShape:
		if err := d.unmarshal(params, v); err != nil && len(d.elements) == 1 {
			reflect.ValueOf(v).Elem().SetZero()
			return d.unmarshal(d.elements[0], v)
		} else {
			return err
		}
	}
	return d.unmarshal(params, v)
}

// isEmpty reports whether params, a value the scanner saw, hold nothing.
func isEmpty(params []byte) bool {
	return len(params) == 0 || params[0] == 'n' || len(bytes.TrimSpace(params[1:len(params)-1])) == 0
}

// split notes the elements of an array that the scanner saw.
func (d *paramsDecoder) split(array []byte) {
	clear(d.elements)
	d.elements = d.elements[:0]
	s := scanner{text: array, maxDepth: headerDepth}
	s.next()
	_ = s.array(func() error {
		element, err := s.value()
		d.elements = append(d.elements, element)
		return err
	})
}

// zip makes an object of the elements, so that encoding/json applies all that
// the fields' tags say.
func (d *paramsDecoder) zip(fields []field) []byte {
	if cap(d.object) > maxKeptBuffer {
		d.object = nil
	}
	b := append(d.object[:0], '{')
	for i, element := range d.elements {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(append(b, fields[i].key...), element...)
	}
	d.object = append(b, '}')
	return d.object
}

// unmarshal decodes into v. A panic in a method of v's is an internal error,
// everything else the params' fault.
func (d *paramsDecoder) unmarshal(data []byte, v any) *Error {
	err, panicked := d.decoder.decode(data, v)
	switch {
	case panicked:
		return errorf(CodeInternal, "internal error: %.200v", err)
	case err != nil:
		return errorf(CodeInvalidParams, "invalid params: %.200v", err)
	}
	return nil
}

// A decoder decodes one value after the other. It is json.Unmarshal without the
// allocation, for values that the scanner saw.
type decoder struct {
	data bytes.Reader
	json *json.Decoder // reads data
}

func newDecoder() *decoder {
	d := new(decoder)
	d.renew()
	return d
}

// renew replaces a json.Decoder that may be out of step: it keeps an error of
// syntax, such as too deep a nesting, for ever.
func (d *decoder) renew() { d.json = json.NewDecoder(&d.data) }

// decode decodes into v. A panic in a method of v's is an error.
func (d *decoder) decode(data []byte, v any) (err error, panicked bool) {
	defer func() {
		if p := recover(); p != nil {
			d.renew()
			err, panicked = fmt.Errorf("panic while decoding %T: %v", v, p), true
		}
	}()
	if s, ok := v.(*string); ok && kindOf(data) == '"' && bytes.IndexByte(data, '\\') < 0 {
		*s = string(data[1 : len(data)-1])
		return nil, false
	}
	if len(data) > maxKeptBuffer {
		return json.Unmarshal(data, v), false
	}
	d.data.Reset(data)
	if err = d.json.Decode(v); err != nil {
		d.renew()
	}
	return err, false
}

// A shape says how positional params meet a type.
type shape struct {
	kind   shapeKind
	most   int     // elements taken; -1: any number
	fields []field // of a structShape
}

type shapeKind int

const (
	wholeShape  shapeKind = iota // takes the array as it is
	structShape                  // an element for each exported field
	scalarShape                  // takes the one element
	bytesShape                   // takes the array, or one base64 string
	customShape                  // decodes itself, from the array or else its one element
)

// A field is one positional param of a struct.
type field struct {
	index []int
	name  string
	key   string // `"name":`

	quoted bool // the tag says ",string"
}

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
	ptr := reflect.PointerTo(t)
	for _, custom := range []reflect.Type{jsonUnmarshaler, textUnmarshaler, jsonMarshaler, textMarshaler} {
		if ptr.Implements(custom) {
			return &shape{kind: customShape, most: -1}
		}
	}
	switch t.Kind() {
	case reflect.Struct:
		fields := dominant(appendFields(nil, t, nil))
		return &shape{kind: structShape, most: max(len(fields), 1), fields: fields}
	case reflect.Array:
		return &shape{kind: wholeShape, most: t.Len()}
	case reflect.Slice:
		if t.Elem().Kind() == reflect.Uint8 {
			return &shape{kind: bytesShape, most: -1}
		}
		return &shape{kind: wholeShape, most: -1}
	case reflect.Interface:
		return &shape{kind: wholeShape, most: -1}
	}
	return &shape{kind: scalarShape, most: 1}
}

// maxEmbedding ends the search in a type that embeds itself.
const maxEmbedding = 10

// appendFields appends the fields that encoding/json knows of t, in order;
// those of an embedded struct in its place.
func appendFields(fields []field, t reflect.Type, index []int) []field {
	for i := range t.NumField() {
		f := t.Field(i)
		tag := f.Tag.Get("json")
		if tag == "-" {
			continue
		}
		at := append(index[:len(index):len(index)], i)
		name, options, _ := strings.Cut(tag, ",")
		if embedded, ok := embeddedStruct(f); ok && name == "" {
			if len(at) < maxEmbedding {
				fields = appendFields(fields, embedded, at)
			}
			continue
		}
		if !f.IsExported() {
			continue
		}
		if name == "" {
			name = f.Name
		}
		fields = append(fields, field{
			index:  at,
			name:   name,
			key:    string(appendQuoted(nil, name)) + ":",
			quoted: isQuoted(f.Type, options),
		})
	}
	return fields
}

// isQuoted reports whether a field is encoded in a string, by encoding/json's
// rules.
func isQuoted(t reflect.Type, options string) bool {
	if !slices.Contains(strings.Split(options, ","), "string") {
		return false
	}
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch kind := t.Kind(); kind {
	case reflect.String, reflect.Bool, reflect.Float32, reflect.Float64:
		return true
	default:
		return reflect.Int <= kind && kind <= reflect.Uintptr
	}
}

// dominant leaves out the fields that encoding/json doesn't see: of those of one
// name all but the one that is embedded least deep.
func dominant(fields []field) []field {
	depth, count := make(map[string]int), make(map[string]int)
	for _, f := range fields {
		switch d, ok := depth[f.name]; {
		case !ok || len(f.index) < d:
			depth[f.name], count[f.name] = len(f.index), 1
		case len(f.index) == d:
			count[f.name]++
		}
	}
	return slices.DeleteFunc(fields, func(f field) bool {
		return len(f.index) > depth[f.name] || count[f.name] > 1
	})
}

func embeddedStruct(f reflect.StructField) (reflect.Type, bool) {
	t := f.Type
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	return t, f.Anonymous && t.Kind() == reflect.Struct
}

// isWhole reports whether the only element of an array stands for the whole
// struct, as net/rpc/jsonrpc sends it, and not for its first field. It does if
// it is an object, unless the struct has no member of that name anyway.
func (s *shape) isWhole(element []byte) bool {
	if element[0] != '{' {
		return len(s.fields) == 0
	}
	members, known := 0, false
	scan := scanner{text: element, maxDepth: headerDepth}
	_ = scan.object(func(name []byte) error {
		members++
		for _, f := range s.fields {
			known = known || strings.EqualFold(f.name, string(name))
		}
		_, err := scan.value()
		return err
	})
	return known || members == 0 || len(s.fields) == 0
}
