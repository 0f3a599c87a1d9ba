package brokertest_test

import (
	"bufio"
	"context"
	"io"
	"net"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2/internal/brokertest"
)

// startEcho starts a server that sends each line back.
func startEcho(t *testing.T) (addr string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = ln.Close() })
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				_, _ = io.Copy(conn, conn)
			}()
		}
	}()
	return ln.Addr().String()
}

// dial returns a connection that is closed before the proxy's cleanup.
func dial(t *testing.T, addr string) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	require.NoError(t, conn.SetDeadline(time.Now().Add(time.Minute)))
	return conn
}

func send(t *testing.T, conn net.Conn, line string) {
	t.Helper()
	_, err := io.WriteString(conn, line+"\n")
	require.NoError(t, err)
}

func requireEcho(t *testing.T, conn net.Conn, line string) {
	t.Helper()
	send(t, conn, line)
	got, err := bufio.NewReader(conn).ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, line+"\n", got)
}

func requireReset(t *testing.T, conn net.Conn) {
	t.Helper()
	_, err := conn.Read(make([]byte, 1))
	require.ErrorIs(t, err, syscall.ECONNRESET)
}

// requireRefused requires that a new connection is reset: the dial fails, or the first read if
// the dial was faster than the reset.
func requireRefused(t *testing.T, addr string) {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err == nil {
		defer conn.Close()
		_, err = conn.Read(make([]byte, 1))
	}
	require.ErrorIs(t, err, syscall.ECONNRESET)
}

// requireSilence sends a line, and requires that nothing comes back.
func requireSilence(t *testing.T, conn net.Conn) {
	t.Helper()
	send(t, conn, "anybody there?")
	require.NoError(t, conn.SetReadDeadline(time.Now().Add(100*time.Millisecond)))
	_, err := conn.Read(make([]byte, 1))
	var timeout net.Error
	require.ErrorAs(t, err, &timeout)
	require.True(t, timeout.Timeout())
	require.NoError(t, conn.SetReadDeadline(time.Now().Add(time.Minute)))
}

func requireConnections(t *testing.T, p *brokertest.Proxy, n int) {
	t.Helper()
	require.Eventually(t, func() bool { return p.Connections() == n }, time.Minute, time.Millisecond)
}

func TestProxyPassesOn(t *testing.T) {
	t.Parallel()
	p := brokertest.StartProxy(t, startEcho(t))
	first, second := dial(t, p.Addr), dial(t, p.Addr)
	requireEcho(t, first, "hello")
	requireEcho(t, second, strings.Repeat("long", 100_000))
	require.Equal(t, 2, p.Connections())

	require.NoError(t, first.(*net.TCPConn).CloseWrite())
	_, err := first.Read(make([]byte, 1))
	require.ErrorIs(t, err, io.EOF)
	requireConnections(t, p, 1)
}

func TestProxyCut(t *testing.T) {
	t.Parallel()
	p := brokertest.StartProxy(t, startEcho(t))
	conn := dial(t, p.Addr)
	requireEcho(t, conn, "before")
	p.Cut()
	require.Zero(t, p.Connections())
	requireReset(t, conn)
	requireEcho(t, dial(t, p.Addr), "after")
}

func TestProxyBlackHole(t *testing.T) {
	t.Parallel()
	p := brokertest.StartProxy(t, startEcho(t))
	old := dial(t, p.Addr)
	requireEcho(t, old, "before")
	p.BlackHole(true)
	requireSilence(t, old)
	young := dial(t, p.Addr)
	requireSilence(t, young)
	requireConnections(t, p, 2)

	p.BlackHole(false)
	requireReset(t, old)
	requireReset(t, young)
	requireEcho(t, dial(t, p.Addr), "after")
}

func TestProxyRefuse(t *testing.T) {
	t.Parallel()
	p := brokertest.StartProxy(t, startEcho(t))
	old := dial(t, p.Addr)
	requireEcho(t, old, "before")
	p.Refuse(true)
	requireReset(t, old)
	requireRefused(t, p.Addr)
	p.Refuse(false)
	requireEcho(t, dial(t, p.Addr), "after")
}

func TestProxyWithoutServer(t *testing.T) {
	t.Parallel()
	p := brokertest.StartProxy(t, "127.0.0.1:"+brokertest.FreePort(t))
	requireRefused(t, p.Addr)
	requireConnections(t, p, 0)
}

func TestProxyDropReply(t *testing.T) {
	t.Parallel()
	p := brokertest.StartProxy(t, startEcho(t))
	p.DropReply([]byte("secret"))
	other, conn := dial(t, p.Addr), dial(t, p.Addr)
	requireEcho(t, other, "public")
	requireEcho(t, conn, "a sec")
	send(t, conn, "a secret")
	requireReset(t, conn)
	requireEcho(t, other, "still there")
	requireEcho(t, dial(t, p.Addr), "another secret") // only one is dropped
}

// A request whose reply is dropped runs all the same.
func TestProxyDropReplyOfRedis(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	r := brokertest.StartRedis(t)
	p := brokertest.StartProxy(t, r.Addr)
	client := redis.NewClient(&redis.Options{Addr: p.Addr, MaxRetries: -1})
	defer client.Close()
	for n := range 50 {
		p.DropReply([]byte("lpush"))
		require.Error(t, client.LPush(ctx, "list", "item").Err())
		require.EqualValues(t, n+1, client.LLen(ctx, "list").Val())
	}
}

// A match that comes in several pieces is found.
func TestProxyDropReplyAcrossWrites(t *testing.T) {
	t.Parallel()
	p := brokertest.StartProxy(t, startEcho(t))
	p.DropReply([]byte("secret"))
	conn := dial(t, p.Addr)
	_, err := io.WriteString(conn, "sec")
	require.NoError(t, err)
	_, err = io.ReadFull(conn, make([]byte, 3))
	require.NoError(t, err)
	send(t, conn, "ret")
	requireReset(t, conn)
}

// Requests that are held up arrive late, also those of a client that has gone.
func TestProxyHold(t *testing.T) {
	t.Parallel()
	r := brokertest.StartRedis(t)
	direct := r.Client(t)
	p := brokertest.StartProxy(t, r.Addr)
	push := func(conn net.Conn, value string) {
		_, err := io.WriteString(conn, "RPUSH list "+value+"\r\n")
		require.NoError(t, err)
	}
	requireList := func(want ...string) {
		t.Helper()
		require.Eventually(t, func() bool {
			return slices.Equal(want, direct.LRange(t.Context(), "list", 0, -1).Val())
		}, time.Minute, time.Millisecond)
	}
	present := dial(t, p.Addr)
	push(present, "before")
	requireList("before")

	release := p.Hold(false)
	push(present, "held")
	require.NoError(t, present.Close())
	push(dial(t, p.Addr), "new")
	requireList("before", "new")
	release()
	requireList("before", "new", "held")

	release = p.Hold(true)
	push(dial(t, p.Addr), "later")
	require.NoError(t, direct.RPush(t.Context(), "list", "direct").Err())
	require.Never(t, func() bool {
		return direct.LLen(t.Context(), "list").Val() != 4
	}, 50*time.Millisecond, 10*time.Millisecond)
	release()
	requireList("before", "new", "held", "direct", "later")
	push(dial(t, p.Addr), "after")
	requireList("before", "new", "held", "direct", "later", "after")

	p.Hold(true) // may last until the end
	push(dial(t, p.Addr), "never")
}
