package amqpconn

import (
	"context"
	"errors"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2/internal/servicetest"
)

// timeless is a connection that lacks deadlines, as one through an SSH tunnel does: those of
// both directions at once, or those of reads.
type timeless struct {
	net.Conn
	both, reads error
	closed      bool
}

func (c *timeless) SetDeadline(time.Time) error     { return c.both }
func (c *timeless) SetReadDeadline(time.Time) error { return c.reads }

func (c *timeless) Close() error {
	c.closed = true
	return c.Conn.Close()
}

// A network connection that can't be used is closed, whatever fails.
func TestDialClosesUnusable(t *testing.T) {
	t.Parallel()
	errLacking := errors.New("deadline not supported")
	for name, test := range map[string]struct {
		url  string
		conn timeless
		want string
	}{
		"no deadlines":      {"amqp://broker/", timeless{both: errLacking}, errLacking.Error()},
		"no read deadlines": {"amqp://broker/", timeless{reads: errLacking}, errLacking.Error()},
		"bad TLS":           {"amqps://broker/?cacertfile=missing.pem", timeless{}, "cacertfile"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			conn := &test.conn
			d, err := newDialer(test.url, nil, amqp.Config{Dial: func(string, string) (net.Conn, error) {
				conn.Conn, _ = net.Pipe()
				return conn, nil
			}}, "calc", "client")
			require.NoError(t, err)
			_, _, err = d.dial(t.Context(), 0, func(*wire) {})
			require.ErrorContains(t, err, test.want)
			require.True(t, conn.closed)
		})
	}
}

// A Config.Dial that hangs holds up no Close, and nobody whose ctx is done. The connections
// that it makes later are closed.
func TestHangingDialIsLeft(t *testing.T) {
	t.Parallel()
	for name, begin := range map[string]func(*testing.T, amqp.Config) (end func()){
		"client": func(t *testing.T, config amqp.Config) func() {
			conn, err := Dial("amqp://broker/", "calc", &DialOptions{Config: config, Logger: servicetest.Quiet})
			require.NoError(t, err)
			return func() { require.NoError(t, conn.Close()) }
		},
		"server": func(t *testing.T, config amqp.Config) func() {
			conn, err := Listen("amqp://broker/", "calc", &ListenOptions{Config: config, Logger: servicetest.Quiet})
			require.NoError(t, err)
			read := make(chan error, 1)
			go func() {
				_, err := conn.ReadRequest(t.Context())
				read <- err
			}()
			return func() {
				require.NoError(t, conn.Close())
				require.ErrorIs(t, <-read, io.EOF)
			}
		},
		"dead list": func(t *testing.T, config amqp.Config) func() {
			list, err := NewDeadList("amqp://broker/", "calc", &DeadListOptions{Config: config, URLs: []string{"amqp://other/"}})
			require.NoError(t, err)
			ctx, cancel := context.WithCancel(t.Context())
			length := make(chan error, 1)
			go func() {
				_, err := list.Len(ctx)
				length <- err
			}()
			return func() {
				cancel()
				require.ErrorIs(t, <-length, context.Canceled)
			}
		},
	} {
		t.Run(name, servicetest.Bubble(func(t *testing.T) {
			released, brokers := make(chan struct{}), make(chan net.Conn, 2)
			end := begin(t, amqp.Config{Dial: func(string, string) (net.Conn, error) {
				conn, broker := net.Pipe()
				brokers <- broker
				<-released
				return conn, nil
			}})
			synctest.Wait()
			require.NotEmpty(t, brokers)
			started := time.Now()
			end()
			require.Less(t, time.Since(started), 2*time.Second)
			close(released)
			synctest.Wait()
			close(brokers) // each Dial has returned
			for broker := range brokers {
				_, err := broker.Read(make([]byte, 1))
				require.ErrorIs(t, err, io.EOF)
			}
		}))
	}
}
