package jsonrpc2

import (
	"encoding/json"
	"math/big"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

type (
	pair   struct{ A, B int }
	tagged struct {
		First   int    `json:"first"`
		Skipped string `json:"-"`
		//lint:ignore SA5008 encoding/json names this field "-"
		Dash    int `json:"-,"`
		Hidden  int `json:",omitempty"`
		private int
		Quoted  int `json:"quo<é>ted"`
	}
	base     struct{ X, Y int }
	embedded struct {
		base
		Z int
	}
	embeddedPointer struct {
		*Base
		Z int
	}
	Base      struct{ X, Y int }
	namedBase struct {
		Base `json:"base"`
	}
	nested   struct{ In pair }
	mapFirst struct {
		M map[string]int
		N int
	}
	empty        struct{}
	noneExported struct{ private int }
	omitting     struct {
		A int `json:",omitempty"`
	}
	textual   struct{ s string }
	level     uint8
	readLevel uint8
	account   struct{ Account, Owner string }
	ambiguous struct{ Account account }
	middle    struct {
		*Nulls
		N *int
	}
	deepPointers struct {
		*middle
		M string
	}
	pointerMethods struct {
		A jsonByPointer
		B textByPointer
	}
	omittingMany struct {
		I  int            `json:",omitempty"`
		S  string         `json:",omitzero"`
		Q  int            `json:",omitempty,string"`
		QS string         `json:",omitempty,string"`
		B  bool           `json:",omitempty"`
		P  *int           `json:",omitempty"`
		M  map[string]int `json:",omitempty"`
		E  pair           `json:",omitzero"`
		T  time.Time      `json:",omitzero"`
		J  jsonOneWay     `json:",omitzero"`
		N  json.Number    `json:",omitempty"`
	}
	recursive struct {
		Next *recursive
		N    int
	}
)

func (t *textual) UnmarshalText(text []byte) error { t.s = string(text); return nil }
func (t textual) MarshalText() ([]byte, error)     { return []byte(t.s), nil }

func (l *level) UnmarshalText([]byte) error   { *l = 1; return nil }
func (level) MarshalText() ([]byte, error)    { return []byte("low"), nil }
func (*readLevel) UnmarshalText([]byte) error { return nil } // encoding/json writes it as a byte

func TestParamsDecode(t *testing.T) {
	three := 3
	for _, test := range []struct {
		params string
		want   any // the zero value of its type is what params are decoded into
		code   int64
	}{
		// Absent and empty.
		{params: ``, want: pair{}},
		{params: `null`, want: pair{}},
		{params: `{}`, want: pair{}},
		{params: `[]`, want: pair{}},
		{params: "[ \n ]", want: 0},
		{params: "{ }", want: 0},
		{params: ``, want: []int(nil)},
		{params: `[]`, want: []int(nil)},
		{params: `[]`, want: map[string]int(nil)},
		{params: `[]`, want: (*pair)(nil)},
		{params: `null`, want: ""},
		{params: `{}`, want: jsonObject{map[string]int{}}},
		{params: `{}`, want: json.RawMessage(`{}`)},
		{params: `[]`, want: json.RawMessage(`[]`)},
		{params: `{}`, want: time.Time{}},
		{params: `[]`, want: time.Time{}},
		{params: `[]`, want: jsonObject{}},

		// Objects.
		{params: `{"A":1,"B":2}`, want: pair{1, 2}},
		{params: `{"a":1,"b":2}`, want: pair{1, 2}},
		{params: `{"A":1,"C":2}`, want: pair{A: 1}},
		{params: `{"A":1,"B":2}`, want: &pair{1, 2}},
		{params: `{"a":1}`, want: map[string]int{"a": 1}},
		{params: `{"a":1}`, want: json.RawMessage(`{"a":1}`)},
		{params: `{"A":"x"}`, want: pair{}, code: CodeInvalidParams},
		{params: `{"A":1}`, want: 0, code: CodeInvalidParams},
		{params: `{"A":1}`, want: "", code: CodeInvalidParams},
		{params: `{"A":1}`, want: []int(nil), code: CodeInvalidParams},

		// Arrays into structs.
		{params: `[1,2]`, want: pair{1, 2}},
		{params: ` [ 1 , 2 ] `[1:], want: pair{1, 2}},
		{params: `[1]`, want: pair{A: 1}},
		{params: `[1,2]`, want: &pair{1, 2}},
		{params: `[null,2]`, want: pair{B: 2}},
		{params: `[1,2,3]`, want: pair{}, code: CodeInvalidParams},
		{params: `["x"]`, want: pair{}, code: CodeInvalidParams},
		{params: `[[1]]`, want: pair{}, code: CodeInvalidParams},
		{params: `[1,2,3,4]`, want: tagged{First: 1, Dash: 2, Hidden: 3, Quoted: 4}},
		{params: `[1,2,3]`, want: embedded{base{1, 2}, 3}},
		{params: `[1,2,3]`, want: embeddedPointer{&Base{1, 2}, 3}},
		{params: `[{"X":1,"Y":2}]`, want: namedBase{Base{1, 2}}},
		{params: `[null,5]`, want: recursive{N: 5}},
		{params: `[{"N":4},5]`, want: recursive{Next: &recursive{N: 4}, N: 5}},
		{params: `[1]`, want: empty{}, code: CodeInvalidParams},
		{params: `[1]`, want: noneExported{}, code: CodeInvalidParams},

		// One object stands for the struct, unless it must be the first field.
		{params: `[{"A":1,"B":2}]`, want: pair{1, 2}},
		{params: `[{"a":1}]`, want: pair{A: 1}},
		{params: `[{"FIRST":1}]`, want: tagged{First: 1}},
		{params: `[{"\u0066irst":1}]`, want: tagged{First: 1}},
		{params: `[{"A":1,"C":2}]`, want: pair{A: 1}},
		{params: `[{"A":1,"B":2}]`, want: &pair{1, 2}},
		{params: `[{}]`, want: pair{}},
		{params: `[{}]`, want: empty{}},
		{params: `[{"A":1,"B":2}]`, want: nested{pair{1, 2}}},
		{params: `[{"In":{"A":1,"B":2}}]`, want: nested{pair{1, 2}}},
		{params: `[{"x":1}]`, want: mapFirst{M: map[string]int{"x": 1}}},
		{params: `[{"x":1},2]`, want: mapFirst{M: map[string]int{"x": 1}, N: 2}},
		{params: `[{"A":1},{"B":2}]`, want: pair{}, code: CodeInvalidParams},
		{params: `[{"C":1}]`, want: pair{}, code: CodeInvalidParams},
		{params: `[{"x":1}]`, want: struct{ N int }{}, code: CodeInvalidParams},
		{params: `[{"N":1}]`, want: struct{ N int }{1}},
		{params: `[{}]`, want: struct{ N int }{}},
		{params: `[{}]`, want: struct{ N []int }{}},
		{params: `[{}]`, want: struct{ M map[string]int }{map[string]int{}}},
		{params: `[{}]`, want: struct{ P *pair }{&pair{}}},
		{params: `[{}]`, want: mapFirst{}},
		{params: `[{"M":{"x":1}}]`, want: mapFirst{M: map[string]int{"x": 1}}},
		{params: `[{"X":1,"Y":2}]`, want: struct {
			In Base
			X  int
		}{In: Base{1, 2}}},
		{params: `[{"X":1}]`, want: struct {
			In Base
			X  int
		}{X: 1}},
		{params: `[{"Account":"a","Owner":"b"}]`, want: ambiguous{account{"a", "b"}}},
		{params: `[{"Account":{"Account":"a"}}]`, want: ambiguous{account{Account: "a"}}},
		{params: `[{"Account":{"Account":1}}]`, want: ambiguous{}, code: CodeInvalidParams},
		{params: `[{"Account":1,"Other":2}]`, want: ambiguous{}, code: CodeInvalidParams},
		{params: `[{"At":"2026-01-02T03:04:05Z"}]`, want: struct{ At time.Time }{time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}},
		{params: `[{"M":{"x":1}}]`, want: struct{ M map[string]int }{map[string]int{"x": 1}}},
		{params: `[{"M":1}]`, want: struct{ M map[string]int }{map[string]int{"M": 1}}},
		{params: `[{"Owner":"b"}]`, want: ambiguous{account{Owner: "b"}}},
		{params: `[null,null,5]`, want: embeddedPointer{nil, 5}},
		{params: `[null,2,5]`, want: embeddedPointer{&Base{0, 2}, 5}},

		// Arrays into slices and arrays.
		{params: `[1,2]`, want: []int{1, 2}},
		{params: `[1,2]`, want: [2]int{1, 2}},
		{params: `[1]`, want: [2]int{1}},
		{params: `[1,2,3]`, want: [2]int{}, code: CodeInvalidParams},
		{params: `[[1],[2]]`, want: [][]int{{1}, {2}}},
		{params: `[{"A":1}]`, want: []pair{{A: 1}}},
		{params: `["x"]`, want: []int(nil), code: CodeInvalidParams},
		{params: `["aGk="]`, want: []byte("hi")},
		{params: `[1,2]`, want: []byte{1, 2}},
		{params: `["low"]`, want: []level{1}},
		{params: `["AQI="]`, want: []readLevel{1, 2}},

		// One element into a scalar.
		{params: `[1]`, want: 1},
		{params: `[1.5]`, want: 1.5},
		{params: `["x"]`, want: "x"},
		{params: `[true]`, want: true},
		{params: `[3]`, want: &three},
		{params: `[null]`, want: 0},
		{params: `[9007199254740993]`, want: int64(9007199254740993)},
		{params: `[1.0]`, want: json.Number("1.0")},
		{params: `[{"a":1}]`, want: map[string]int{"a": 1}},
		{params: `[1,2]`, want: 0, code: CodeInvalidParams},
		{params: `["x"]`, want: 0, code: CodeInvalidParams},
		{params: `[1.5]`, want: 0, code: CodeInvalidParams},
		{params: `[300]`, want: uint8(0), code: CodeInvalidParams},
		{params: `[[1]]`, want: 0, code: CodeInvalidParams},

		// Types that decode themselves.
		{params: `["2026-01-02T03:04:05Z"]`, want: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)},
		{params: `["soon"]`, want: time.Time{}, code: CodeInvalidParams},
		{params: `["x"]`, want: textual{"x"}},
		{params: `[12345678901234567890]`, want: *big.NewInt(0).SetUint64(12345678901234567890)},
		{params: `[1,2]`, want: json.RawMessage(`[1,2]`)},
		{params: `[1]`, want: json.RawMessage(`[1]`)},
	} {
		d := *newParamsDecoder()
		for range 2 { // the second time with the shape known
			v := reflect.New(reflect.TypeOf(test.want))
			err := d.decode([]byte(test.params), v.Interface())
			if test.code != 0 {
				require.NotNil(t, err, "%s into %T", test.params, test.want)
				require.Equal(t, test.code, err.Code, "%s into %T", test.params, test.want)
				continue
			}
			require.Nil(t, err, "%s into %T", test.params, test.want)
			require.Equal(t, test.want, v.Elem().Interface(), "%s into %T", test.params, test.want)
		}
	}
}

func TestParamsDecodeAny(t *testing.T) {
	var v any
	d := *newParamsDecoder()
	require.Nil(t, d.decode([]byte(`[1,"x"]`), &v))
	require.Equal(t, []any{1.0, "x"}, v)
	require.Nil(t, d.decode([]byte(`{"a":1}`), &v))
	require.Equal(t, map[string]any{"a": 1.0}, v)
}

// What is left of one request's params doesn't reach the next.
func TestParamsDecodeOneAfterTheOther(t *testing.T) {
	d := *newParamsDecoder()
	big := strings.Repeat("x", 2*maxKeptBuffer)
	var s struct{ A, B string }
	require.Nil(t, d.decode([]byte(`["`+big+`","`+big+`"]`), &s))
	require.Equal(t, big, s.B)
	s.A, s.B = "", ""
	require.Nil(t, d.decode([]byte(`["a"]`), &s))
	require.Equal(t, "a", s.A)
	require.Empty(t, s.B)
}

type panicking struct{ Int int }

func (panicking) MarshalJSON() ([]byte, error) { panic("marshal") }
func (*panicking) UnmarshalJSON([]byte) error  { panic("unmarshal") }

func TestParamsDecodePanics(t *testing.T) {
	d := *newParamsDecoder()
	for _, v := range []any{new(panicking), new(struct{ P panicking }), new([]panicking), new(*panicking)} {
		err := d.decode([]byte(`[1]`), v)
		require.NotNil(t, err, "%T", v)
		require.EqualValues(t, CodeInternal, err.Code, "%T", v)
		require.Contains(t, err.Message, "unmarshal")
	}
}

type Promoted struct{ X, Y int }

// An array meets a struct as encoding/json sees it: without fields that are
// shadowed, and with the tag ",string" on either side.
func TestPositionalFollowsTags(t *testing.T) {
	type shadowing struct {
		X int
		Promoted
		Price float64 `json:",string"`
	}
	e := newEncoder()
	require.NoError(t, e.params(shadowing{1, Promoted{2, 3}, 4.5}, true))
	require.Equal(t, `,"params":[1,3,"4.5"]`, string(e.b))

	var got shadowing
	require.Nil(t, newParamsDecoder().decode([]byte(`[1,3,"4.5"]`), &got))
	require.Equal(t, shadowing{1, Promoted{0, 3}, 4.5}, got)
}
