package jsonrpc2_test

import (
	"context"
	"math/rand/v2"
	"net"
	"net/rpc"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/calc"
	"github.com/micromessaging/jsonrpc2/internal/servicetest"
)

// However a client ends amid its calls, each of them ends, and is counted once.
func TestClientEndsAmidCalls(t *testing.T) {
	t.Parallel()
	for round := range 300 {
		there, here := net.Pipe()
		server := servicetest.Serve(t, jsonrpc2.NewStreamConn(there), jsonrpc2.ServerOptions{MaxInFlight: 3, Logger: servicetest.Quiet})
		var conn jsonrpc2.ClientConn = jsonrpc2.NewStreamConn(here)
		if round%2 == 0 {
			conn = jsonrpc2.Batch(conn, &jsonrpc2.BatchOptions{MaxItems: 5})
		}
		stats := new(jsonrpc2.ClientStats)
		timeout := []time.Duration{-1, time.Millisecond, 0}[round%3]
		client := jsonrpc2.NewClient(conn, &jsonrpc2.ClientOptions{Timeout: timeout, Stats: stats, Logger: servicetest.Quiet})
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() { callAtRandom(client) })
		}
		wg.Go(func() {
			time.Sleep(rand.N(2 * time.Millisecond))
			switch round % 4 {
			case 0:
				_ = client.Close()
			case 1:
				_ = there.Close()
			case 2:
				ctx, cancel := context.WithTimeout(context.Background(), rand.N(time.Millisecond))
				defer cancel()
				_ = jsonrpc2.Shutdown(ctx, client)
			}
		})
		wg.Go(func() {
			time.Sleep(rand.N(2 * time.Millisecond))
			_ = jsonrpc2.Shutdown(context.Background(), client)
		})
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			wg.Wait()
		}()
		select {
		case <-ended:
		case <-time.After(servicetest.Soon):
			require.FailNow(t, "a call does not end", "%+v", stats.Snapshot())
		}
		_ = client.Close()
		servicetest.Eventually(t, func() bool { return stats.Snapshot().InFlight == 0 })
		server.Drain()
		_ = there.Close()
		<-server.Done
		server.Err = nil // that of a broken stream
	}
}

// callAtRandom makes calls and notifications, some of which are given up.
func callAtRandom(client *rpc.Client) {
	for n := range 20 {
		ctx, cancel := context.WithCancel(context.Background())
		switch n % 4 {
		case 0:
			time.AfterFunc(rand.N(300*time.Microsecond), cancel)
		case 1:
			ctx, cancel = context.WithTimeout(ctx, rand.N(300*time.Microsecond))
		}
		if rand.IntN(2) == 0 {
			_ = jsonrpc2.Notify(ctx, client, "Calc.Add", calc.Args{A: 1})
		} else {
			_, _ = jsonrpc2.Call[float64](ctx, client, "Calc.Add", calc.Args{A: 1})
		}
		cancel()
	}
}
