package readmetest

import (
	"context"
	"net/rpc"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/internal/servicetest"
)

// Args are those of all methods.
type Args struct {
	Name string // of the call
	Fill string // makes it long
}

// A Counted is a service that knows which calls ran.
type Counted struct {
	release chan struct{} // ends every Wait

	mu  sync.Mutex // protects following
	ran map[string]int
}

func newCounted(t *testing.T) *Counted {
	s := &Counted{release: make(chan struct{}), ran: make(map[string]int)}
	t.Cleanup(s.end)
	return s
}

// end ends every Wait. It is idempotent.
func (s *Counted) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-s.release:
	default:
		close(s.release)
	}
}

func (s *Counted) count(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ran[name]++
}

func (s *Counted) runs(name string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ran[name]
}

// Quick returns at once.
func (s *Counted) Quick(args Args, reply *string) error {
	s.count(args.Name)
	*reply = args.Name
	return nil
}

// Long returns more than a small limit allows.
func (s *Counted) Long(args Args, reply *string) error {
	s.count(args.Name)
	*reply = strings.Repeat("x", 10_000)
	return nil
}

// Wait returns when the test is over.
func (s *Counted) Wait(args Args, reply *string) error {
	s.count(args.Name)
	<-s.release
	return nil
}

// serve serves conn until the end of the test.
func (s *Counted) serve(t *testing.T, conn jsonrpc2.ServerConn, opts jsonrpc2.ServerOptions) {
	server := rpc.NewServer()
	require.NoError(t, server.Register(s))
	opts.Logger = servicetest.Quiet
	ctx, drain := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = jsonrpc2.Serve(ctx, server, conn, &opts)
	}()
	t.Cleanup(func() {
		drain()
		s.end()
		<-done
	})
}

func dial(t *testing.T, conn jsonrpc2.ClientConn, opts jsonrpc2.ClientOptions) *rpc.Client {
	opts.Logger = servicetest.Quiet
	if opts.Timeout == 0 {
		opts.Timeout = servicetest.Soon
	}
	client := jsonrpc2.NewClient(conn, &opts)
	t.Cleanup(func() { _ = client.Close() })
	return client
}

func call(client *rpc.Client, method string, args Args) error {
	_, err := jsonrpc2.Call[string](context.Background(), client, "Counted."+method, args)
	return err
}
