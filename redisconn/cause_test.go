package redisconn_test

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/calc"
	"github.com/micromessaging/jsonrpc2/internal/brokertest"
	"github.com/micromessaging/jsonrpc2/internal/servicetest"
	"github.com/micromessaging/jsonrpc2/redisconn"
)

// The first error of a program that can't use Redis says why, on which queue and where, whether
// the call was not sent or timed out first. The log says the same. Formerly the error was
// "context deadline exceeded".
func TestCauses(t *testing.T) {
	t.Parallel()
	start, wait := together(t)
	defer wait()
	for _, test := range []struct {
		name, text string
		setup      func(t *testing.T, broker *brokertest.Redis, opts *redis.Options)
		slow       bool // what is wrong shows when the patience is over, hardly before the short deadline
	}{
		{"wrong password", "WRONGPASS", func(_ *testing.T, _ *brokertest.Redis, opts *redis.Options) {
			opts.Username, opts.Password = "app", "very secret"
		}, false},
		{"no password", "NOAUTH", func(t *testing.T, broker *brokertest.Redis, _ *redis.Options) {
			require.NoError(t, broker.Client(t).ConfigSet(t.Context(), "requirepass", "secret").Err())
		}, false},
		{"no right", "lpush", func(t *testing.T, broker *brokertest.Redis, opts *redis.Options) {
			setUser(t, broker.Client(t), "on", ">secret", "~*", "&*", "+@all", "-lpush")
			opts.Username, opts.Password = "app", "secret"
		}, false},
		{"refused", "connection refused", func(_ *testing.T, broker *brokertest.Redis, _ *redis.Options) { broker.Kill() }, false},
		{"TLS to a plain Redis", "TLS", func(_ *testing.T, _ *brokertest.Redis, opts *redis.Options) {
			opts.TLSConfig = &tls.Config{ServerName: "redis", MinVersion: tls.VersionTLS12}
		}, true},
		{"TLS refused", "tls: first record does not look like a TLS handshake", func(t *testing.T, _ *brokertest.Redis, opts *redis.Options) {
			opts.TLSConfig = &tls.Config{ServerName: "redis", MinVersion: tls.VersionTLS12}
			opts.Dialer = refuseTLS
		}, false},
		{"DNS", "no such host", func(_ *testing.T, _ *brokertest.Redis, opts *redis.Options) {
			opts.Dialer = func(context.Context, string, string) (net.Conn, error) {
				return nil, &net.OpError{Op: "dial", Net: "tcp", Err: &net.DNSError{Err: "no such host", Name: "redis.invalid", IsNotFound: true}}
			}
		}, false},
		{"pool used up", "no free connection: PoolSize is 1, each Conn needs 2", func(_ *testing.T, _ *brokertest.Redis, opts *redis.Options) {
			opts.PoolSize = 1
		}, false},
	} {
		for _, short := range []bool{false, true} { // a deadline that comes before the patience is over
			name := test.name
			if short {
				name += ", short deadline"
			}
			start(name, func(t *testing.T) {
				broker := brokertest.StartRedis(t)
				opts := &redis.Options{Addr: broker.Addr}
				test.setup(t, broker, opts)
				rdb := redis.NewClient(opts)
				t.Cleanup(func() { _ = rdb.Close() })
				var log servicetest.LogBook
				c := dial(t, rdb, &redisconn.DialOptions{Logger: log.Logger()}, 0)
				if test.name == "pool used up" {
					requireBlocked(t, broker.Client(t), 1)
				}
				if short && test.slow {
					servicetest.Eventually(t, func() bool { return strings.Contains(c.conn.Err().Error(), test.text) })
				}
				ctx, cancel := t.Context(), context.CancelFunc(func() {})
				if short {
					ctx, cancel = context.WithTimeout(ctx, 1100*time.Millisecond)
				}
				defer cancel()
				begin := time.Now()
				_, err := jsonrpc2.Call[float64](ctx, c.Client, "Calc.Add", calc.Args{A: 1, B: 5.1})
				took := time.Since(begin)
				require.True(t, errors.Is(err, jsonrpc2.ErrUnavailable) || short && errors.Is(err, jsonrpc2.ErrTimeout), "%v", err)
				require.ErrorContains(t, err, test.text)
				require.ErrorContains(t, err, `queue "calc"`)
				require.ErrorContains(t, err, broker.Addr)
				require.NotContains(t, err.Error(), "secret")
				require.Less(t, took, promptly)
				servicetest.Eventually(t, func() bool { return log.Count(test.text, "queue=calc", "addr="+broker.Addr) > 0 }, &log)
				require.Zero(t, log.Count("secret"), &log)
			})
		}
	}
}

// refuseTLS is TLS with somebody who does not speak it.
func refuseTLS(context.Context, string, string) (net.Conn, error) {
	client, server := net.Pipe()
	go func() {
		_, _ = server.Read(make([]byte, 1<<16))
		_, _ = server.Write([]byte("-ERR no TLS here\r\n"))
		_ = server.Close()
	}()
	conn := tls.Client(client, &tls.Config{ServerName: "redis", MinVersion: tls.VersionTLS12})
	if err := conn.Handshake(); err != nil {
		_ = client.Close()
		return nil, err
	}
	return conn, nil
}

// A call whose answer can't be fetched says so when its time is over.
func TestCauseOfTimeout(t *testing.T) {
	t.Parallel()
	broker := brokertest.StartRedis(t)
	rdb := restricted(t, broker, broker.Client(t), "-blmpop", "-blpop")
	c := dial(t, rdb, nil, time.Second)
	_, err := c.add(1, 5.1)
	require.ErrorIs(t, err, jsonrpc2.ErrTimeout)
	require.ErrorContains(t, err, `queue "calc"`)
	require.ErrorContains(t, err, broker.Addr)
	require.ErrorContains(t, err, "NOPERM")
	require.ErrorContains(t, err, "blpop")
}
