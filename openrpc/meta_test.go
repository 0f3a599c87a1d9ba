package openrpc_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/calc"
	"github.com/micromessaging/jsonrpc2/openrpc"
)

// node runs a program in a folder.
func node(t *testing.T, dir, stdin, program string, args ...string) []byte {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Dir, cmd.Stdin = dir, strings.NewReader(stdin)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	stdout, err := cmd.Output()
	if errors.Is(err, exec.ErrNotFound) {
		t.Fatalf("%s is missing: apt-get install nodejs npm", program)
	}
	require.NoError(t, err, "%s %q: %s\n%s", program, args, stdout, &stderr)
	return stdout
}

// A sample is a call, and what is right or wrong with it by the document.
type sample struct {
	Method string          `json:"method"`
	Params json.RawMessage `json:"params,omitempty"`
	Result json.RawMessage `json:"result,omitempty"`
}

type checked struct {
	Document []string
	Samples  [][]string
}

// checkAll checks documents against the meta-schema of OpenRPC, and samples of calls against
// the documents.
func checkAll(t *testing.T, documents [][]byte, samples ...[]sample) (all []checked) {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, os.CopyFS(dir, os.DirFS(filepath.Join("testdata", "npm"))))
	node(t, dir, "", "npm", "ci", "--prefer-offline", "--ignore-scripts", "--no-audit", "--no-fund")
	var lines bytes.Buffer
	encoder := json.NewEncoder(&lines)
	for i, document := range documents {
		line := map[string]any{"document": json.RawMessage(document)}
		if i < len(samples) {
			line["samples"] = samples[i]
		}
		require.NoError(t, encoder.Encode(line))
	}
	decoder := json.NewDecoder(bytes.NewReader(node(t, dir, lines.String(), "node", "check.js")))
	for decoder.More() {
		var c checked
		require.NoError(t, decoder.Decode(&c))
		all = append(all, c)
	}
	require.Len(t, all, len(documents))
	return all
}

// good are params that a strict server takes, and bad are those that it refuses: so does the
// document.
var good, bad = []sample{
	{Method: "Kinds.Number", Params: raw(`[1.5]`)},
	{Method: "Kinds.Unsigned", Params: raw(`[255]`)},
	{Method: "Kinds.Text", Params: raw(`["a"]`)},
	{Method: "Kinds.Bool", Params: raw(`[true]`)},
	{Method: "Kinds.Bytes", Params: raw(`["AQI="]`)},
	{Method: "Kinds.Bytes"},
	{Method: "Kinds.Numbers", Params: raw(`[1,2,3]`)},
	{Method: "Kinds.Numbers", Params: raw(`[]`)},
	{Method: "Kinds.Numbers"},
	{Method: "Kinds.Pair", Params: raw(`[1,2]`)},
	{Method: "Kinds.Map", Params: raw(`[{"a":1}]`)},
	{Method: "Kinds.Map"},
	{Method: "Kinds.Any", Params: raw(`[1,"a",{}]`)},
	{Method: "Kinds.Any", Params: raw(`{"a":1}`)},
	{Method: "Kinds.Any"},
	{Method: "Kinds.Raw", Params: raw(`[1,"a",{}]`)},
	{Method: "Kinds.Raw", Params: raw(`{"a":1}`)},
	{Method: "Kinds.Time", Params: raw(`["2026-01-02T03:04:05Z"]`)},
	{Method: "Kinds.Empty"},
	{Method: "Kinds.Empty", Params: raw(`[]`)},
	{Method: "Kinds.Alone"},
	{Method: "Kinds.Custom", Params: raw(`["red"]`)},
	{Method: "Kinds.Texts", Params: raw(texts)},
	{Method: "Kinds.NoChannel"},
	{Method: "Kinds.Nulls", Params: raw(`{"Slice":[1],"Kept":[2],"Keyed":{"A":3}}`)},
	{Method: "Kinds.Nulls", Params: raw(`{"Slice":null,"Kept":null,"Keyed":null}`)},
	{Method: "Kinds.Nulls", Params: raw(`{"Keyed":{}}`)},
	{Method: "Kinds.Nulls", Params: raw(`[{"A":3},null,null,null,5]`)},
	{Method: "Kinds.Late", Params: raw(`[null,2]`)},
	{Method: "Kinds.Late", Params: raw(`[1,2,3]`)},
	{Method: "Kinds.Late", Params: raw(`{"First":1,"Second":2}`)},
	{Method: "Kinds.Tree", Params: raw(`{"Under":[[],[[],null]],"Right":{"Under":[],"Right":{"Under":null}}}`)},
	{Method: "Kinds.Tree", Params: raw(`[[[]]]`)},
	{Method: "Kinds.Page", Params: raw(`{"Of":[{"name":"a","data":"AQI="},{"name":"b","data":null}],"Next":{"Of":null}}`)},
	{Method: "Kinds.Order", Params: raw(order)},
	{Method: "Kinds.Order", Params: raw(`["t","b",1,"5",[],null,"2026-01-02T03:04:05Z",null,null,null,null,"red",7,null,{"X":1}]`)},
}, []sample{
	{Method: "Kinds.Number", Params: raw(`["a"]`)},
	{Method: "Kinds.Number", Params: raw(`[1,2]`)},
	{Method: "Kinds.Number", Params: raw(`{"value":1}`)},
	{Method: "Kinds.Number"},
	{Method: "Kinds.Unsigned", Params: raw(`[-1]`)},
	{Method: "Kinds.Text", Params: raw(`[1]`)},
	{Method: "Kinds.Bool", Params: raw(`["true"]`)},
	{Method: "Kinds.Numbers", Params: raw(`[1,"a"]`)},
	{Method: "Kinds.Numbers", Params: raw(`{"element":1}`)},
	{Method: "Kinds.Pair", Params: raw(`[1]`)},
	{Method: "Kinds.Pair", Params: raw(`[1,2,3]`)},
	{Method: "Kinds.Map", Params: raw(`[{"a":"b"}]`)},
	{Method: "Kinds.Late", Params: raw(`[1]`)},
	{Method: "Kinds.Late", Params: raw(`{"First":1}`)},
	{Method: "Kinds.Late", Params: raw(`[1,2,3,4]`)},
	{Method: "Kinds.Tree", Params: raw(`[[[1]]]`)},
	{Method: "Kinds.Tree", Params: raw(`{"Under":[],"Right":{}}`)},
	{Method: "Kinds.Page", Params: raw(`{"Of":[{"name":"a"}]}`)},
	{Method: "Kinds.Order", Params: raw(strings.Replace(order, `"name":"pen"`, `"name":1`, 1))},
	{Method: "Kinds.Texts", Params: raw(strings.Replace(texts, `{"a":"red"}`, `{"a":1}`, 1))},
	{Method: "Kinds.Order", Params: raw(strings.Replace(order, `"Quoted":"5"`, `"Quoted":5`, 1))},
}

const order = `{"Tenant":"t","ID":"b","id":1,"Quoted":"5","items":[{"name":"pen","data":"AQI="}],
"tags":{"a":"b"},"placed":"2026-01-02T03:04:05Z","parent":null,"total":99999999999999999999,"note":"n","zero":5,
"colour":"red","number":7.5,"anything":{"a":[]},"inline":{"X":1}}`

const texts = `{"Read":"a","Written":1,"Bytes":"AQID","Maps":{"a":"red"},"Pointer":{"a":"a"},"Array":{"a":["a"]},
	"Struct":{"a":{"In":"a"}},"Totals":{"a":5}}`

func raw(text string) json.RawMessage { return json.RawMessage(text) }

// The documents are valid, and say of params and results what is so: params that fit are taken
// by a strict server, and its results fit, and params that do not fit are refused.
func TestMetaSchema(t *testing.T) {
	t.Parallel()
	kinds := openrpc.New(openrpc.Info{Title: "Kinds", Version: "1"}, nil, Kinds{})
	client := newClient(t, jsonrpc2.ServerOptions{Strict: true}, kinds, Kinds{})
	var samples []sample
	for _, s := range good {
		result, err := jsonrpc2.Call[json.RawMessage](t.Context(), client, s.Method, params(s))
		require.NoError(t, err, "%s %s", s.Method, s.Params)
		s.Result = result
		samples = append(samples, s)
	}
	for _, s := range bad {
		_, err := jsonrpc2.Call[json.RawMessage](t.Context(), client, s.Method, params(s))
		answer, answered := jsonrpc2.AsError(err)
		require.True(t, answered, "%s %s: %v", s.Method, s.Params, err)
		require.EqualValues(t, jsonrpc2.CodeInvalidParams, answer.Code, "%s %s", s.Method, s.Params)
		samples = append(samples, s)
	}
	served, err := jsonrpc2.Call[json.RawMessage](t.Context(), client, "rpc.discover", nil)
	require.NoError(t, err)

	documents := [][]byte{
		served,
		documentOf(t, nil),
		documentOf(t, &openrpc.Options{
			Service: "Calc", Doc: calcDoc, Errors: map[string][]jsonrpc2.Error{"Calc.Add": {{Code: 1, Message: "no", Data: raw(`{}`)}}},
		}, calc.Calc{}, Kinds{}, openrpc.Named("Odd", Odd[oddTwice]{})),
		[]byte(`{"openrpc":"1.3.2","info":{"title":"no version"},"methods":[],"components":{}}`),
	}
	all := checkAll(t, documents, samples)
	for i, checked := range all[:3] {
		require.Empty(t, checked.Document, "%s", documents[i])
	}
	require.NotEmpty(t, all[3].Document, "else nothing is checked")
	for i, s := range samples {
		if i < len(good) {
			require.Empty(t, all[0].Samples[i], "%s %s → %s", s.Method, s.Params, s.Result)
		} else {
			require.NotEmpty(t, all[0].Samples[i], "%s %s", s.Method, s.Params)
		}
	}
}

// params returns the params of a sample, nil for none.
func params(s sample) any {
	if s.Params == nil {
		return nil
	}
	return s.Params
}
