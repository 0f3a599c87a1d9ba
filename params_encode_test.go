package jsonrpc2

import (
	"encoding/json"
	"errors"
	"reflect"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

type failing struct{}

func (failing) MarshalJSON() ([]byte, error) { return nil, errors.New("never") }

func TestParamsEncode(t *testing.T) {
	var (
		one     = 1
		nowhere *pair
		self    = &pair{1, 2}
	)
	for _, test := range []struct {
		args       any
		named      string // "": absent
		positional string // "=": as named
	}{
		// Structs and maps as objects, or structs as arrays.
		{pair{1, 2}, `{"A":1,"B":2}`, `[1,2]`},
		{&pair{1, 2}, `{"A":1,"B":2}`, `[1,2]`},
		{&self, `{"A":1,"B":2}`, `[1,2]`},
		{pair{}, `{"A":0,"B":0}`, `[0,0]`},
		{nested{pair{1, 2}}, `{"In":{"A":1,"B":2}}`, `[{"A":1,"B":2}]`},
		{tagged{1, "s", 2, 0, 9, 4}, `{"first":1,"-":2,"quo<é>ted":4}`, `[1,2,0,4]`},
		{embedded{base{1, 2}, 3}, `{"X":1,"Y":2,"Z":3}`, `[1,2,3]`},
		{embeddedPointer{&Base{1, 2}, 3}, `{"X":1,"Y":2,"Z":3}`, `[1,2,3]`},
		{embeddedPointer{nil, 3}, `{"Z":3}`, `[null,null,3]`},
		{omittingMany{}, ``, `[0,"","0","\"\"",false,null,null,null,null,null,null]`},
		{&pointerMethods{jsonByPointer{1}, "2"}, `{"A":1,"B":"p:2"}`, `[1,"p:2"]`},
		{pointerMethods{jsonByPointer{1}, "2"}, `{"A":{"N":1},"B":"2"}`, `[{"N":1},"2"]`},
		{deepPointers{&middle{&Nulls{P: &one}, nil}, "x"}, `{"P":1,"Q":null,"N":null,"M":"x"}`, `[1,null,null,"x"]`},
		{deepPointers{&middle{nil, &one}, "x"}, `{"N":1,"M":"x"}`, `[null,null,1,"x"]`},
		{&struct {
			*omitting
			*Base
		}{&omitting{}, &Base{1, 2}}, `{"X":1,"Y":2}`, `[null,1,2]`},
		{struct {
			Account struct{ Account, Owner string }
		}{}, `{"Account":{"Account":"","Owner":""}}`, `[{"Account":"","Owner":""}]`},

		// By name where an array would say something else.
		{deepPointers{&middle{&Nulls{}, nil}, "x"}, `{"P":null,"Q":null,"N":null,"M":"x"}`, `=`},
		{deepPointers{&middle{&Nulls{}, &one}, "x"}, `{"P":null,"Q":null,"N":1,"M":"x"}`, `=`},
		{struct {
			R json.RawMessage `json:",omitempty"`
			N int
		}{}, `{"N":0}`, `=`},
		{map[string]int{"a": 1}, `{"a":1}`, `=`},
		{map[string]int{}, `{}`, `=`},

		// Slices and arrays as arrays.
		{[]int{1, 2}, `[1,2]`, `=`},
		{[2]int{1, 2}, `[1,2]`, `=`},
		{[]int{}, `[]`, `=`},
		{[]any{1, "x", nil}, `[1,"x",null]`, `=`},
		{[]pair{{1, 2}}, `[{"A":1,"B":2}]`, `=`},
		{&[]int{1}, `[1]`, `=`},

		// Scalars in an array of one.
		{1, `[1]`, `=`},
		{-1.5, `[-1.5]`, `=`},
		{"<&>é\n", `["<&>é\n"]`, `=`},
		{"", `[""]`, `=`},
		{"null", `["null"]`, `=`},
		{false, `[false]`, `=`},
		{&one, `[1]`, `=`},
		{[]byte("hi"), `["aGk="]`, `=`},
		{uint64(1<<64 - 1), `[18446744073709551615]`, `=`},
		{json.Number("1.0"), `[1.0]`, `=`},
		{time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), `["2026-01-02T03:04:05Z"]`, `=`},
		{textual{"x"}, `["x"]`, `=`},
		{json.RawMessage(`[1, 2]`), `[1,2]`, `=`},
		{json.RawMessage(`7`), `[7]`, `=`},

		// Nothing.
		{nil, ``, `=`},
		{nowhere, ``, `=`},
		{&nowhere, ``, `=`},
		{[]int(nil), ``, `=`},
		{map[string]int(nil), ``, `=`},
		{json.RawMessage(nil), ``, `=`},
		{struct{}{}, ``, `=`},
		{&empty{}, ``, `=`},
		{noneExported{5}, ``, `=`},
		{omitting{}, ``, `[0]`},
		{omitting{1}, `{"A":1}`, `[1]`},
	} {
		if test.positional == "=" {
			test.positional = test.named
		}
		require.Equal(t, member(test.named), encoded(t, test.args, false), "%T %+v", test.args, test.args)
		require.Equal(t, member(test.positional), encoded(t, test.args, true), "%T %+v, positional", test.args, test.args)
	}
}

func member(params string) string {
	if params == "" {
		return "before"
	}
	return `before,"params":` + params
}

func encoded(t *testing.T, args any, positional bool) string {
	t.Helper()
	e := newEncoder()
	e.b = append(e.b, "before"...)
	require.NoError(t, e.params(args, positional))
	return string(e.b)
}

// What is sent by position arrives in the same fields.
func TestParamsPositionalRoundTrip(t *testing.T) {
	for _, args := range []any{
		pair{1, 2}, nested{pair{1, 2}}, tagged{First: 1, Dash: 2, Hidden: 3, Quoted: 4}, embedded{base{1, 2}, 3},
		embeddedPointer{&Base{1, 2}, 3}, namedBase{Base{1, 2}}, mapFirst{M: map[string]int{"x": 1}, N: 2},
		recursive{Next: &recursive{N: 1}, N: 2}, []int{1}, [1]int{1}, 1, "x", true, textual{"x"},
	} {
		e := newEncoder()
		require.NoError(t, e.params(args, true))
		got := reflect.New(reflect.TypeOf(args))
		d := *newParamsDecoder()
		require.Nil(t, d.decode(e.b[len(`,"params":`):], got.Interface()), "%s", e.b)
		require.Equal(t, args, got.Elem().Interface(), "%s", e.b)
	}
}

func TestParamsEncodeFails(t *testing.T) {
	for _, args := range []any{
		make(chan int), func() {}, failing{}, panicking{}, &panicking{}, []any{1, make(chan int)},
		struct{ A, B any }{1, make(chan int)}, struct{ A panicking }{}, json.RawMessage("nonsense"), json.RawMessage("\"\xff\""),
	} {
		e := newEncoder()
		require.Error(t, e.params(args, false), "%T", args)
		require.Error(t, e.params(args, true), "%T, positional", args)
		e.reset()
		require.NoError(t, e.params(pair{1, 2}, false), "the encoder goes on")
		require.Equal(t, `,"params":{"A":1,"B":2}`, string(e.b))
	}
}
