package openrpc

import (
	"fmt"
	"reflect"
)

// These are the values of paramStructure.
const (
	byPosition = "by-position"
	either     = "either"
)

// params returns the params of an argument of type t, which is no pointer, and how they are
// sent. It follows the way in which the codec of a server decodes them.
func (d *describer) params(t reflect.Type) ([]content, string) {
	isList := t.Kind() == reflect.Slice && !isBytes(t)
	switch {
	case t == rawMessage || t.Kind() == reflect.Interface || isList && !isCustom(t):
		return d.variadic(t)
	case isCustom(t):
	case t.Kind() == reflect.Struct:
		return d.fieldParams(t), either
	case t.Kind() == reflect.Array:
		return d.elementParams(t), byPosition
	}
	required := t.Kind() != reflect.Map && t.Kind() != reflect.Slice
	return []content{{Name: "value", Required: required, Schema: d.value(t)}}, byPosition
}

// fieldParams returns a param for each field. OpenRPC wants those that are required first, and
// the order is that of the fields: by position none can be left out that stands before a
// required one, and then it is required, too. Null stands for no value: it takes the place of
// each optional field that stands before another one in an array.
func (d *describer) fieldParams(t reflect.Type) []content {
	params, fields := []content{}, fieldsOf(t)
	needed := len(fields)
	for needed > 0 && !fields[needed-1].isRequired() {
		needed--
	}
	for i, f := range fields {
		p := content{Name: f.name, Description: d.doc[f.docKey], Required: i < needed, Schema: d.field(f)}
		if !f.isRequired() {
			p.Schema = orNull(p.Schema)
		}
		params = append(params, p)
	}
	return params
}

// elementParams returns a param for each element of an array.
func (d *describer) elementParams(t reflect.Type) []content {
	params := []content{}
	for i := range t.Len() {
		params = append(params, content{Name: fmt.Sprintf("element%d", i), Required: true, Schema: d.of(t.Elem())})
	}
	return params
}

// variadic returns the one param that stands for the elements of a slice, or for whatever a
// value of any type may hold.
func (d *describer) variadic(t reflect.Type) ([]content, string) {
	p := content{Name: "element", Variadic: true, Description: "Any number of elements, or none.", Schema: &schema{}}
	if t.Kind() == reflect.Slice && t != rawMessage {
		p.Schema = d.of(t.Elem())
		return []content{p}, byPosition
	}
	p.Description = "Any params, by position or by name, or none."
	return []content{p}, either
}
