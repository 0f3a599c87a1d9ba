package jsonrpc2

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Structs that reflect.StructOf can't make.
type (
	Tagging struct {
		A int `json:"A"`
		X int `json:"x,omitempty"`
	}
	inner    struct{ A, Inner int }
	innerToo struct{ Inner, Other int }
	Deep     struct{ Tagging }
	DeepToo  struct{ *Tagging }
	Nulls    struct{ P, Q *int }
	RawNulls struct{ R json.RawMessage }
	Omitted  struct {
		A int     `json:",omitempty"`
		B *string `json:",omitzero"`
	}
	DeepNulls struct {
		*Nulls
		N *int
	}
	Self struct {
		*Self
		N int
	}
	Both struct {
		Base
		Tagging
	}
	Lettered struct {
		Ab, AB int
	}
	Shouter interface{ Shout() }
	Alias   = pair
	onlyInt int
)

var handwritten = []any{
	pair{}, nested{}, tagged{}, embedded{}, embeddedPointer{}, namedBase{}, mapFirst{}, empty{}, noneExported{}, omitting{}, recursive{},
	jsonByValue{}, jsonByPointer{}, jsonObject{}, textByValue{}, readsNull{}, oddZero{}, time.Time{}, Self{}, DeepNulls{}, generic[string]{}, generic[generic[pair]]{},

	// Of two embedded fields of one name at one depth, a single tagged one wins.
	struct {
		Tagging
		inner
	}{},
	struct {
		inner
		innerToo
	}{},
	struct {
		Both
		inner
	}{},
	// A type that is embedded twice at one depth hides itself, and what it embeds does not.
	struct {
		Deep
		DeepToo
	}{},
	struct {
		*Deep
		Both
		A int
	}{},
	// The only field's value may be an object with the outer's own names.
	struct {
		Account struct{ Account, Owner string }
	}{},
	struct {
		Account *struct{ Account, Owner string }
	}{},
	struct{ Account map[string]string }{},
	struct{ A any }{},
	struct{ M map[string]any }{},
	struct{ A json.RawMessage }{},
	struct{ A jsonObject }{},
	struct{ A *jsonByPointer }{},
	struct{ A listAsObject }{},
	struct{ A *empty }{},
	struct{ A omitting }{},
	struct{ A *omitting }{},
	struct {
		A *omitting `json:",omitempty"`
	}{},
	struct{ A **omitting }{},
	struct{ A []omitting }{},
	struct {
		Account struct{ Account, Owner string }
		Owner   string
	}{},

	// Embedded pointers with and without values behind them.
	struct{ *Nulls }{},
	struct {
		*Nulls
		*Omitted
		N int
	}{},
	struct {
		*DeepNulls
		M string
	}{},
	struct {
		*RawNulls
		N int
	}{},
	struct {
		*inner
		N int
	}{},
	struct {
		*inner `json:"in"`
		N      int
	}{},
	struct {
		inner `json:"in"`
		N     int
	}{},

	// Embedded things that are no plain structs.
	struct {
		named
		onlyInt
		N int
	}{},
	struct {
		*onlyInt
		N int
	}{},
	struct {
		Alias
		N int
	}{},
	struct {
		Shouter
		N int
	}{},
	struct {
		words
		Named named
	}{},
	struct {
		time.Time
		N int
	}{},
	struct {
		jsonByPointer
		N int
	}{},
	struct {
		*textByValue
		N int
	}{},
	struct {
		At struct {
			time.Time
			N int
		}
		N int
	}{},
	struct {
		Context
		N int
	}{},
	struct{ *Context }{},

	// Names that are equal but for case, in either order.
	Lettered{},
	struct {
		AB, Ab, aB int
		X          struct{ X, x int }
	}{},
	struct {
		Kelvin int `json:"\u212a"`
		Letter int `json:"k,omitempty"`
	}{},

	// What null does to some.
	struct {
		R json.RawMessage `json:",omitempty"`
		N readsNull       `json:",omitzero"`
		T time.Time       `json:",omitzero"`
		C chan int        `json:",omitempty"`
	}{},
	struct {
		N json.Number `json:",omitempty"`
		Z oddZero     `json:",omitzero"`
		I *int        `json:",omitempty,string"`
	}{},
}

// What a method gets is the same whether its arguments were sent by name, by
// position, or went through encoding/json alone. Values were lost or changed of
// embedded fields of one name, of an only field that is an object, behind
// embedded pointers, and with methods of pointers.
func TestNamedPositionalAndDirectAreTheSame(t *testing.T) {
	t.Run("by hand", func(t *testing.T) {
		t.Parallel()
		for i, args := range handwritten {
			requireSame(t, uint64(i), reflect.TypeOf(args), 40)
		}
	})
	for part := range 4 {
		t.Run(fmt.Sprint("generated ", part), func(t *testing.T) {
			t.Parallel()
			for i := range 550 {
				seed := uint64(1_000*(part+1) + i)
				requireSame(t, seed, newGenerator(seed).structType(2), 2)
			}
		})
	}
}

// requireSame tries values of a struct type, by value and by pointer.
func requireSame(t *testing.T, seed uint64, typ reflect.Type, values int) {
	t.Helper()
	g := newGenerator(seed)
	e, d := newEncoder(), newParamsDecoder()
	for range values {
		v := reflect.New(typ)
		g.fill(v.Elem(), 4)
		for _, args := range []any{v.Elem().Interface(), v.Interface()} {
			s := sameness{t: t, about: fmt.Sprintf("seed %d: %T", seed, args), typ: typ, encoder: e, decoder: d}
			s.require(args)
		}
	}
}

// A sameness compares what encoding/json alone makes of arguments with what we do.
type sameness struct {
	t       *testing.T
	about   string
	typ     reflect.Type
	encoder *encoder
	decoder *paramsDecoder

	text []byte // of encoding/json alone
	want reflect.Value
	err  error // of decoding text
}

func (s *sameness) require(args any) {
	s.t.Helper()
	err := attempt(func() (err error) { s.text, err = marshal(args); return err })
	if err != nil {
		require.Error(s.t, s.encoder.params(args, false), s.about)
		require.Error(s.t, s.encoder.params(args, true), s.about)
		return
	}
	s.want = reflect.New(s.typ)
	s.err = attempt(func() error { return json.Unmarshal(s.text, s.want.Interface()) })
	for _, positional := range []bool{false, true} {
		s.encoder.reset()
		require.NoError(s.t, s.encoder.params(args, positional), s.about)
		s.requireDecoded(strings.TrimPrefix(string(s.encoder.b), `,"params":`))
		s.requireStrict(strings.TrimPrefix(string(s.encoder.b), `,"params":`))
	}
	shape := s.decoder.shapes.of(s.typ)
	if shape.kind != structShape || string(s.text) == "null" {
		return
	}
	if len(shape.fields) > 1 {
		s.requireDecoded("[" + string(s.text) + "]")
	}
	members, nulls := s.members(shape)
	if s.err == nil && len(members) == len(shape.fields) && !(nulls && len(shape.pointers) > 0) {
		s.requireDecoded("[" + strings.Join(members, ",") + "]")
	}
}

// marshal is json.Marshal without its escapes for HTML, which types see that look
// at the text.
func marshal(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	err := e.Encode(v)
	return bytes.TrimSpace(b.Bytes()), err
}

// attempt makes an error of a panic: encoding/json has one for a pointer that is
// embedded with a tag and not exported.
func attempt(f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v", p)
		}
	}()
	return f()
}

// members returns the values in text, and whether one is null. It requires the
// fields of the shape to be those that are in text, in their order, or that may
// be left out of it.
func (s *sameness) members(shape *shape) (values []string, nulls bool) {
	s.t.Helper()
	fields := shape.fields
	leaveOut := func() {
		require.NotEmpty(s.t, fields, "%s: %s", s.about, s.text)
		require.True(s.t, fields[0].omits || fields[0].pointer >= 0, "%s: %s: no %s", s.about, s.text, fields[0].name)
		fields = fields[1:]
	}
	d := json.NewDecoder(bytes.NewReader(s.text))
	_, _ = d.Token()
	for d.More() {
		name, err := d.Token()
		require.NoError(s.t, err, s.about)
		for len(fields) == 0 || fields[0].name != name {
			leaveOut()
		}
		fields = fields[1:]
		var value json.RawMessage
		require.NoError(s.t, d.Decode(&value), s.about)
		nulls = nulls || string(value) == "null"
		values = append(values, string(value))
	}
	for len(fields) > 0 {
		leaveOut()
	}
	return values, nulls
}

// requireStrict requires a strict server to accept what our client sends. It leaves out types
// with methods of their own that are sent as no params: a strict server wants params for them.
func (s *sameness) requireStrict(params string) {
	s.t.Helper()
	if params != "" || s.decoder.shapes.of(s.typ).kind != customShape {
		require.Nil(s.t, s.decoder.check([]byte(params), s.typ), "%s\nmembers: %s\nparams:  %s", s.about, s.text, params)
	}
}

func (s *sameness) requireDecoded(params string) {
	s.t.Helper()
	got := reflect.New(s.typ)
	err := s.decoder.decode([]byte(params), got.Interface())
	about := fmt.Sprintf("%s\nmembers: %s\nparams:  %s", s.about, s.text, params)
	if s.err != nil {
		require.NotNil(s.t, err, "%s\n%v", about, s.err)
		return
	}
	require.Nil(s.t, err, about)
	require.True(s.t, reflect.DeepEqual(s.want.Interface(), got.Interface()), "%s\nwant: %+v\ngot:  %+v", about, s.want, got)
}
