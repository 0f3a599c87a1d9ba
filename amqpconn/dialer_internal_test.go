package amqpconn

import (
	"errors"
	"net"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/require"
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
