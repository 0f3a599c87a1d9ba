package jsonrpc2

import (
	"encoding/json"
	"fmt"
	"math/big"
	"math/rand/v2"
	"reflect"
	"strconv"
	"strings"
	"time"
)

// Types with methods of their own for JSON and text, by value and by pointer.
type (
	jsonByValue    struct{ N int }
	jsonByPointer  struct{ N int }
	jsonObject     struct{ members map[string]int }
	jsonOneWay     int
	listAsObject   []int
	textByValue    struct{ s string }
	textByPointer  string
	readsNull      struct{ Nulls int }
	oddZero        struct{ N int }
	named          int
	flag           bool
	word           string
	words          []word
	generic[T any] struct {
		Value T `json:"value,omitempty"`
		Rest  []T
	}
)

func (v jsonByValue) MarshalJSON() ([]byte, error) { return fmt.Appendf(nil, `"<%d>"`, v.N), nil }
func (v *jsonByValue) UnmarshalJSON(text []byte) error {
	_, err := fmt.Sscanf(strings.Trim(string(text), `"`), "<%d>", &v.N)
	return ignoreNull(text, err)
}

func ignoreNull(text []byte, err error) error {
	if string(text) == "null" {
		return nil
	}
	return err
}

// MarshalJSON is not called where the value has no address.
func (v *jsonByPointer) MarshalJSON() ([]byte, error) { return fmt.Append(nil, v.N), nil }
func (v *jsonByPointer) UnmarshalJSON(text []byte) error {
	if _, err := fmt.Sscan(string(text), &v.N); err != nil {
		_, err = fmt.Sscanf(string(text), `{"N":%d}`, &v.N)
		return ignoreNull(text, err)
	}
	return nil
}

func (v jsonObject) MarshalJSON() ([]byte, error)     { return json.Marshal(v.members) }
func (v *jsonObject) UnmarshalJSON(text []byte) error { return json.Unmarshal(text, &v.members) }

func (v jsonOneWay) MarshalJSON() ([]byte, error) { return fmt.Append(nil, int(v)+1), nil }

// MarshalJSON writes a text that encoding/json does not decode into a listAsObject.
func (v listAsObject) MarshalJSON() ([]byte, error) { return []byte(`{"A":[1]}`), nil }

func (v textByValue) MarshalText() ([]byte, error)     { return []byte("t:" + v.s), nil }
func (v *textByValue) UnmarshalText(text []byte) error { v.s = string(text[len("t:"):]); return nil }

func (v *textByPointer) MarshalText() ([]byte, error) { return []byte("p:" + *v), nil }
func (v *textByPointer) UnmarshalText(text []byte) error {
	*v = textByPointer("u:" + string(text))
	return nil
}

func (v *readsNull) UnmarshalJSON(text []byte) error {
	if string(text) == "null" {
		v.Nulls++
		return nil
	}
	_, err := fmt.Sscanf(string(text), `{"Nulls":%d}`, &v.Nulls)
	return err
}

func (z oddZero) IsZero() bool { return z.N == 7 }

var fieldTypes = []reflect.Type{
	reflect.TypeFor[bool](), reflect.TypeFor[int](), reflect.TypeFor[int8](), reflect.TypeFor[int16](), reflect.TypeFor[int32](),
	reflect.TypeFor[int64](), reflect.TypeFor[uint](), reflect.TypeFor[uint8](), reflect.TypeFor[uint16](), reflect.TypeFor[uint32](),
	reflect.TypeFor[uint64](), reflect.TypeFor[uintptr](), reflect.TypeFor[float32](), reflect.TypeFor[float64](), reflect.TypeFor[string](),
	reflect.TypeFor[*int](), reflect.TypeFor[**string](), reflect.TypeFor[*bool](), reflect.TypeFor[[]int](), reflect.TypeFor[[]*string](),
	reflect.TypeFor[[2]int](), reflect.TypeFor[[0]int](), reflect.TypeFor[[3]byte](), reflect.TypeFor[[]byte](), reflect.TypeFor[[]any](),
	reflect.TypeFor[map[string]int](), reflect.TypeFor[map[int8]string](), reflect.TypeFor[map[textByValue]bool](), reflect.TypeFor[map[string]any](),
	reflect.TypeFor[any](), reflect.TypeFor[json.RawMessage](), reflect.TypeFor[*json.RawMessage](), reflect.TypeFor[json.Number](),
	reflect.TypeFor[time.Time](), reflect.TypeFor[*time.Time](), reflect.TypeFor[time.Duration](), reflect.TypeFor[big.Int](), reflect.TypeFor[*big.Int](),
	reflect.TypeFor[jsonByValue](), reflect.TypeFor[*jsonByValue](), reflect.TypeFor[jsonByPointer](), reflect.TypeFor[*jsonByPointer](),
	reflect.TypeFor[jsonObject](), reflect.TypeFor[jsonOneWay](), reflect.TypeFor[textByValue](), reflect.TypeFor[*textByValue](),
	reflect.TypeFor[textByPointer](), reflect.TypeFor[[]textByPointer](), reflect.TypeFor[readsNull](), reflect.TypeFor[*readsNull](),
	reflect.TypeFor[oddZero](), reflect.TypeFor[named](), reflect.TypeFor[flag](), reflect.TypeFor[word](), reflect.TypeFor[words](),
	reflect.TypeFor[pair](), reflect.TypeFor[*pair](), reflect.TypeFor[[]pair](), reflect.TypeFor[map[string]pair](), reflect.TypeFor[empty](),
	reflect.TypeFor[*empty](), reflect.TypeFor[noneExported](), reflect.TypeFor[omitting](), reflect.TypeFor[*omitting](), reflect.TypeFor[recursive](),
	reflect.TypeFor[generic[int]](), reflect.TypeFor[generic[pair]](), reflect.TypeFor[chan int](), reflect.TypeFor[fmt.Stringer](),
}

var (
	fieldNames = []string{"A", "B", "C", "AB", "Ab", "Account", "Owner", "Ä", "K", "Probe", "X"}
	tagNames   = []string{
		"", "", "", "a", "A", "b", "ab", "aB", "account", "Account", "owner", "&<>", "é", "Ä", "ä", "with space", "a.b/c", "$%-_", "\u212a", "k", "ſ", "s",
		"Probe", "Probes", `quo"te`, `back\slash`, "'single'", "it's", "`", "tab\t", "\u2028", "\xff", "-", "0", "日本",
	}
	tagOptions = []string{"", "", "", ",", ",omitempty", ",omitzero", ",string", ",omitempty,string", ",omitzero,string", ",unheard", ",omitempty,omitzero"}
)

// A generator makes types and values at random.
type generator struct{ *rand.Rand }

func newGenerator(seed uint64) generator { return generator{rand.New(rand.NewPCG(seed, 0))} }

func pick[T any](g generator, from []T) T { return from[g.IntN(len(from))] }

// structType makes a struct type, which may have others in it.
func (g generator) structType(depth int) reflect.Type {
	var fields []reflect.StructField
	for _, i := range g.Perm(len(fieldNames))[:g.IntN(7)] {
		f := reflect.StructField{Name: fieldNames[i], Type: g.fieldType(depth), Tag: g.tag()}
		switch g.IntN(8) {
		case 0:
			f.Name, f.PkgPath = fmt.Sprint("hidden", i), "example.com/unexported"
		case 1, 2:
			if depth > 0 {
				f.Anonymous, f.Type = true, g.embeddedType(depth-1)
			}
		}
		fields = append(fields, f)
	}
	return reflect.StructOf(fields)
}

func (g generator) fieldType(depth int) reflect.Type {
	if depth == 0 || g.IntN(4) > 0 {
		return pick(g, fieldTypes)
	}
	switch t := g.structType(depth - 1); g.IntN(4) {
	case 0:
		return reflect.PointerTo(t)
	case 1:
		return reflect.SliceOf(t)
	default:
		return t
	}
}

// embeddedTypes are some that meet more than once in a struct.
var embeddedTypes = []reflect.Type{
	reflect.TypeFor[Base](), reflect.TypeFor[*Base](), reflect.TypeFor[pair](), reflect.TypeFor[*pair](), reflect.TypeFor[Promoted](),
	reflect.TypeFor[Tagging](), reflect.TypeFor[*Tagging](), reflect.TypeFor[named](),
}

func (g generator) embeddedType(depth int) reflect.Type {
	switch g.IntN(4) {
	case 0:
		return pick(g, embeddedTypes)
	case 1:
		return reflect.PointerTo(g.structType(depth))
	default:
		return g.structType(depth)
	}
}

func (g generator) tag() reflect.StructTag {
	switch g.IntN(12) {
	case 0:
		return `json:"-"`
	case 1:
		return `json:"-,"`
	case 2, 3, 4, 5:
		return ""
	}
	return reflect.StructTag("json:" + strconv.Quote(pick(g, tagNames)+pick(g, tagOptions)))
}

// fill sets v to a value, and what is in it.
func (g generator) fill(v reflect.Value, depth int) {
	if g.IntN(4) == 0 {
		return // zero
	}
	if g.special(v) {
		return
	}
	switch kind := v.Kind(); kind {
	case reflect.Bool:
		v.SetBool(true)
	case reflect.String:
		v.SetString(pick(g, []string{"x", "", "<&>é\n", `"quoted"`, "null", "0"}))
	case reflect.Float32, reflect.Float64:
		v.SetFloat(pick(g, []float64{1.5, -0.25, 1e21, 3}))
	case reflect.Pointer:
		if depth > 0 {
			v.Set(reflect.New(v.Type().Elem()))
			g.fill(v.Elem(), depth-1)
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), g.IntN(3), 3))
		g.fillElements(v, depth)
	case reflect.Array:
		g.fillElements(v, depth)
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		for range g.IntN(3) {
			key, value := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
			g.fill(key, depth-1)
			g.fill(value, depth-1)
			v.SetMapIndex(key, value)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if f := v.Field(i); v.Type().Field(i).Name != "_" { // also what is not exported
				g.fill(reflect.NewAt(f.Type(), f.Addr().UnsafePointer()).Elem(), depth)
			}
		}
	default:
		switch {
		case v.CanInt():
			v.SetInt(int64(g.IntN(256) - 128))
		case v.CanUint():
			v.SetUint(uint64(g.IntN(256)))
		}
	}
}

func (g generator) fillElements(v reflect.Value, depth int) {
	for i := range v.Len() {
		g.fill(v.Index(i), depth-1)
	}
}

// special fills what does not take any value of its kind.
func (g generator) special(v reflect.Value) bool {
	var made any
	switch v.Interface().(type) {
	case time.Time:
		made = time.Unix(int64(g.IntN(1e9)), 0).UTC()
	case big.Int:
		made = *big.NewInt(g.Int64())
	case json.Number:
		made = pick(g, []json.Number{"1", "0", "-1.50", "1e3", "nonsense"})
	case json.RawMessage:
		made = json.RawMessage(pick(g, []string{"null", "1", "{}", `{"A":1}`, `"x"`, "[null]"}))
	case *json.RawMessage:
		return false
	case jsonObject:
		made = jsonObject{pick(g, []map[string]int{nil, {}, {"A": 1}, {"N": 1, "x": 2}})}
	default:
		if v.Kind() != reflect.Interface || v.NumMethod() > 0 {
			return false
		}
		made = pick(g, []any{nil, true, 1.5, "x", []any{}, []any{"x", nil}, map[string]any{}, map[string]any{"A": 1.0}, pair{1, 2}, &jsonByPointer{3}})
		if made == nil {
			return true
		}
	}
	v.Set(reflect.ValueOf(made))
	return true
}
