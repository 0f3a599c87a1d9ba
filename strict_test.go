package jsonrpc2_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2"
)

// Checked has methods that take arguments of many kinds and do nothing.
type Checked struct{}

type (
	Account struct {
		Owner string `json:"owner"`
		Limit *int   `json:"limit"`
		Note  string `json:"note,omitempty"`
	}
	Order struct {
		Account Account           `json:"account"`
		Items   []*Item           `json:"items,omitempty"`
		Totals  map[string]Item   `json:"totals,omitempty"`
		Corners [2]Item           `json:"corners,omitzero"`
		Any     any               `json:"any,omitempty"`
		At      time.Time         `json:"at,omitzero"`
		Raw     json.RawMessage   `json:"raw,omitempty"`
		Deep    [][]map[int]*Item `json:"deep,omitempty"`
	}
	Item  struct{ Price float64 }
	Pair  struct{ A, B int }
	Tree  struct{ Left, Right *Tree }
	Empty struct{ _ int }
	Range struct{ From, To int }

	Filter struct {
		*Range
		*Window
		Name string
	}
	Window   struct{ *Span }
	Span     struct{ Start, End int }
	Timed    struct{ jsonrpc2.Context }
	TimedSum struct {
		jsonrpc2.Context
		A int
	}
)

func (Checked) Pair(Pair, *bool) error                { return nil }
func (Checked) PairPointer(*Pair, *bool) error        { return nil }
func (Checked) PairPointers(**Pair, *bool) error      { return nil }
func (Checked) Account(Account, *bool) error          { return nil }
func (Checked) Order(Order, *bool) error              { return nil }
func (Checked) Tree(Tree, *bool) error                { return nil }
func (Checked) Empty(Empty, *bool) error              { return nil }
func (Checked) Filter(Filter, *bool) error            { return nil }
func (Checked) Timed(*Timed, *bool) error             { return nil }
func (Checked) Context(jsonrpc2.Context, *bool) error { return nil }
func (Checked) TimedSum(TimedSum, *bool) error        { return nil }
func (Checked) Float(float64, *bool) error            { return nil }
func (Checked) Ints([]int, *bool) error               { return nil }
func (Checked) Items([]Item, *bool) error             { return nil }
func (Checked) ItemMap(map[string]Item, *bool) error  { return nil }
func (Checked) Array([3]int, *bool) error             { return nil }
func (Checked) Any(any, *bool) error                  { return nil }
func (Checked) Time(time.Time, *bool) error           { return nil }
func (Checked) Raw(json.RawMessage, *bool) error      { return nil }
func (Checked) One(struct{ Item Item }, *bool) error  { return nil }

const fine = ""

var strictCases = []struct{ method, params, want string }{
	// By name.
	{"Pair", `{"A":1,"B":2}`, fine},
	{"Pair", `{"a":1,"b":null}`, fine},
	{"Pair", `{"\u0041":1,"B":2}`, fine},
	{"Pair", `{"A":1,"B":2,"c":3}`, `unknown member "c"`},
	{"Pair", `{"A":1}`, `missing "B"`},
	{"Pair", `{"A":1,"c":3,"d":4}`, `unknown members "c", "d"; missing "B"`},
	{"Pair", `{"c":{"x":1}}`, `unknown member "c"; missing "A", "B"`},
	{"Pair", `{"A":1,"B":2,"\"\n<é>":3}`, `unknown member "\"\n<é>"`},
	{"PairPointer", `{"A":1}`, `missing "B"`},
	{"PairPointers", `{"A":1}`, `missing "B"`},
	{"Account", `{"owner":"o"}`, fine},
	{"Account", `{"limit":1,"note":"n"}`, `missing "owner"`},

	// By position.
	{"Pair", `[1,2]`, fine},
	{"Pair", `[null,2]`, fine},
	{"Pair", `[1]`, `missing "B"`},
	{"Pair", `[1,2,3]`, `3 elements where 2 are taken`},
	{"Account", `["o"]`, fine},
	{"Order", `[{"owner":"o","x":1},[{"Price":1},{}]]`, `unknown member "account.x"; missing "items[1].Price"`},

	// One object for the whole.
	{"Pair", `[{"A":1,"B":2}]`, fine},
	{"Pair", `[{"A":1,"c":2}]`, `unknown member "c"; missing "B"`},
	{"Pair", `[{}]`, `missing "A", "B"`},
	{"One", `[{"Price":1}]`, fine},
	{"One", `[{"Item":{"Price":1}}]`, fine},
	{"One", `[{"Price":1,"x":2}]`, `unknown member "Item.x"`},
	{"One", `[{"Item":{"x":1}}]`, `unknown member "Item.x"; missing "Item.Price"`},

	// Absent and empty.
	{"Pair", ``, `missing "A", "B"`},
	{"Pair", `null`, `missing "A", "B"`},
	{"Pair", `{}`, `missing "A", "B"`},
	{"Pair", `[ ]`, `missing "A", "B"`},
	{"PairPointers", ``, fine},
	{"Float", ``, `1 param is missing`},
	{"Float", `[]`, `1 param is missing`},
	{"Float", `{}`, `1 param is missing`},
	{"Float", `[null]`, fine},
	{"Float", `[1.5]`, fine},
	{"Ints", ``, fine},
	{"ItemMap", ``, fine},
	{"Any", ``, fine},
	{"Raw", ``, fine},
	{"Time", ``, `1 param is missing`},
	{"Time", `{}`, `Time`},
	{"Time", `[]`, `Time`},
	{"Raw", `[]`, fine},
	{"Time", `["2026-01-02T03:04:05Z"]`, fine},
	{"Array", ``, `missing "[0]", "[1]", "[2]"`},
	{"Array", `[1,2]`, `missing "[2]"`},
	{"Array", `[1,2,3]`, fine},
	{"Array", `[1,2,3,4]`, `4 elements where 3 are taken`},

	// Arguments without fields.
	{"Empty", ``, fine},
	{"Empty", `{"hidden":1}`, `unknown member "hidden"`},
	{"Empty", `[{"hidden":1}]`, `unknown member "hidden"`},
	{"Timed", ``, fine},
	{"Timed", `{"Gob":{}}`, `unknown member "Gob"`},
	{"Context", ``, fine},
	{"Context", `{"A":1}`, `unknown member "A"`},
	{"TimedSum", `{"A":1}`, fine},
	{"TimedSum", `[1]`, fine},
	{"TimedSum", ``, `missing "A"`},

	// Within others.
	{"Order", `{"account":{"owner":"o"}}`, fine},
	{"Order", `{"account":{}}`, `missing "account.owner"`},
	{"Order", `{"account":null}`, fine},
	{"Order", `{"account":{"owner":"o","limit":1,"x":2},"y":3}`, `unknown members "account.x", "y"`},
	{"Order", `{"account":{"owner":"o"},"items":[{"Price":1},null,{"price":2},{"cost":3}]}`, `unknown member "items[3].cost"; missing "items[3].Price"`},
	{"Order", `{"account":{"owner":"o"},"totals":{"a.b":{"x":1}}}`, `unknown member "totals.a.b.x"; missing "totals.a.b.Price"`},
	{"Order", `{"account":{"owner":"o"},"corners":[{"Price":1}]}`, `missing "corners[1]"`},
	{"Order", `{"account":{"owner":"o"},"corners":[{"Price":1},{},{}]}`, `unknown member "corners[2]"; missing "corners[1].Price", "corners[2].Price"`},
	{"Order", `{"account":{"owner":"o"},"deep":[[],[{"7":{}}]]}`, `missing "deep[1][0].7.Price"`},
	{"Order", `{"account":{"owner":"o"},"any":{"x":[{}]},"raw":{"x":1},"at":"2026-01-02T03:04:05Z"}`, fine},
	{"Order", `{"account":"o"}`, `cannot unmarshal string`},
	{"Items", `[{"Price":1},{"x":2}]`, `unknown member "[1].x"; missing "[1].Price"`},
	{"ItemMap", `{"a":{"x":2}}`, `unknown member "a.x"; missing "a.Price"`},
	{"ItemMap", `[{"a":{"Price":2}}]`, fine},
	{"Tree", `{"left":{"Left":{"x":1}},"right":{}}`, `unknown member "Left.Left.x"`},

	// Behind embedded pointers: all or nothing.
	{"Filter", `{"Name":"n"}`, fine},
	{"Filter", `{"Name":"n","From":1}`, `missing "To"`},
	{"Filter", `{"Name":"n","From":1,"To":null,"Start":1,"End":2}`, fine},
	{"Filter", `{"End":1}`, `missing "Start", "Name"`},
	{"Filter", `[null,null,null,null,"n"]`, fine},
	{"Filter", `[1,2]`, `missing "Name"`},
	{"Filter", `[1]`, `missing "To", "Name"`},
	{"Filter", `[null]`, `missing "Name"`},
}

// A strict server names all members that are unknown and all that are missing,
// and one that is not strict decodes the same params in silence.
func TestStrict(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		strict := newService(t, jsonrpc2.ServerOptions{Service: "Checked", Strict: true}, Checked{})
		lenient := newService(t, jsonrpc2.ServerOptions{Service: "Checked"}, Checked{})
		for _, test := range strictCases {
			params := test.params
			if params != "" {
				params = `,"params":` + params
			}
			request := `{"jsonrpc":"2.0","id":1,"method":"` + test.method + `"` + params + `,"trace":1}`
			require.True(t, strict.offer(request))
			requireStrictAnswer(t, strict.lastReply(t), test.want, request)

			if !isDecodeError(test.want) || test.method == "Time" {
				test.want = fine
			}
			require.True(t, lenient.offer(request))
			requireStrictAnswer(t, lenient.lastReply(t), test.want, request)
		}
		for _, s := range []*service{strict, lenient} {
			s.drain()
			require.NoError(t, <-s.done)
		}
	})
}

func requireStrictAnswer(t *testing.T, reply, want, request string) {
	t.Helper()
	var r struct{ Error *jsonrpc2.Error }
	require.NoError(t, json.Unmarshal([]byte(reply), &r))
	if want == fine {
		require.Nil(t, r.Error, "%s", request)
		return
	}
	require.NotNil(t, r.Error, "%s: %s", request, want)
	require.EqualValues(t, jsonrpc2.CodeInvalidParams, r.Error.Code, "%s", request)
	if isDecodeError(want) {
		require.Contains(t, r.Error.Message, want)
		return
	}
	require.Equal(t, "invalid params: "+want, r.Error.Message, "%s", request)
}

// isDecodeError reports whether an error is not of strictness.
func isDecodeError(text string) bool {
	return strings.Contains(text, "elements") || strings.Contains(text, "cannot") || strings.Contains(text, "Time")
}

// Strangers choose the names: neither many nor long ones make a long message.
func TestStrictMessageIsShort(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(t, jsonrpc2.ServerOptions{Service: "Checked", Strict: true}, Checked{})
		ask := func(method, params string) string {
			require.True(t, s.offer(`{"jsonrpc":"2.0","id":1,"method":"`+method+`","params":`+params+`}`))
			var r struct{ Error jsonrpc2.Error }
			require.NoError(t, json.Unmarshal([]byte(s.lastReply(t)), &r))
			return r.Error.Message
		}
		var many []string
		for i := range 1000 {
			many = append(many, fmt.Sprintf(`"x%d":0`, i))
		}
		require.Equal(t, `invalid params: unknown members "x0", "x1", "x2", "x3", "x4", "x5", "x6", "x7", "x8", "x9" and 990 more; missing "A", "B"`,
			ask("Pair", "{"+strings.Join(many, ",")+"}"))

		long := strings.Repeat("é", 100_000)
		require.Equal(t, `invalid params: unknown member "`+strings.Repeat("é", 40)+`…"; missing "A", "B"`, ask("Pair", `{"`+long+`":0}`))
		require.Less(t, len(ask("ItemMap", `{"`+long+`":{"`+long+`":0}}`)), 500)
		require.Less(t, len(ask("Tree", strings.Repeat(`{"left":`, 400)+`{"x":1}`+strings.Repeat("}", 400))), 200)
		s.drain()
		require.NoError(t, <-s.done)
	})
}
