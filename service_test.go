package jsonrpc2_test

import (
	"encoding/json"
	"errors"
	"math"
	"net/rpc"
	"strings"
	"testing"
	"unicode"

	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/calc"
)

// Spec has the methods of the specification's examples.
type Spec struct{}

type SubtractArgs struct {
	Minuend    float64 `json:"minuend"`
	Subtrahend float64 `json:"subtrahend"`
}

func (Spec) Subtract(args SubtractArgs, reply *float64) error {
	*reply = args.Minuend - args.Subtrahend
	return nil
}

func (Spec) Sum(args []float64, reply *float64) error {
	for _, a := range args {
		*reply += a
	}
	return nil
}

func (Spec) GetData(_ struct{}, reply *[]any) error {
	*reply = []any{"hello", 5}
	return nil
}

func (Spec) NotifyHello([]int, *bool) error { return nil }
func (Spec) NotifySum([]int, *bool) error   { return nil }
func (Spec) Update([]int, *bool) error      { return nil }

// Odd has methods that take, return and do what is out of the ordinary.
type Odd struct{}

func (Odd) Echo(args json.RawMessage, reply *json.RawMessage) error {
	*reply = args
	return nil
}

func (Odd) Text(args string, reply *string) error {
	*reply = args
	return nil
}

func (Odd) Negate(args bool, reply *bool) error {
	*reply = !args
	return nil
}

func (Odd) Pair(args [2]int, reply *[]int) error {
	*reply = args[:]
	return nil
}

func (Odd) Nothing(_ struct{}, reply **int) error { return nil }

func (Odd) Fail(_ struct{}, _ *int) error {
	return &jsonrpc2.Error{Code: 404, Message: "no such account", Data: json.RawMessage(`{"account": 7}`)}
}

func (Odd) FailWrapped(_ struct{}, _ *int) error {
	return errors.Join(errors.New("transfer"), &jsonrpc2.Error{Code: 404, Message: "no such account"})
}

// FailWith fails with the text alone.
func (Odd) FailWith(text string, _ *int) error { return errors.New(text) }

// FailNil returns an error that is not nil, though the Error in it is.
func (Odd) FailNil(_ struct{}, _ *int) error {
	var e *jsonrpc2.Error
	return e
}

func (Odd) FailEmpty(_ struct{}, _ *int) error { return &jsonrpc2.Error{} }

func (Odd) NaN(_ struct{}, reply *float64) error {
	*reply = math.NaN()
	return nil
}

func (Odd) Channel(_ struct{}, reply *Channel) error { return nil }

func (Odd) BadUTF8(_ struct{}, reply *json.RawMessage) error {
	*reply = json.RawMessage("\"\xff\"")
	return nil
}

type Channel struct{ C chan int }

func (Odd) PanicInResult(_ struct{}, reply *Panicker) error { return nil }
func (Odd) PanicInParams(_ Panicker, reply *bool) error     { return nil }

// A Panicker panics wherever encoding/json asks it.
type Panicker struct{}

func (Panicker) MarshalJSON() ([]byte, error)   { panic("marshal") }
func (*Panicker) UnmarshalJSON([]byte) error    { panic("unmarshal") }
func (Odd) Refuse(_ Refuser, reply *bool) error { return nil }

// A Refuser takes no JSON at all.
type Refuser struct{}

func (*Refuser) UnmarshalJSON([]byte) error { return errors.New("never good enough") }

// Long has methods that return as much as one likes.
type Long struct{}

// Repeat returns a string of that many letters.
func (Long) Repeat(n int, reply *string) error {
	*reply = strings.Repeat("x", n)
	return nil
}

// Fail fails with a string of that many letters for data.
func (Long) Fail(n int, _ *int) error {
	return &jsonrpc2.Error{Code: 5, Message: "long", Data: json.RawMessage(`"` + strings.Repeat("x", n) + `"`)}
}

// newServer returns a server with the services above, Calc, and more.
func newServer(tb testing.TB, more ...any) *rpc.Server {
	return serverOf(tb, append(more, Spec{}, Odd{}, Long{}, calc.Calc{})...)
}

func serverOf(tb testing.TB, services ...any) *rpc.Server {
	tb.Helper()
	server := rpc.NewServer()
	for _, service := range services {
		require.NoError(tb, server.Register(service))
	}
	return server
}

// specName maps get_data to Spec.GetData, and odd.echo to Odd.Echo.
func specName(method string) string {
	service, name, ok := strings.Cut(method, ".")
	if !ok {
		service, name = "spec", method
	}
	return raised(service) + "." + raised(name)
}

// raised makes ThisName of this_name.
func raised(snake string) string {
	var b strings.Builder
	for word := range strings.SplitSeq(snake, "_") {
		for i, r := range word {
			if i == 0 {
				r = unicode.ToUpper(r)
			}
			b.WriteRune(r)
		}
	}
	return b.String()
}
