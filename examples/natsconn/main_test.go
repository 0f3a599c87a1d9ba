package natsconn_test

import (
	"context"
	"crypto/rand"
	"log/slog"
	"net/rpc"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/examples/natsconn"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	patience = 30 * time.Second     // how long a test waits for what must happen
	tick     = 5 * time.Millisecond // between two checks of a condition
)

var quiet = slog.New(slog.DiscardHandler)

// startBroker starts a broker of the test's own.
func startBroker(tb testing.TB, opts server.Options) *server.Server {
	tb.Helper()
	opts.Host, opts.NoLog, opts.NoSigs = "127.0.0.1", true, true
	if opts.Port == 0 {
		opts.Port = server.RANDOM_PORT
	}
	broker, err := server.NewServer(&opts)
	require.NoError(tb, err)
	broker.Start()
	require.True(tb, broker.ReadyForConnections(patience))
	tb.Cleanup(func() { kill(broker) })
	return broker
}

func kill(broker *server.Server) {
	broker.Shutdown()
	broker.WaitForShutdown()
}

// connect returns a connection that reconnects soon, and for ever.
func connect(tb testing.TB, broker *server.Server, opts ...nats.Option) *nats.Conn {
	tb.Helper()
	opts = append([]nats.Option{
		nats.ReconnectWait(10 * time.Millisecond), nats.ReconnectJitter(0, 0), nats.MaxReconnects(-1),
		nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}),
	}, opts...)
	nc, err := nats.Connect(broker.ClientURL(), opts...)
	require.NoError(tb, err)
	tb.Cleanup(nc.Close)
	return nc
}

// newSubject returns a subject that nothing else uses.
func newSubject() string { return "test." + rand.Text() }

// A service is what the tests call.
type service struct {
	started  chan string
	released chan struct{} // ends every Wait
	release  func()        // closes released
}

func newService() *service {
	released := make(chan struct{})
	return &service{make(chan string, 10_000), released, sync.OnceFunc(func() { close(released) })}
}

func (s *service) Echo(text string, reply *string) error {
	*reply = text
	return nil
}

func (s *service) Wait(text string, reply *string) error {
	s.started <- text
	<-s.released
	*reply = text
	return nil
}

func (s *service) Long(n int, reply *[]byte) error {
	*reply = make([]byte, n)
	return nil
}

// serve serves a subject until the end of the test, or until drain is called. served receives
// the error that Serve returns.
func serve(t *testing.T, nc *nats.Conn, subject string, s *service, opts jsonrpc2.ServerOptions) (drain func(), served <-chan error) {
	t.Helper()
	conn, err := natsconn.Listen(nc, subject)
	require.NoError(t, err)
	require.NoError(t, nc.Flush())
	server := rpc.NewServer()
	require.NoError(t, server.RegisterName("Test", s))
	opts.Logger = quiet
	ctx, cancel := context.WithCancel(context.Background())
	result, ended := make(chan error, 1), make(chan struct{})
	go func() {
		defer close(ended)
		result <- jsonrpc2.Serve(ctx, server, conn, &opts)
	}()
	t.Cleanup(func() {
		s.release()
		cancel()
		<-ended
	})
	return cancel, result
}

// dial returns a client, and its Conn.
func dial(t *testing.T, nc *nats.Conn, subject string, opts jsonrpc2.ClientOptions) (*rpc.Client, *natsconn.ClientConn) {
	t.Helper()
	conn, err := natsconn.Dial(nc, subject)
	require.NoError(t, err)
	opts.Logger = quiet
	client := jsonrpc2.NewClient(conn, &opts)
	t.Cleanup(func() {
		if err := client.Close(); err != rpc.ErrShutdown {
			assert.NoError(t, err)
		}
	})
	return client, conn
}

// echo calls Echo once.
func echo(client *rpc.Client) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	_, err := jsonrpc2.Call[string](ctx, client, "Test.Echo", "text")
	return err
}

// notify sends a notification, and returns how it ended: nil says that it was sent.
func notify(t *testing.T, conn *natsconn.ClientConn, body string) error {
	t.Helper()
	ended := make(chan error, 2)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	require.NoError(t, conn.WriteRequest(jsonrpc2.NewRequest(ctx, []byte(body), jsonrpc2.Hooks{
		Sent: func() { ended <- nil },
		Fail: func(err error) { ended <- err },
	})))
	return receive(t, ended)
}

const note = `{"jsonrpc":"2.0","method":"Test.Echo","params":["note"]}`

// receive returns the next value of a channel. It fails the test if none comes.
func receive[T any](t *testing.T, from <-chan T) T {
	t.Helper()
	select {
	case v := <-from:
		return v
	case <-time.After(patience):
		require.FailNow(t, "nothing received")
		panic("unreachable")
	}
}
