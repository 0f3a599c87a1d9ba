package readmetest

import (
	"net"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/internal/servicetest"
)

const smallLimit = 1000 // bytes of a message

var long = strings.Repeat("x", 2*smallLimit)

var streamFailures = []failure{
	{"stream", "ErrTooLarge", 0, func(t *testing.T, s *Counted) outcome {
		return tooLargeRequest(t, s.overStream(t), s.overStream(t))
	}},
	{"stream", "ErrOverloaded", 0, func(t *testing.T, s *Counted) outcome {
		here, there := net.Pipe() // which nobody reads
		t.Cleanup(func() { _ = there.Close() })
		client := dial(t, jsonrpc2.NewStreamConn(here), jsonrpc2.ClientOptions{})
		fill := strings.Repeat("x", 1<<20)
		for range 17 {
			client.Go("Counted.Quick", Args{Fill: fill}, new(string), nil)
		}
		return outcome{err: call(client, "Quick", Args{Name: "it", Fill: fill})}
	}},
	{"stream", "ErrUnavailable", 0, func(t *testing.T, s *Counted) outcome { // the server has gone
		here, there := net.Pipe()
		client := dial(t, jsonrpc2.NewStreamConn(here), jsonrpc2.ClientOptions{})
		waits := client.Go("Counted.Quick", Args{}, new(string), nil)
		require.NoError(t, there.Close())
		require.Error(t, (<-waits.Done).Error)
		return outcome{err: call(client, "Quick", Args{Name: "it"})}
	}},
	{"stream", "ErrReplyLost", 1, func(t *testing.T, s *Counted) outcome { // the connection is cut in mid-call
		here, there := net.Pipe()
		s.serve(t, jsonrpc2.NewStreamConn(there), jsonrpc2.ServerOptions{})
		client := dial(t, jsonrpc2.NewStreamConn(here), jsonrpc2.ClientOptions{})
		err := make(chan error, 1)
		go func() { err <- call(client, "Wait", Args{Name: "it"}) }()
		servicetest.Eventually(t, func() bool { return s.runs("it") > 0 })
		require.NoError(t, there.Close())
		defer s.end()
		return outcome{err: <-err}
	}},
	{"stream", "ErrUnconfirmed", 0, func(t *testing.T, s *Counted) outcome { // the connection is cut in the middle of the request
		here, there := net.Pipe()
		client := dial(t, jsonrpc2.NewStreamConn(here), jsonrpc2.ClientOptions{})
		go func() {
			_, _ = there.Read(make([]byte, 1))
			_ = there.Close()
		}()
		return outcome{err: jsonrpc2.Notify(t.Context(), client, "Counted.Quick", Args{Name: "it"})}
	}},
	{"stream", "ErrTimeout", 1, func(t *testing.T, s *Counted) outcome { return timeout(t, s, s.overStream(t)) }},
	{"stream", "ErrBadReply", 1, func(t *testing.T, s *Counted) outcome { return badReply(t, s.overStream(t)) }},
	{"stream", "ErrReplyTooLarge", 1, func(t *testing.T, s *Counted) outcome { return tooLargeReply(t, s.overStream(t)) }},
}

// overStream serves over TCP, and returns the other end.
func (s *Counted) overStream(t *testing.T) jsonrpc2.ClientConn {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	here, err := net.Dial("tcp", l.Addr().String())
	require.NoError(t, err)
	there, err := l.Accept()
	require.NoError(t, err)
	s.serve(t, jsonrpc2.NewStreamConn(there), jsonrpc2.ServerOptions{})
	return jsonrpc2.NewStreamConn(here)
}

// What follows is alike over all transports.

func tooLargeRequest(t *testing.T, limited, alive jsonrpc2.ClientConn) outcome {
	client := dial(t, limited, jsonrpc2.ClientOptions{MaxMessageSize: smallLimit})
	return outcome{call(client, "Quick", Args{Name: "it", Fill: long}), dial(t, alive, jsonrpc2.ClientOptions{})}
}

func tooLargeReply(t *testing.T, conn jsonrpc2.ClientConn) outcome {
	client := dial(t, conn, jsonrpc2.ClientOptions{MaxMessageSize: smallLimit})
	return outcome{call(client, "Long", Args{Name: "it"}), client}
}

// timeout has a call time out that has begun.
func timeout(t *testing.T, s *Counted, conn jsonrpc2.ClientConn) outcome {
	client := dial(t, conn, jsonrpc2.ClientOptions{Timeout: 2 * time.Second})
	for start := time.Now(); ; { // one may time out before it begins
		require.Less(t, time.Since(start), servicetest.Soon)
		if err := call(client, "Wait", Args{Name: "it"}); s.runs("it") > 0 {
			s.end()
			return outcome{err: err}
		}
	}
}

// badReply has a call answered with a result that does not fit.
func badReply(t *testing.T, conn jsonrpc2.ClientConn) outcome {
	client := dial(t, conn, jsonrpc2.ClientOptions{})
	_, err := jsonrpc2.Call[int](t.Context(), client, "Counted.Quick", Args{Name: "it"})
	return outcome{err, client}
}
