package openrpc_test

import (
	"encoding/json"
	"fmt"
	"math/big"
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
	oddTags struct {
		A int `json:"a b-c"`
		B int `json:"bad'name"`
		C int `json:",omitempty"`
		D int `json:"Ä,string"`
		E int `json:"-"`
		F int `json:"-,"`
		G int `xml:"g"`
		h int
	}
	oddEmbedded struct {
		deep
		*Shallow
		Named `json:"named"`
		Number
		time.Duration
		error
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
	Shared struct{ Same int }

	oddSame struct {
		OneOf
		TwoOf
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

// propertiesOf returns the properties of the schema of a struct, and what encoding/json writes
// of a value of it.
func propertiesOf[T any](t *testing.T, full T) (properties, written []byte) {
	t.Helper()
	d := read(t, documentOf(t, nil, openrpc.Named("Odd", Odd[T]{})))
	var holder struct {
		Properties struct {
			Value struct {
				Ref        string `json:"$ref"`
				Properties json.RawMessage
			}
		}
	}
	require.NoError(t, json.Unmarshal(d.Components.Schemas[strings.TrimPrefix(refOf(t, d), "#/components/schemas/")], &holder))
	name := strings.TrimPrefix(holder.Properties.Value.Ref, "#/components/schemas/")
	var value struct{ Properties json.RawMessage }
	require.NoError(t, json.Unmarshal(d.Components.Schemas[name], &value))
	written, err := json.Marshal(full)
	require.NoError(t, err)
	return value.Properties, written
}

func refOf(t *testing.T, d document) string {
	t.Helper()
	var ref struct {
		Ref string `json:"$ref"`
	}
	require.NoError(t, json.Unmarshal(d.Methods[0].Result.Schema, &ref))
	return ref.Ref
}

// The properties of a struct are the members that encoding/json writes, in the same order.
func TestFieldsAreThoseOfEncodingJSON(t *testing.T) {
	t.Parallel()
	check := func(properties, written []byte) {
		t.Helper()
		require.Equal(t, keys(t, written), keys(t, properties))
	}
	check(propertiesOf(t, oddTags{C: 1}))
	check(propertiesOf(t, oddEmbedded{Shallow: &Shallow{Shallow3: new(Shallow3)}}))
	check(propertiesOf(t, oddTwice{}))
	check(propertiesOf(t, struct{ Item }{}.Item))
	check(propertiesOf(t, Order{Tags: map[string]string{"": ""}, Note: new(string), Zero: 1, Total: new(big.Int)}))
}

// Types of the same name get names of their own, and those of generic types are names that
// OpenRPC allows.
func TestComponentNames(t *testing.T) {
	t.Parallel()
	type Item struct{ Other int }
	local := openrpc.Named("Local", Odd[Item]{})
	d := read(t, documentOf(t, nil, Kinds{}, local, openrpc.Named("Client", Odd[rpc.Client]{}), openrpc.Named("Page", Odd[Page[map[string]*Item]]{})))
	for name := range d.Components.Schemas {
		require.Regexp(t, `^[A-Za-z0-9._-]+$`, name)
	}
	require.Contains(t, d.Components.Schemas, "Item")
	require.Contains(t, d.Components.Schemas, "openrpc_test.Item")
	require.Contains(t, fmt.Sprint(reflect.ValueOf(d.Components.Schemas).MapKeys()), "Page_openrpc_test.Item")
}
