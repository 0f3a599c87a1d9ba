package openrpc_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"net/rpc"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/calc"
	"github.com/micromessaging/jsonrpc2/openrpc"
)

var update = flag.Bool("update", false, "write the golden documents")

func requireGolden(t *testing.T, file string, document []byte) {
	t.Helper()
	var indented bytes.Buffer
	require.NoError(t, json.Indent(&indented, document, "", "  "))
	indented.WriteByte('\n')
	file = filepath.Join("testdata", file)
	if *update {
		require.NoError(t, os.WriteFile(file, indented.Bytes(), 0o666))
	}
	golden, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, string(golden), indented.String())
}

// A client gets the document by rpc.discover, whatever Service and Name say.
func TestDiscover(t *testing.T) {
	t.Parallel()
	for name, opts := range map[string]jsonrpc2.ServerOptions{
		"neither": {}, "Service": {Service: "Calc"}, "Strict": {Service: "Calc", Strict: true},
		"Name": {Name: func(string) string { return "Calc.Add" }},
	} {
		client := newClient(t, opts, describeCalc(), calc.Calc{})
		document, err := jsonrpc2.Call[json.RawMessage](t.Context(), client, "rpc.discover", nil)
		require.NoError(t, err, name)
		requireGolden(t, "calc.json", document)
	}
}

func TestKinds(t *testing.T) {
	t.Parallel()
	requireGolden(t, "kinds.json", documentOf(t, nil, Kinds{}))
}

// The methods of a document are those that net/rpc takes.
func TestMethods(t *testing.T) {
	t.Parallel()
	server := rpc.NewServer()
	require.NoError(t, server.Register(Kinds{}))
	described := make(map[string]bool)
	for _, m := range read(t, documentOf(t, nil, Kinds{})).Methods {
		described[m.Name] = true
	}
	for m := range reflect.TypeFor[Kinds]().Methods() {
		isThere := !callsNothing(t, server, "Kinds."+m.Name)
		require.Equal(t, isThere, described["Kinds."+m.Name], m.Name)
	}
}

// callsNothing reports whether a server has no such method. The params fit none.
func callsNothing(t *testing.T, server *rpc.Server, method string) bool {
	t.Helper()
	here, there := jsonrpc2.Pipe()
	client := jsonrpc2.NewClient(here, nil)
	defer client.Close()
	go func() { _ = jsonrpc2.Serve(t.Context(), server, there, &jsonrpc2.ServerOptions{Strict: true}) }()
	_, err := jsonrpc2.Call[any](t.Context(), client, method, json.RawMessage(`{"no such member":{}}`))
	answer, answered := jsonrpc2.AsError(err)
	return answered && answer.Code == jsonrpc2.CodeMethodNotFound
}

func TestNames(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		opts      openrpc.Options
		receivers []any
		want      string
	}{
		"neither": {openrpc.Options{}, []any{calc.Calc{}}, "Calc.Add Calc.Subtract"},
		"pointer": {openrpc.Options{}, []any{&calc.Calc{}}, "Calc.Add Calc.Subtract"},
		"Service": {openrpc.Options{Service: "Calc"}, []any{calc.Calc{}, openrpc.Named("Other", calc.Calc{})}, "Other.Add Other.Subtract add subtract"},
		"dotted":  {openrpc.Options{Service: "S"}, []any{openrpc.Named("S.T", calc.Calc{})}, "S.T.Add S.T.Subtract"},
		"Named":   {openrpc.Options{Service: "Sum"}, []any{openrpc.Named("Sum", calc.Calc{})}, "add subtract"},
		"Name":    {openrpc.Options{Service: "Calc", Name: strings.ToUpper}, []any{calc.Calc{}}, "CALC.ADD CALC.SUBTRACT"},
		"rpc":     {openrpc.Options{Service: "rpc", Name: strings.ToUpper}, []any{openrpc.Named("rpc", calc.Calc{})}, "rpc.Add rpc.Subtract"},
		"lower":   {openrpc.Options{}, []any{openrpc.Named("calc", struct{ calc.Calc }{})}, "calc.Add calc.Subtract"},
		"none":    {openrpc.Options{}, nil, ""},
	} {
		var names []string
		for _, m := range read(t, documentOf(t, &test.opts, test.receivers...)).Methods {
			names = append(names, m.Name)
		}
		require.Equal(t, test.want, strings.Join(names, " "), name)
	}
}

// A document that can't be made is no reason to end a program: it is for the caller to see.
func TestNoDocument(t *testing.T) {
	t.Parallel()
	for want, discovery := range map[string]*openrpc.Discovery{
		"openrpc: Calc.Add and Sum.Add have the same name: Add": openrpc.New(calcInfo,
			&openrpc.Options{Name: func(name string) string { return name[strings.Index(name, ".")+1:] }},
			calc.Calc{}, openrpc.Named("Sum", calc.Calc{})),
		"openrpc: int has no methods for net/rpc":   openrpc.New(calcInfo, nil, openrpc.Named("Int", 1)),
		"openrpc: the type int is not exported":     openrpc.New(calcInfo, nil, 1),
		"openrpc: struct { calc.Calc } has no name": openrpc.New(calcInfo, nil, struct{ calc.Calc }{}),
		"openrpc: *calc.Calc has no name":           openrpc.New(calcInfo, nil, openrpc.Named("", &calc.Calc{})),
		"openrpc: Options.Errors has a method that is not there: Calc.Ad": openrpc.New(calcInfo,
			&openrpc.Options{Service: "Calc", Errors: map[string][]jsonrpc2.Error{"Calc.Add": nil, "Calc.Ad": nil}}, calc.Calc{}),
		"openrpc: a receiver is nil": openrpc.New(calcInfo, nil, nil),
		"refused": openrpc.New(calcInfo, &openrpc.Options{
			Schema: func(reflect.Type) any { return refusing{} },
		}, calc.Calc{}),
	} {
		_, err := discovery.Document()
		require.ErrorContains(t, err, want)
		client := newClient(t, jsonrpc2.ServerOptions{}, discovery)
		_, err = jsonrpc2.Call[any](t.Context(), client, "rpc.discover", nil)
		answer, answered := jsonrpc2.AsError(err)
		require.True(t, answered, "%v", err)
		require.EqualValues(t, jsonrpc2.CodeServer, answer.Code)
		require.Contains(t, answer.Message, want)
	}
}

type refusing struct{}

func (refusing) MarshalJSON() ([]byte, error) { return nil, errors.New("refused") }

func TestDescriptions(t *testing.T) {
	t.Parallel()
	doc := map[string]string{
		"openrpc_test.Kinds.Number":   "Number returns it. Always.\n\nDeprecated: use Text.\n",
		"openrpc_test.Kinds.Text":     "Text returns it.",
		"openrpc_test.Kinds.Unsigned": "Unsigned returns\nit.\nAlways.\n\nMore of it.",
		"openrpc_test.Order":          "An Order is placed.",
		"openrpc_test.Order.ID":       "which one",
		"openrpc_test.Order.Parent":   "that it belongs to",
		"openrpc_test.Item.Name":      "of the item",
		"openrpc_test.Base.Tenant":    "whose it is",
	}
	d := read(t, documentOf(t, &openrpc.Options{Doc: doc}, Kinds{}))
	find := func(name string) method {
		i := slices.IndexFunc(d.Methods, func(m method) bool { return m.Name == "Kinds."+name })
		return d.Methods[i]
	}
	number := find("Number")
	require.Equal(t, []any{"Number returns it.", "Number returns it. Always.\n\nDeprecated: use Text.", true},
		[]any{number.Summary, number.Description, number.Deprecated})
	text := find("Text")
	require.Equal(t, []any{"Text returns it.", "", false}, []any{text.Summary, text.Description, text.Deprecated})
	require.Equal(t, "Unsigned returns it.", find("Unsigned").Summary)

	described := make(map[string]string)
	for _, p := range find("Order").Params {
		if p.Description != "" {
			described[p.Name] = p.Description
		}
	}
	require.Equal(t, map[string]string{"id": "which one", "parent": "that it belongs to", "Tenant": "whose it is"}, described)
	var item, order struct {
		Description string
		Properties  map[string]struct{ Description string }
	}
	require.NoError(t, json.Unmarshal(d.Components.Schemas["Item"], &item))
	require.Equal(t, "of the item", item.Properties["name"].Description)
	require.NoError(t, json.Unmarshal(d.Components.Schemas["Order"], &order))
	require.Equal(t, "An Order is placed.", order.Description)
	require.Equal(t, "that it belongs to", order.Properties["parent"].Description)
}

// The document belongs to the caller: what it writes there does not change the next one.
func TestDocumentIsCopied(t *testing.T) {
	t.Parallel()
	discovery := describeCalc()
	document, err := discovery.Document()
	require.NoError(t, err)
	clear(document)
	var served json.RawMessage
	require.NoError(t, discovery.Discover(struct{}{}, &served))
	requireGolden(t, "calc.json", served)
	clear(served)
	document, err = discovery.Document()
	require.NoError(t, err)
	requireGolden(t, "calc.json", document)
}

// A program may know more of a type than its kind says, and more errors of a method.
func TestOwnSchemaAndErrors(t *testing.T) {
	t.Parallel()
	colours := map[string]any{"enum": []string{"red", "green"}}
	d := read(t, documentOf(t, &openrpc.Options{
		Schema: func(typ reflect.Type) any {
			if typ == reflect.TypeFor[Colour]() {
				return colours
			}
			return nil
		},
		Errors: map[string][]jsonrpc2.Error{"Kinds.Custom": {{Code: 404, Message: "no such colour"}}},
	}, Kinds{}))
	require.JSONEq(t, `{"enum":["red","green"]}`, string(d.Components.Schemas["Colour"]))
	i := slices.IndexFunc(d.Methods, func(m method) bool { return m.Name == "Kinds.Custom" })
	require.JSONEq(t, `{"$ref":"#/components/schemas/Colour"}`, string(d.Methods[i].Result.Schema))
	require.JSONEq(t, `{"code":404,"message":"no such colour"}`, string(d.Methods[i].Errors[3]))
}
