package jsonrpc2

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"unicode/utf8"
)

// An encoder builds one message after the other in a buffer of its own.
type encoder struct {
	b      []byte
	json   *json.Encoder // appends to b
	shapes shapes

	arranger arranger
}

// maxKeptBuffer is how many bytes of a buffer are kept for the next message.
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

// value appends v. It returns an error, and appends nothing, if encoding/json can't
// encode v or a method of v panics.
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
	if !utf8.Valid(e.b[start:]) { // Encode does not check what a MarshalJSON returns
		return errUTF8
	}
	return nil
}

// plainString appends v if it is a string that needs nothing but quotes. encoding/json
// takes twice as long for a long string.
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

// params appends the member params for v, or nothing if there is nothing to send: for nil
// and for a struct without any member. A value that is neither object nor array goes into an
// array of one.
func (e *encoder) params(v any, positional bool) error {
	start := len(e.b)
	e.b = append(e.b, `,"params":`...)
	at := len(e.b)
	err := e.paramsValue(v, positional)
	if err != nil {
		return err
	}
	switch value := e.b[at:]; {
	case string(value) == "null", string(value) == "{}" && e.isPlainStruct(v):
		e.b = e.b[:start]
	case value[0] != '{' && value[0] != '[': // params are never a scalar
		e.b = append(e.b, ']', 0)
		copy(e.b[at+1:], e.b[at:len(e.b)-2])
		e.b[at] = '['
		e.b[len(e.b)-1] = ']'
	}
	return nil
}

// paramsValue appends v, as an array if positional is set and v is a struct that can be sent
// so.
func (e *encoder) paramsValue(v any, positional bool) error {
	start := len(e.b)
	if err := e.value(v); err != nil {
		return err
	}
	if positional && e.b[start] == '{' {
		if s := structOf(v); s.IsValid() {
			e.arrange(start, e.shapes.of(s.Type()))
		}
	}
	return nil
}

// isPlainStruct reports whether v is or points to a struct that encoding/json decodes field
// by field. For such a struct an empty object says the same as no params.
func (e *encoder) isPlainStruct(v any) bool {
	s := structOf(v)
	return s.IsValid() && e.shapes.of(s.Type()).kind == structShape
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
	strict   bool // see ServerOptions.Strict
	decoder  *decoder
	shapes   shapes
	elements [][]byte // of params that are an array, see split
	object   []byte   // of positional params by name, see zip
}

func newParamsDecoder() *paramsDecoder {
	return &paramsDecoder{decoder: newDecoder(), shapes: shapes{}}
}

// decode decodes params into what v points to. Absent and empty params leave it as it is,
// unless its type decodes itself. How the elements of an array are used depends on the kind of
// the type, see shapeKind.
func (d *paramsDecoder) decode(params []byte, v any) *Error {
	if d.strict {
		if err := d.check(params, reflect.TypeOf(v).Elem()); err != nil {
			return err
		}
	}
	switch {
	case isEmpty(params):
		return d.decodeEmpty(params, v)
	case params[0] == '{':
		return d.unmarshal(params, v)
	}
	d.split(params)
	shape := d.shapes.of(pointed(reflect.TypeOf(v)))
	if most := shape.most; most >= 0 && len(d.elements) > most {
		return errorf(CodeInvalidParams, "invalid params: %d elements where %d are taken", len(d.elements), most)
	}
	switch shape.kind {
	case structShape:
		return d.decodeStruct(shape, v)
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

// decodeEmpty decodes params that hold nothing. Only a type that decodes itself gets them,
// if they are present. If it refuses them, they count as absent.
func (d *paramsDecoder) decodeEmpty(params []byte, v any) *Error {
	if kindOf(params) == 0 || kindOf(params) == 'n' || d.shapes.of(pointed(reflect.TypeOf(v))).kind != customShape {
		return nil
	}
	err := d.unmarshal(params, v)
	if err != nil && err.Code == CodeInvalidParams && !d.strict {
		reflect.ValueOf(v).Elem().SetZero()
		return nil
	}
	return err
}

// pointed returns what t points to, through any number of pointers.
func pointed(t reflect.Type) reflect.Type {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	return t
}

// isEmpty reports whether params, which the scanner has checked, hold nothing.
func isEmpty(params []byte) bool {
	return len(params) == 0 || params[0] == 'n' || len(bytes.TrimSpace(params[1:len(params)-1])) == 0
}

// split sets d.elements to those of an array that the scanner has checked.
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

// unmarshal decodes into v. A panic in a method of v is an internal error, any other error
// is about the params.
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

// A decoder decodes one value after the other. It does what json.Unmarshal does, without its
// allocation. The scanner must have accepted the values.
type decoder struct {
	data bytes.Reader
	json *json.Decoder // reads data
}

func newDecoder() *decoder {
	d := new(decoder)
	d.renew()
	return d
}

// renew replaces the json.Decoder after an error: it keeps an error of syntax, such as too
// deep a nesting, for ever, and the bytes that it has read and not decoded.
func (d *decoder) renew() { d.json = json.NewDecoder(&d.data) }

// decode decodes into v. A panic in a method of v is an error. A plain string is copied, which
// is faster. A long value goes to json.Unmarshal, as a json.Decoder would keep a buffer of its
// length.
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
