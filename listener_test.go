package jsonrpc2_test

import (
	"context"
	"net"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/calc"
	"github.com/micromessaging/jsonrpc2/internal/servicetest"
)

func TestListener(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	ctx, drain := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- jsonrpc2.ServeListener(ctx, newServer(t), l, &jsonrpc2.ListenerOptions{ServerOptions: jsonrpc2.ServerOptions{Logger: servicetest.Quiet}})
	}()
	for range 3 {
		conn, err := net.Dial("tcp", l.Addr().String())
		require.NoError(t, err)
		client := jsonrpc2.NewClient(jsonrpc2.NewStreamConn(conn), nil)
		sum, err := jsonrpc2.Call[float64](t.Context(), client, "Calc.Add", calc.Args{A: 1, B: 5.1})
		require.NoError(t, err)
		require.EqualValues(t, 6.1, sum)
		defer client.Close()
	}
	drain()
	require.NoError(t, <-done)
}
