package conntest_test

import (
	"net"
	"testing"

	"go.uber.org/goleak"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/conntest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestPipe(t *testing.T) { conntest.Run(t, pipe) }

// pipe makes Conns over pipes in memory: each that is dialed leaves the other end for
// Listen. Nothing waits in between, and no deadline travels.
func pipe(*testing.T) conntest.Transport {
	dialed := make(chan net.Conn, 10)
	return conntest.Transport{
		Dial: func(testing.TB) jsonrpc2.ClientConn {
			there, here := net.Pipe()
			dialed <- there
			return jsonrpc2.NewStreamConn(here)
		},
		Listen: func(testing.TB) jsonrpc2.ServerConn { return jsonrpc2.NewStreamConn(<-dialed) },
	}
}

// A transport is tested by a test of its package.
func ExampleRun() {
	var _ = func(t *testing.T) { conntest.Run(t, pipe) }
}
