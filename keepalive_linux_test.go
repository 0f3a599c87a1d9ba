package jsonrpc2_test

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/internal/servicetest"
)

// A dead peer is found within 30 s, whatever the Dialer says.
func TestDialStreamKeepAlive(t *testing.T) {
	for name, wrap := range map[string]func(net.Conn) net.Conn{
		"tcp": func(conn net.Conn) net.Conn { return conn },
		"tls": func(conn net.Conn) net.Conn { return tls.Client(conn, &tls.Config{InsecureSkipVerify: true}) },
	} {
		t.Run(name, func(t *testing.T) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			require.NoError(t, err)
			defer l.Close()
			dialed := make(chan net.Conn, 1)
			conn := jsonrpc2.DialStream(func(ctx context.Context) (io.ReadWriteCloser, error) {
				conn, err := (&net.Dialer{KeepAlive: -1}).DialContext(ctx, "tcp", l.Addr().String())
				dialed <- conn
				return wrap(conn), err
			}, &jsonrpc2.DialStreamOptions{Logger: servicetest.Quiet})
			client := jsonrpc2.NewClient(conn, nil)
			defer client.Close()
			go client.Go("Test.Call", nil, nil, nil)
			socket := (<-dialed).(*net.TCPConn)
			defer socket.Close()
			servicetest.Eventually(t, func() bool { return conn.Stats().Connects == 1 })
			for _, option := range []struct {
				name                string
				level, option, want int
			}{
				{"SO_KEEPALIVE", syscall.SOL_SOCKET, syscall.SO_KEEPALIVE, 1},
				{"TCP_KEEPIDLE", syscall.IPPROTO_TCP, syscall.TCP_KEEPIDLE, 15},
				{"TCP_KEEPINTVL", syscall.IPPROTO_TCP, syscall.TCP_KEEPINTVL, 5},
				{"TCP_KEEPCNT", syscall.IPPROTO_TCP, syscall.TCP_KEEPCNT, 3},
				{"TCP_USER_TIMEOUT", syscall.IPPROTO_TCP, 18, int(30 * time.Second / time.Millisecond)},
			} {
				raw, err := socket.SyscallConn()
				require.NoError(t, err)
				var got int
				require.NoError(t, raw.Control(func(fd uintptr) {
					got, err = syscall.GetsockoptInt(int(fd), option.level, option.option)
				}))
				require.NoError(t, err)
				require.Equal(t, option.want, got, option.name)
			}
		})
	}
}
