package main

import (
	"bytes"
	"context"
	"encoding/json"
	"net"
	"net/rpc"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/internal/servicetest"
)

// Discovery answers rpc.discover with a document.
type Discovery struct{ document string }

// Discover returns it. It wants the metadata that a caller may have to send.
func (d Discovery) Discover(args struct{ jsonrpc2.Context }, document *json.RawMessage) error {
	if jsonrpc2.CallFrom(args.Context).Meta["token"] == "wrong" {
		return &jsonrpc2.Error{Code: 401, Message: "wrong token"}
	}
	*document = json.RawMessage(d.document)
	return nil
}

// serveDocument serves a document at a site.
func serveDocument(t *testing.T, document string) site {
	t.Helper()
	server := rpc.NewServer()
	require.NoError(t, server.RegisterName("rpc", Discovery{document}))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	ctx, drain := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		done <- jsonrpc2.ServeListener(ctx, server, l, &jsonrpc2.ListenerOptions{
			ServerOptions: jsonrpc2.ServerOptions{Service: "Calc", Logger: servicetest.Quiet},
		})
	}()
	t.Cleanup(func() {
		drain()
		require.NoError(t, awaited(t, done))
	})
	return site{name: "tcp", url: "tcp://" + l.Addr().String(), queue: queue}
}

// openRPC returns a document that the module openrpc has made.
func openRPC(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile("../../openrpc/testdata/" + name)
	require.NoError(t, err)
	return string(text)
}

func TestDiscover(t *testing.T) {
	t.Parallel()
	document := openRPC(t, "calc.json")
	s := serveDocument(t, document)
	table := must(t, s.at("discover")...)
	require.Contains(t, readme(t), "$ jsonrpc2 discover\n"+table+"```")
	shown := must(t, s.at("discover", "-o", "json")...)
	require.JSONEq(t, document, shown)
	require.Equal(t, 1, strings.Count(shown, "\n"))

	r := run(t, s.at("discover", "--meta", "token=wrong")...)
	require.Equal(t, result{stderr: "error 401: wrong token\n", status: exitFailed}, r)
}

func TestDiscoverAllKinds(t *testing.T) {
	t.Parallel()
	s := serveDocument(t, openRPC(t, "kinds.json"))
	rows := make(map[string]string)
	for _, row := range tableOf(must(t, s.at("discover")...)) {
		rows[strings.TrimPrefix(row[0], "Kinds.")] = strings.Join(row[1:], " | ")
	}
	for name, want := range map[string]string{
		"Late":    "First integer, Second integer, [Third integer] | Late",
		"Numbers": "[element… integer] | integer[]",
		"Map":     "[value object] | object",
		"Pair":    "element0 integer, element1 integer | integer[]",
		"Any":     "[element… any] | any",
		"Alone":   "Tree",
		"Tree":    "Under Tree, [Right Node] | Tree",
	} {
		require.Equal(t, want, rows[name], name)
	}
}

// Documents come from strangers, and may be of other programs, or none.
func TestDiscoverStrangers(t *testing.T) {
	t.Parallel()
	for document, want := range map[string]string{
		`{"openrpc":"1.0.0","methods":[{"name":"a\u001b[31m\nb","params":[{"$ref":"#/components/contentDescriptors/Who"},
			{"name":"x","schema":true},{"name":"y"},{"name":"z","required":true,"schema":{"oneOf":[]}}]}]}`: "a·[31m·b  Who, [x any], [y], z any",
		`{"openrpc":"1.3.2","methods":[{"name":"add","result":{"$ref":"#/components/contentDescriptors/Sum"}}]}`: "add             Sum",
		`{"openrpc":"1.3.2","methods":[]}`: "METHOD",
		`{"methods":[]}`:                   "what the server answers to rpc.discover is no OpenRPC document",
		`["1.3.2"]`:                        "what the server answers to rpc.discover is no OpenRPC document",
	} {
		r := run(t, serveDocument(t, document).at("discover")...)
		require.Contains(t, r.stdout+r.stderr, want)
		require.Equal(t, strings.HasPrefix(want, "what"), r.status == exitFailed)
	}
	none := run(t, serveHTTP(t, nil).at("discover")...)
	require.Equal(t, result{stderr: "error -32601: method not found: rpc.discover\n", status: exitFailed}, none)
}

func TestTypeOf(t *testing.T) {
	t.Parallel()
	for schema, want := range map[string]string{
		``:                             "",
		`true`:                         "any",
		`{}`:                           "any",
		`{"type":"string"}`:            "string",
		`{"type":"null"}`:              "null",
		`{"type":["string","null"]}`:   "string",
		`{"type":["null","string"]}`:   "string",
		`{"type":["string"]}`:          "string",
		`{"type":["null"]}`:            "any",
		`{"type":["string","number"]}`: "any",
		`{"type":[{}]}`:                "any",
		`{"type":["null","array"],"items":{"type":["null","number"]}}`:      "number[]",
		`{"anyOf":[{"$ref":"#/components/schemas/Order"},{"type":"null"}]}`: "Order",
		`{"anyOf":[{"type":"null"},{"$ref":"#/components/schemas/Order"}]}`: "Order",
		`{"anyOf":[{"type":"string"},{"type":"number"}]}`:                   "any",
		`{"anyOf":[{"type":"null"},{"type":"string"},{"type":"number"}]}`:   "any",
		`{"anyOf":[]}`: "any",
	} {
		require.Equal(t, want, typeOf(json.RawMessage(schema)), schema)
	}
}

// completed returns what a shell is offered for the last word.
func completed(t *testing.T, words ...string) []string {
	t.Helper()
	var stdout, stderr bytes.Buffer
	require.Zero(t, newApp(nil, &stdout, &stderr, environment()).run(t.Context(), append([]string{"__complete"}, words...)))
	require.NotContains(t, stderr.String(), "jsonrpc2:")
	return offers(stdout.String())
}

// offers returns the lines of a completion that are offered.
func offers(shown string) (offered []string) {
	for line := range strings.Lines(shown) {
		if !strings.HasPrefix(line, ":") {
			offered = append(offered, strings.TrimSuffix(line, "\n"))
		}
	}
	return offered
}

// A shell completes the methods of a service that describes itself.
func TestCompleteMethods(t *testing.T) {
	t.Parallel()
	calc := serveDocument(t, openRPC(t, "calc.json"))
	want := []string{"add\tAdd sets sum to A + B.", "subtract\tSubtract sets difference to A - B."}
	for _, command := range []string{"call", "notify", "bench"} {
		offered := completed(t, command, "-b", calc.url, "")
		require.Equal(t, want, offered, command)
	}
	offered := completed(t, "call", "-b", calc.url, "add", "")
	require.Equal(t, []string{"@", "-"}, offered)
	offered = completed(t, "call", "-b", calc.url, "--meta", "token=wrong", "")
	require.Empty(t, offered)

	hostile := serveDocument(t, `{"openrpc":"1.3.2","methods":[{"name":"$(reboot)"},{"name":"-x"},{"name":"a b"},{"name":"a\nb"},
		{"name":"`+"`reboot`"+`"},{"name":";"},{"name":"größe.setzen","summary":"a\tb\nc"}]}`)
	offered = completed(t, "call", "-b", hostile.url, "")
	require.Equal(t, []string{"größe.setzen\ta·b·c"}, offered, "a shell would run what these say")
}

// Where no document comes there is nothing to complete, and nobody waits for long.
func TestCompleteWithoutDocument(t *testing.T) {
	t.Parallel()
	silent, err := net.Listen("tcp", "127.0.0.1:0") // which never answers
	require.NoError(t, err)
	t.Cleanup(func() { _ = silent.Close() })
	addr := silent.Addr().String()
	for _, url := range []string{
		"", "nonsense", "redis://127.0.0.1:1", "amqp://127.0.0.1:1", "tcp://127.0.0.1:1", "http://127.0.0.1:1/",
		"redis://" + addr, "amqp://" + addr, "tcp://" + addr, "http://" + addr,
		serveHTTP(t, nil).url, serveDocument(t, "7").url,
	} {
		t.Run(url, func(t *testing.T) {
			t.Parallel()
			begun := time.Now()
			stdout, err := program("__complete", "call", "-b", url, "").Output()
			require.NoError(t, err)
			require.Empty(t, offers(string(stdout)))
			require.Less(t, time.Since(begun), 8*time.Second, "the end of a silent connection to Redis takes 10 s")
		})
	}
}
