package jsonrpc2

import (
	"errors"
	"reflect"
	"slices"
)

// An arranger makes positional params of a struct that was encoded by name. The
// bytes of each value stay those that encoding/json has written.
type arranger struct {
	values   [][]byte  // by field, nil where encoding/json left it out
	pointers []reached // by embedded pointer
	array    []byte
}

// A reached says what was sent of the fields behind an embedded pointer.
type reached int

const (
	nothingSent reached = iota
	nullsSent           // nothing but null
	valuesSent
)

var errNoField = errors.New("not a field")

// arrange makes an array of the object that e.b has from start on, with an
// element for each field. It keeps the object if a server would decode the array
// to another value.
func (e *encoder) arrange(start int, s *shape) {
	if s.kind != structShape || len(s.fields) == 0 {
		return
	}
	a := &e.arranger
	if a.collect(e.b[start:], s) && a.isExpressible(s) {
		array := a.build(s)
		if len(s.fields) > 1 || !e.shapes.isWhole(s, array[1:len(array)-1]) {
			e.b = append(e.b[:start], array...)
		}
	}
	a.release()
}

// collect sets a.values to those of an object. It reports whether each belongs to a field.
// encoding/json writes them in the order of the fields.
func (a *arranger) collect(object []byte, s *shape) bool {
	a.values = append(a.values[:0], make([][]byte, len(s.fields))...)
	next := 0
	scan := scanner{text: object, maxDepth: headerDepth}
	return nil == scan.object(func(name []byte) error {
		for next < len(s.fields) && !s.fields[next].isCalled(name) {
			next++
		}
		if next == len(s.fields) {
			return errNoField
		}
		value, err := scan.value()
		a.values[next] = value
		next++
		return err
	})
}

// isCalled reports whether encoding/json writes name, without its quotes, for
// the field.
func (f *field) isCalled(name []byte) bool {
	return f.key[1:len(f.key)-len(`":`)] == string(name)
}

// isExpressible reports whether an array of the values says what the object says.
// In an object, a field without a member differs from one with null. In an array
// each field has an element. There, null stands for no member if the field is
// behind an embedded pointer, see zip, and is decoded elsewhere.
func (a *arranger) isExpressible(s *shape) bool {
	a.pointers = append(a.pointers[:0], make([]reached, len(s.pointers))...)
	for i, value := range a.values {
		f, sent := &s.fields[i], valuesSent
		switch {
		case value == nil:
			if f.pointer < 0 && f.zero == "null" && f.readsNull() {
				return false
			}
			continue
		case value[0] == 'n':
			if f.pointer >= 0 && f.readsNull() {
				return false
			}
			sent = nullsSent
		}
		for p := f.pointer; p >= 0; p = s.pointers[p] {
			a.pointers[p] = max(a.pointers[p], sent)
		}
	}
	// If nothing but null was sent behind a pointer, encoding/json allocates the pointer for the
	// object, and not for the array.
	return !slices.Contains(a.pointers, nullsSent)
}

// build makes the array. It is valid until the next build.
func (a *arranger) build(s *shape) []byte {
	b := append(a.array[:0], '[')
	for i, value := range a.values {
		if i > 0 {
			b = append(b, ',')
		}
		f := &s.fields[i]
		switch {
		case value != nil:
			b = append(b, value...)
		case f.pointer >= 0 && a.pointers[f.pointer] != valuesSent:
			b = append(b, "null"...)
		default:
			b = append(b, f.zero...)
		}
	}
	a.array = append(b, ']')
	return a.array
}

func (a *arranger) release() {
	clear(a.values)
	if cap(a.array) > maxKeptBuffer {
		a.array = nil
	}
}

// decodeStruct decodes the elements of an array into a struct: one that stands
// for the whole, or one for each field. If the struct has only one field and that
// refuses the element, the element may still be the whole: net/rpc/jsonrpc sends a
// struct with a map or a time in it like that.
func (d *paramsDecoder) decodeStruct(s *shape, v any) *Error {
	if len(d.elements) == 1 && d.shapes.isWhole(s, d.elements[0]) {
		return d.unmarshal(d.elements[0], v)
	}
	err := d.unmarshal(d.zip(s.fields), v)
	if err == nil || err.Code != CodeInvalidParams || len(s.fields) != 1 || d.elements[0][0] != '{' {
		return err
	}
	if members, known := s.count(d.elements[0]); members == 0 || known < members {
		return err
	}
	reflect.ValueOf(v).Elem().SetZero()
	return d.unmarshal(d.elements[0], v)
}

// zip makes an object of the elements of an array, so that encoding/json applies
// all that the fields' tags say. It leaves out null for a field behind an
// embedded pointer, which encoding/json would allocate even for that.
func (d *paramsDecoder) zip(fields []field) []byte {
	if cap(d.object) > maxKeptBuffer {
		d.object = nil
	}
	b := append(d.object[:0], '{')
	for i, element := range d.elements {
		if fields[i].pointer >= 0 && element[0] == 'n' {
			continue
		}
		if len(b) > len("{") {
			b = append(b, ',')
		}
		b = append(append(b, fields[i].key...), element...)
	}
	d.object = append(b, '}')
	return d.object
}

// isWhole reports whether the only element of an array stands for a whole
// struct, as net/rpc/jsonrpc sends it, and not for its first field. The names of
// its members tell:
//
//	an only field that takes objects   the whole, if all members are the outer's, and the
//	                                   field is a struct that does not have all of them
//	another first field                its value, if it is a struct that has all members,
//	                                   and the outer does not have all of them
//	                                   else the whole, if the outer has any of them
//
// An empty object is the value of an only field that takes objects, else the whole.
func (s shapes) isWhole(outer *shape, element []byte) bool {
	if len(outer.fields) == 0 {
		return true
	}
	if element[0] != '{' {
		return false
	}
	members, outers := outer.count(element)
	first, takes := s.innermost(outer.fields[0].typ)
	plain := takes && first.kind == structShape
	inners := 0
	if plain {
		_, inners = first.count(element)
	}
	switch {
	case len(outer.fields) == 1 && takes:
		return plain && inners < members && outers == members
	case plain && inners == members && outers < members:
		return false
	}
	return outers > 0 || members == 0
}

// count returns how many members an object has, and how many of them are fields.
func (s *shape) count(object []byte) (members, known int) {
	scan := scanner{text: object, maxDepth: headerDepth}
	_ = scan.object(func(name []byte) error {
		members++
		if s.find(name) >= 0 {
			known++
		}
		_, err := scan.value()
		return err
	})
	return members, known
}

// innermost returns the shape of what t is or points to, and whether
// encoding/json decodes an object into it.
func (s shapes) innermost(t reflect.Type) (inner *shape, takesObject bool) {
	t = pointed(t)
	switch ptr := reflect.PointerTo(t); {
	case ptr.Implements(jsonUnmarshaler):
		takesObject = true
	case ptr.Implements(textUnmarshaler):
	default:
		kind := t.Kind()
		takesObject = kind == reflect.Struct || kind == reflect.Map || kind == reflect.Interface
	}
	return s.of(t), takesObject
}
