package jsonrpc2_test

import (
	"context"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/calc"
)

// An Extension has a method for a name that the specification reserves.
type Extension struct{}

// Discover returns true.
func (Extension) Discover(_ struct{}, called *bool) error {
	*called = true
	return nil
}

// Names that begin with "rpc." are those of extensions: neither Service nor Name, which are
// for the program's own methods, has a say in them.
func TestReservedNames(t *testing.T) {
	for name, opts := range map[string]jsonrpc2.ServerOptions{
		"neither": {},
		"Service": {Service: "Calc"},
		"Name":    {Name: func(string) string { return "Calc.Add" }},
	} {
		t.Run(name, func(t *testing.T) {
			server := serverOf(t, calc.Calc{})
			require.NoError(t, server.RegisterName("rpc", Extension{}))
			here, there := jsonrpc2.Pipe()
			ctx, drain := context.WithCancel(context.Background())
			done := make(chan error, 1)
			go func() { done <- jsonrpc2.Serve(ctx, server, there, &opts) }()
			client := jsonrpc2.NewClient(here, nil)

			for _, method := range []string{"rpc.discover", "rpc.Discover", "rpc.discover"} { // the last from the table of names
				called, err := jsonrpc2.Call[bool](t.Context(), client, method, nil)
				require.NoError(t, err, method)
				require.True(t, called, method)
			}
			for _, method := range []string{"rpc.", "rpc.add", "rpc.discover.more", "rpc.Calc.Add"} {
				_, err := jsonrpc2.Call[any](t.Context(), client, method, nil)
				answer, ok := jsonrpc2.AsError(err)
				require.True(t, ok, "%s: %v", method, err)
				require.EqualValues(t, jsonrpc2.CodeMethodNotFound, answer.Code, method)
			}

			require.NoError(t, client.Close())
			drain()
			require.NoError(t, <-done)
		})
	}
}

// A name is reserved only if it begins with "rpc." as it is written.
func TestNamesNotReserved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var asked []string
		s := newService(t, jsonrpc2.ServerOptions{Name: func(method string) string {
			asked = append(asked, method)
			return "Calc.Add"
		}})
		for _, method := range []string{"RPC.discover", "rpcdiscover", "my.rpc.discover", "rpc"} {
			require.True(t, s.offer(`{"jsonrpc":"2.0","id":1,"method":"`+method+`","params":[1,2]}`))
			require.Contains(t, s.lastReply(t), `"result":3`)
			require.Contains(t, asked, method)
		}
		s.end(t)
	})
}
