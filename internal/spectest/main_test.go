// Package spectest holds every transport to the batch examples of the JSON-RPC 2.0
// specification, and batches that form by themselves to their answers. It has
// nothing but tests.
package spectest_test

import (
	"context"
	"errors"
	"io"
	"net/rpc"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/internal/brokertest"
	"github.com/micromessaging/jsonrpc2/internal/servicetest"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(brokertest.Main(m))
}

// Spec has the methods of the specification's examples.
type Spec struct{}

// Subtract returns the difference of two numbers.
func (Spec) Subtract(args [2]float64, reply *float64) error {
	*reply = args[0] - args[1]
	return nil
}

// Sum returns the sum of numbers.
func (Spec) Sum(args []float64, reply *float64) error {
	for _, a := range args {
		*reply += a
	}
	return nil
}

// GetData returns what the example shows.
func (Spec) GetData(_ struct{}, reply *[]any) error {
	*reply = []any{"hello", 5}
	return nil
}

// NotifyHello takes what the example sends.
func (Spec) NotifyHello([]int, *bool) error { return nil }

// NotifySum takes what the example sends.
func (Spec) NotifySum([]int, *bool) error { return nil }

// Echo returns its argument.
func (Spec) Echo(text string, reply *string) error {
	*reply = text
	return nil
}

var names = map[string]string{
	"subtract":     "Spec.Subtract",
	"sum":          "Spec.Sum",
	"get_data":     "Spec.GetData",
	"notify_hello": "Spec.NotifyHello",
	"notify_sum":   "Spec.NotifySum",
	"echo":         "Spec.Echo",
}

// serve serves Spec on conn until the test's cleanup.
func serve(t *testing.T, conn jsonrpc2.ServerConn) {
	t.Helper()
	server := rpc.NewServer()
	require.NoError(t, server.Register(Spec{}))
	ctx, drain := context.WithCancel(context.Background())
	done := make(chan error, 1)
	opts := &jsonrpc2.ServerOptions{Name: func(name string) string { return names[name] }, Logger: servicetest.Quiet}
	go func() { done <- jsonrpc2.Serve(ctx, server, conn, opts) }()
	t.Cleanup(func() {
		drain()
		select {
		case err := <-done:
			if !errors.Is(err, io.ErrClosedPipe) { // the client was closed before the answer to a call that was given up
				require.NoError(t, err)
			}
		case <-time.After(servicetest.Soon):
			require.Fail(t, "Serve does not return")
		}
	})
}
