package jsonrpc2_test

import (
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

func benchmarkCalls(b *testing.B, callers int, connect func(server *rpc.Server, there, here net.Conn) *rpc.Client) {
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
				var sum float64
				if err := client.Call("Calc.Add", calc.Args{A: 1, B: 5.1}, &sum); err != nil || sum != 6.1 {
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
