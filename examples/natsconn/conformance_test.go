package natsconn_test

import (
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/conntest"
	"github.com/micromessaging/jsonrpc2/examples/natsconn"
)

func TestConformance(t *testing.T) {
	t.Parallel()
	for name, opts := range map[string][]nats.Option{
		"defaults":          nil,
		"old request style": {nats.UseOldRequestStyle()},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			broker := startBroker(t, server.Options{MaxPayload: 8 << 20})
			conntest.Run(t, func(t *testing.T) conntest.Transport {
				subject := newSubject()
				return conntest.Transport{
					Dial: func(t testing.TB) jsonrpc2.ClientConn {
						conn, err := natsconn.Dial(connect(t, broker, opts...), subject)
						require.NoError(t, err)
						return conn
					},
					Listen: func(t testing.TB) jsonrpc2.ServerConn {
						nc := connect(t, broker, opts...)
						conn, err := natsconn.Listen(nc, subject)
						require.NoError(t, err)
						require.NoError(t, nc.Flush())
						return conn
					},
					Deadlines: true,
				}
			})
		})
	}
}
