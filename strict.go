package jsonrpc2

import (
	"reflect"
	"strconv"
	"strings"
	"unicode/utf8"
)

// check returns nil for params that have what a strict server wants for an argument of
// type t, else an error that names what is unknown and what is missing. A value that does not
// fit the type at all is for decode to report.
//
//	params           by the kind of the argument
//	  value            in step with the text, type by type
//	    object           members of a struct: known, missing
//	    mapping          values of a map
//	    list             elements of a slice or an array
func (d *paramsDecoder) check(params []byte, t reflect.Type) *Error {
	c := checker{shapes: d.shapes, scanner: scanner{text: params, maxDepth: headerDepth}}
	switch {
	case isEmpty(params):
		c.empty(kindOf(params), t)
	case params[0] == '{':
		_ = c.value(t)
	default:
		d.split(params)
		c.params(d.elements, pointed(t))
	}
	return c.err()
}

// A checker walks over params and their type together, and notes what is unknown
// and what is missing. The text was scanned before: there is no error in it.
type checker struct {
	scanner scanner
	shapes  shapes
	path    []byte // of the current value, such as items[3].price
	seen    []bool // marks of the structs around it, see newSeen

	unknown, missing names
	absent           bool // there is no value for an argument without fields
}

// empty checks params that are absent or hold nothing.
func (c *checker) empty(first byte, t reflect.Type) {
	switch t.Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Map, reflect.Interface:
		return
	}
	shape := c.shapes.of(t)
	switch {
	case shape.kind == structShape:
		c.notSeen(shape, shape.newSeen(nil))
	case shape.kind == customShape && (first == '{' || first == '['): // it may be its value
	case t.Kind() == reflect.Array && shape.kind != customShape:
		c.tooFew(0, t)
	default:
		c.absent = true
	}
}

// params checks the elements of an array in the way that decode decodes them.
func (c *checker) params(elements [][]byte, t reflect.Type) {
	shape := c.shapes.of(t)
	isOne := len(elements) == 1 && (shape.kind == scalarShape ||
		shape.kind == structShape && c.shapes.isWhole(shape, elements[0]))
	switch {
	case isOne:
		c.scanner.next()
		_ = c.scanner.array(func() error { return c.value(t) })
	case shape.most >= 0 && len(elements) > shape.most: // decode says so
	case shape.kind == structShape:
		c.positional(shape)
	default:
		_ = c.value(t)
	}
}

func (c *checker) positional(shape *shape) {
	seen, i := shape.newSeen(nil), 0
	c.scanner.next()
	_ = c.scanner.array(func() error {
		f := &shape.fields[i]
		seen[i] = true
		if c.scanner.next() != 'n' { // behind an embedded pointer null is nothing
			shape.reach(f, seen)
		}
		i++
		return c.within(c.member(f.name), f.typ)
	})
	c.notSeen(shape, seen)
}

// value checks a value.
func (c *checker) value(t reflect.Type) error {
	t = pointed(t)
	shape, kind, first := c.shapes.of(t), t.Kind(), c.scanner.next()
	switch {
	case shape.kind == customShape:
	case first == '{' && kind == reflect.Struct:
		return c.object(shape)
	case first == '{' && kind == reflect.Map:
		return c.mapping(t)
	case first == '[' && (kind == reflect.Slice || kind == reflect.Array):
		return c.list(t)
	}
	_, err := c.scanner.value()
	return err
}

// within checks the value at a path that is one name longer.
func (c *checker) within(path []byte, t reflect.Type) error {
	outer := len(c.path)
	c.path = path
	err := c.value(t)
	c.path = c.path[:outer]
	return err
}

func (c *checker) object(shape *shape) error {
	base := len(c.seen)
	c.seen = shape.newSeen(c.seen)
	err := c.scanner.object(func(name []byte) error {
		i := shape.find(name)
		if i < 0 {
			c.unknown.add(c.member(string(unescaped(name))))
			_, err := c.scanner.value()
			return err
		}
		f := &shape.fields[i]
		c.seen[base+i] = true
		shape.reach(f, c.seen[base:])
		return c.within(c.member(f.name), f.typ)
	})
	c.notSeen(shape, c.seen[base:])
	c.seen = c.seen[:base]
	return err
}

func (c *checker) mapping(t reflect.Type) error {
	return c.scanner.object(func(name []byte) error {
		return c.within(c.member(string(unescaped(name))), t.Elem())
	})
}

func (c *checker) list(t reflect.Type) error {
	n := 0
	err := c.scanner.array(func() error {
		path := c.element(n)
		if t.Kind() == reflect.Array && n >= t.Len() {
			c.unknown.add(path)
		}
		n++
		return c.within(path, t.Elem())
	})
	if t.Kind() == reflect.Array {
		c.tooFew(n, t)
	}
	return err
}

// newSeen appends the marks of a struct, all false: one for each field, then one for each
// embedded pointer. A mark is set when the params have the field, or a field behind the
// pointer.
func (s *shape) newSeen(seen []bool) []bool {
	return append(seen, make([]bool, len(s.fields)+len(s.pointers))...)
}

// reach marks the embedded pointers on the way to a field.
func (s *shape) reach(f *field, seen []bool) {
	for p := f.pointer; p >= 0; p = s.pointers[p] {
		seen[len(s.fields)+p] = true
	}
}

// notSeen notes the fields that are missing. A field behind an embedded pointer may be missing
// with all others behind it.
func (c *checker) notSeen(shape *shape, seen []bool) {
	for i := range shape.fields {
		f := &shape.fields[i]
		behindNil := f.pointer >= 0 && !seen[len(shape.fields)+f.pointer]
		if !seen[i] && !f.omits && !behindNil && f.typ.Kind() != reflect.Pointer {
			c.missing.add(c.member(f.name))
		}
	}
}

// tooFew notes the missing elements of an array: n are there, type t has more.
func (c *checker) tooFew(n int, t reflect.Type) {
	for ; n < t.Len(); n++ {
		c.missing.add(c.element(n))
	}
}

// member returns the path of a member of the current value, and element that of an element.
// Each path is valid until the next call of either.
func (c *checker) member(name string) []byte {
	path := c.path
	if len(path) > 0 {
		path = append(path, '.')
	}
	return append(path, cut(name)...)
}

func (c *checker) element(i int) []byte {
	return append(strconv.AppendInt(append(c.path, '['), int64(i), 10), ']')
}

// err returns the error that names all that was noted, nil if that is nothing.
func (c *checker) err() *Error {
	var parts []string
	switch c.unknown.n {
	case 0:
	case 1:
		parts = append(parts, "unknown member "+c.unknown.String())
	default:
		parts = append(parts, "unknown members "+c.unknown.String())
	}
	if c.missing.n > 0 {
		parts = append(parts, "missing "+c.missing.String())
	}
	if c.absent {
		parts = append(parts, "1 param is missing")
	}
	if parts == nil {
		return nil
	}
	return errorf(CodeInvalidParams, "invalid params: %s", strings.Join(parts, "; "))
}

const (
	maxNamed   = 10 // names of a kind that an error tells
	maxNameLen = 80 // bytes of each of them
)

// names are names that strangers may have chosen.
type names struct {
	quoted []string // the first of them
	n      int
}

func (n *names) add(name []byte) {
	if n.n < maxNamed {
		n.quoted = append(n.quoted, strconv.Quote(cut(string(name))))
	}
	n.n++
}

func (n *names) String() string {
	text := strings.Join(n.quoted, ", ")
	if more := n.n - len(n.quoted); more > 0 {
		text += " and " + strconv.Itoa(more) + " more"
	}
	return text
}

// cut cuts a long name.
func cut(name string) string {
	if len(name) <= maxNameLen {
		return name
	}
	n := maxNameLen
	for !utf8.RuneStart(name[n]) {
		n--
	}
	return name[:n] + "…"
}
