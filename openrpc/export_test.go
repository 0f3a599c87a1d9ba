package openrpc

import "reflect"

// FieldNames returns the names of the members that a struct has in JSON, in their order.
func FieldNames(t reflect.Type) (names []string) {
	for _, f := range fieldsOf(t) {
		names = append(names, f.name)
	}
	return names
}
