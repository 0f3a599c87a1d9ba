package openrpc_test

import (
	"encoding/json"
	"fmt"
	"math/big"
	"math/rand"
	randv2 "math/rand/v2"
	"net/rpc"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2/openrpc"
)

// The structs below are odd: what encoding/json makes of their fields is the measure.
type (
	oddEmbedded struct {
		deep
		*Shallow
		Named `json:"named"`
		Number
		time.Duration
		error
		_ int
	}
	deep    struct{ Shallow2 }
	Shallow struct {
		X, Y int
		*Shallow3
	}
	Shallow2 struct{ X, Z int }
	Shallow3 struct{ W, X int }
	Named    struct{ X int }
	Number   int

	oddTwice struct {
		Left
		Right
		Tagged
	}
	Left   struct{ Same, Other int }
	Right  struct{ Same int }
	Tagged struct {
		Any int `json:"Other"`
		Shared
	}
	Shared struct{ Same, Deep int }

	oddSame struct {
		OneOf
		TwoOf
		Also int
	}
	OneOf struct{ Shared }
	TwoOf struct{ Shared }
)

// Odd has methods that return them.
type Odd[T any] struct{}

func (Odd[T]) Get(_ struct{}, reply *Holder[T]) error { return nil }

// A Holder makes a type public that is not.
type Holder[T any] struct{ Value T }

// keys returns the names of an object's members, in their order.
func keys(t *testing.T, object []byte) (names []string) {
	t.Helper()
	decoder := json.NewDecoder(strings.NewReader(string(object)))
	_, err := decoder.Token()
	require.NoError(t, err)
	for decoder.More() {
		name, err := decoder.Token()
		require.NoError(t, err)
		names = append(names, name.(string))
		require.NoError(t, decoder.Decode(new(json.RawMessage)))
	}
	return names
}

// tagged returns a struct with a field for each tag.
func tagged(tags ...reflect.StructTag) any {
	var fields []reflect.StructField
	for i, tag := range tags {
		fields = append(fields, reflect.StructField{Name: fmt.Sprint("F", i), Type: reflect.TypeFor[int](), Tag: tag})
	}
	return reflect.New(reflect.StructOf(fields)).Elem().Interface()
}

// The fields of a struct are the members that encoding/json writes, in the same order.
func TestFieldsAreThoseOfEncodingJSON(t *testing.T) {
	t.Parallel()
	for _, full := range []any{
		tagged(`json:"a b-c"`, `json:"bad'name"`, `json:"Ä,string"`, `json:"-"`, `json:"-,"`, `xml:"g"`, `json:""`, `json:",string"`, `json:"a\"b"`),
		oddEmbedded{Shallow: &Shallow{Shallow3: new(Shallow3)}},
		oddTwice{},
		oddSame{},
		Order{Tags: map[string]string{"": ""}, Note: new(string), Zero: 1, Total: new(big.Int)},
	} {
		written, err := json.Marshal(full)
		require.NoError(t, err)
		require.Equal(t, keys(t, written), openrpc.FieldNames(reflect.TypeOf(full)), "%s", written)
	}
}

// Names of other scripts have letters that OpenRPC does not allow.
type (
	Заказ  struct{}
	Платеж struct{}
	Größe  struct{}
)

// Types of the same name get names of their own, with their packages as Go code writes them. All
// names are such that OpenRPC allows them.
func TestComponentNames(t *testing.T) {
	t.Parallel()
	type Item struct{ Other int }
	for name, test := range map[string]struct {
		receiver any
		want     []string
	}{
		"local":   {Odd[twoOf[Item, sameName]]{}, []string{"Item", "openrpc_test.Item"}},
		"generic": {Odd[Page[map[string]*sameName]]{}, []string{"Item", "Page_map_string_openrpc_test.Item"}},
		"foreign": {Odd[rpc.Client]{}, []string{"Client"}},
		"path":    {Odd[twoOf[rand.Zipf, randv2.Zipf]]{}, []string{"Zipf", "rand.Zipf"}},
		"scripts": {Odd[twoOf[twoOf[Заказ, Платеж], Größe]]{}, []string{"Type", "openrpc_test.Type", "Gr_e"}},
	} {
		schemas := read(t, documentOf(t, nil, openrpc.Named("Odd", test.receiver))).Components.Schemas
		for component := range schemas {
			require.Regexp(t, `^[A-Za-z0-9._-]+$`, component, name)
		}
		for _, want := range test.want {
			require.Contains(t, schemas, want, name)
		}
	}
}

type twoOf[A, B any] struct {
	First  A
	Second B
}
