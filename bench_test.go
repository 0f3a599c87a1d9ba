package jsonrpc2_test

import (
	"context"
	"net"
	"net/rpc"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/calc"
)

// BenchmarkStream is one Add over a loopback TCP stream, client and server
// together, beside net/rpc's own gob codec.
func BenchmarkStream(b *testing.B) {
	for _, callers := range []int{1, 2, 64, 512} {
		b.Run("codec=jsonrpc2/callers="+strconv.Itoa(callers), func(b *testing.B) {
			benchmarkCalls(b, callers, func(server *rpc.Server, there, here net.Conn) *rpc.Client {
				go jsonrpc2.Serve(b.Context(), server, jsonrpc2.NewStreamConn(there), nil)
				return jsonrpc2.NewClient(jsonrpc2.NewStreamConn(here), nil)
			})
		})
		b.Run("codec=gob/callers="+strconv.Itoa(callers), func(b *testing.B) {
			benchmarkCalls(b, callers, func(server *rpc.Server, there, here net.Conn) *rpc.Client {
				go server.ServeConn(there)
				return rpc.NewClient(here)
			})
		})
	}
}

// BenchmarkBegin is a Call of 64 callers over a loopback TCP stream, with a Begin on both
// ends that does nothing, and with metadata.
func BenchmarkBegin(b *testing.B) {
	nothing := func(context.Context, *jsonrpc2.CallInfo, any) (context.Context, func(error), error) {
		return nil, nil, nil
	}
	ten := make(jsonrpc2.Meta)
	for n := range 10 {
		ten["name"+strconv.Itoa(n)] = "some value of a usual length"
	}
	for _, test := range []struct {
		name  string
		begin jsonrpc2.BeginFunc
		meta  jsonrpc2.Meta
	}{
		{"with=nothing", nil, nil},
		{"with=Begin", nothing, nil},
		{"with=10 entries, unread", nil, ten},
		{"with=10 entries and Begin", nothing, ten},
	} {
		b.Run(test.name, func(b *testing.B) {
			ctx := b.Context()
			if test.meta != nil {
				ctx = jsonrpc2.WithMeta(ctx, test.meta)
			}
			connect := func(server *rpc.Server, there, here net.Conn) *rpc.Client {
				go jsonrpc2.Serve(b.Context(), server, jsonrpc2.NewStreamConn(there), &jsonrpc2.ServerOptions{Begin: test.begin})
				return jsonrpc2.NewClient(jsonrpc2.NewStreamConn(here), &jsonrpc2.ClientOptions{Begin: test.begin})
			}
			benchmark(b, 64, connect, func(client *rpc.Client) (float64, error) {
				return jsonrpc2.Call[float64](ctx, client, "Calc.Add", calc.Args{A: 1, B: 5.1})
			})
		})
	}
}

// A connector connects a client and a server over the ends of a stream.
type connector func(server *rpc.Server, there, here net.Conn) *rpc.Client

func benchmarkCalls(b *testing.B, callers int, connect connector) {
	benchmark(b, callers, connect, func(client *rpc.Client) (sum float64, err error) {
		err = client.Call("Calc.Add", calc.Args{A: 1, B: 5.1}, &sum)
		return sum, err
	})
}

func benchmark(b *testing.B, callers int, connect connector, add func(*rpc.Client) (float64, error)) {
	server := rpc.NewServer()
	require.NoError(b, server.Register(calc.Calc{}))
	there, here := tcpPair(b)
	client := connect(server, there, here)
	defer client.Close()
	var left atomic.Int64
	left.Store(int64(b.N))
	var wg sync.WaitGroup
	b.ReportAllocs()
	b.ResetTimer()
	for range callers {
		wg.Go(func() {
			for left.Add(-1) >= 0 {
				if sum, err := add(client); err != nil || sum != 6.1 {
					b.Errorf("got %v, %v", sum, err)
					return
				}
			}
		})
	}
	wg.Wait()
}

func tcpPair(tb testing.TB) (there, here net.Conn) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(tb, err)
	defer l.Close()
	here, err = net.Dial("tcp", l.Addr().String())
	require.NoError(tb, err)
	there, err = l.Accept()
	require.NoError(tb, err)
	return there, here
}
