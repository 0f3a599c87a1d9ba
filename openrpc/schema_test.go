package openrpc_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2/openrpc"
)

type (
	EmbedsItself struct {
		*EmbedsItself
		X int
	}
	talkative struct{ Level level }
	level     int

	twoTrees struct {
		Slice []*Tree
		One   Tree
	}
	refused struct {
		Flags   map[bool]int
		Channel chan int
		Nil     *chan int
		Counts  map[uint8]int
	}
	taggedForOthers struct {
		Wait []string `default:"a b" maximum:"many" format:"words"`
	}
)

// Description is about one value: the zero value has none.
func (talkative) Description() string { panic("called") }

// Enum is not called by encoding/json either: a level is a number there.
func (level) Enum() []any { return []any{"low"} }

// A schema is made of what encoding/json goes by: of the types, whatever their names and other
// methods are, and of the tag json alone. Types may embed themselves, and refer to themselves.
func TestOddTypes(t *testing.T) {
	t.Parallel()
	type Item struct{ Other int }
	for name, test := range map[string]struct {
		receiver any
		want     map[string]string
	}{
		"embeds itself": {Odd[EmbedsItself]{}, map[string]string{
			"EmbedsItself": `{"type":"object","properties":{"X":{"type":"integer"}},"required":["X"]}`,
		}},
		"methods": {Odd[talkative]{}, map[string]string{
			"talkative": `{"type":"object","properties":{"Level":{"$ref":"#/components/schemas/level"}},"required":["Level"]}`,
			"level":     `{"type":"integer"}`,
		}},
		"slice of itself": {Odd[twoTrees]{}, map[string]string{
			"Tree": `{"type":"array","items":{"anyOf":[{"$ref":"#/components/schemas/Tree"},{"type":"null"}]}}`,
		}},
		"same names": {Odd[struct {
			Local Item
			Other sameName
		}]{}, map[string]string{
			"Item":              `{"type":"object","properties":{"Other":{"type":"integer"}},"required":["Other"]}`,
			"openrpc_test.Item": `{"type":"object","properties":{"name":{"type":"string"},"data":{"type":["string","null"],"contentEncoding":"base64"}},"required":["name","data"]}`,
		}},
		"refused": {Odd[refused]{}, map[string]string{
			"refused": `{"type":"object","required":["Flags","Channel","Counts"],"properties":{
				"Flags":{"anyOf":[{"not":{}},{"type":"null"}]}, "Channel":{"not":{}},
				"Nil":{"anyOf":[{"not":{}},{"type":"null"}]},
				"Counts":{"type":["object","null"],"additionalProperties":{"type":"integer"}}}}`,
		}},
		"other tags": {Odd[taggedForOthers]{}, map[string]string{
			"taggedForOthers": `{"type":"object","properties":{"Wait":{"type":["array","null"],"items":{"type":"string"}}},"required":["Wait"]}`,
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			schemas := read(t, documentOf(t, nil, openrpc.Named("Odd", test.receiver))).Components.Schemas
			for component, want := range test.want {
				require.JSONEq(t, want, string(schemas[component]), component)
			}
		})
	}
}

// sameName is the Item that a type of TestOddTypes hides.
type sameName = Item
