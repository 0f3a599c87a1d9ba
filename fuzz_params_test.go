package jsonrpc2

import (
	"bytes"
	"encoding/json"
	"reflect"
	"testing"

	"github.com/stretchr/testify/require"
)

// FuzzParams decodes any params into arguments of many types. A strict server accepts
// no more than another, and decodes what it accepts to the same values.
func FuzzParams(f *testing.F) {
	for _, text := range []string{
		``, `null`, `{}`, `[]`, `{"A":1,"b":2,"c":3}`, `[1,null]`, `[{"A":1}]`, `[{"Account":{"Owner":"o"}}]`, `[null,null,{"x":[{}]}]`,
		`{"X":1,"N":{"M":{"a":[{"A":1}]}},"\u0041":[[],[{}]],"":0}`, `["x"]`, `[1,2,3,4,5,6]`,
	} {
		f.Add([]byte(text))
	}
	types := []reflect.Type{
		reflect.TypeFor[any](), reflect.TypeFor[int](), reflect.TypeFor[[]byte](), reflect.TypeFor[[2]pair](), reflect.TypeFor[map[string]*pair](),
		reflect.TypeFor[json.RawMessage](), reflect.TypeFor[jsonObject](), reflect.TypeFor[**pair](), reflect.TypeFor[*int](),
	}
	for _, args := range handwritten {
		types = append(types, reflect.TypeOf(args))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		text = bytes.Trim(text, " \t\r\n")
		if len(text) > 0 && (!isText(text) || text[0] != '{' && text[0] != '[' && text[0] != 'n') {
			return // the scanner keeps it from the params
		}
		strict, lenient := newParamsDecoder(), newParamsDecoder()
		strict.strict = true
		for _, typ := range types {
			got, want := reflect.New(typ), reflect.New(typ)
			if strict.decode(text, got.Interface()) == nil {
				require.Nil(t, lenient.decode(text, want.Interface()), "%q into %v", text, typ)
				require.Equal(t, want.Interface(), got.Interface(), "%q into %v", text, typ)
			}
		}
	})
}
