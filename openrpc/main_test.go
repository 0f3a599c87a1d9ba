package openrpc_test

import (
	"context"
	"encoding/json"
	"net/rpc"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/calc"
	"github.com/micromessaging/jsonrpc2/internal/servicetest"
	"github.com/micromessaging/jsonrpc2/openrpc"
)

//go:generate go run ./cmd/openrpcdoc -package openrpc_test -var calcDoc -o calcdoc_test.go ../calc

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var calcInfo = openrpc.Info{
	Title: "Calc", Version: "1.0.0", Description: "Adds and subtracts.",
	License: &openrpc.License{Name: "MIT"},
}

// describeCalc describes Calc as the example program serves it.
func describeCalc() *openrpc.Discovery {
	return openrpc.New(calcInfo, &openrpc.Options{Service: "Calc", Doc: calcDoc}, calc.Calc{})
}

// documentOf returns the document that describes the receivers.
func documentOf(t *testing.T, opts *openrpc.Options, receivers ...any) []byte {
	t.Helper()
	document, err := openrpc.New(openrpc.Info{Title: "Test", Version: "1"}, opts, receivers...).Document()
	require.NoError(t, err)
	return document
}

// newClient serves receivers, and the service that describes them, to a client over a pipe.
func newClient(t *testing.T, opts jsonrpc2.ServerOptions, discovery *openrpc.Discovery, receivers ...any) *rpc.Client {
	t.Helper()
	server := rpc.NewServer()
	for _, receiver := range receivers {
		require.NoError(t, server.Register(receiver))
	}
	require.NoError(t, server.RegisterName("rpc", discovery))
	opts.Logger = servicetest.Quiet
	here, there := jsonrpc2.Pipe()
	ctx, drain := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- jsonrpc2.Serve(ctx, server, there, &opts) }()
	client := jsonrpc2.NewClient(here, nil)
	t.Cleanup(func() {
		require.NoError(t, client.Close())
		drain()
		require.NoError(t, <-done)
	})
	return client
}

// The types below are what a document is read into.
type (
	document struct {
		OpenRPC    string
		Methods    []method
		Components struct {
			Schemas map[string]json.RawMessage
			Errors  map[string]jsonrpc2.Error
		}
	}
	method struct {
		Name, Summary, Description, ParamStructure string
		Deprecated                                 bool
		Params                                     []param
		Result                                     param
		Errors                                     []json.RawMessage
	}
	param struct {
		Name, Description string
		Required          bool
		Schema            json.RawMessage
		Variadic          bool `json:"x-variadic"`
	}
)

func read(t *testing.T, text []byte) (d document) {
	t.Helper()
	require.NoError(t, json.Unmarshal(text, &d))
	return d
}
