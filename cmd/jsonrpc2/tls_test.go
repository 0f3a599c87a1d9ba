package main

import (
	"net/url"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2/internal/brokertest"
)

// Each scheme has one with TLS, of which the flags say whom to trust.
func TestTLS(t *testing.T) {
	t.Parallel()
	secure := map[string]string{"redis": "rediss", "amqp": "amqps", "http": "https", "tcp": "tls"}
	eachSite(t, func(t *testing.T, s site) {
		u, err := url.Parse(s.url)
		require.NoError(t, err)
		if u.Scheme == "unix" {
			return
		}
		addr, ca, _ := brokertest.StartTLS(t, u.Host)
		u.Host, u.Scheme = addr, secure[u.Scheme]
		s.url = u.String()
		commands := [][]string{{"call", "add", "[1,5.1]"}}
		if s.name == "redis" || s.name == "rabbitmq" {
			commands = append(commands, []string{"queue"}, []string{"servers"})
		}
		for _, args := range commands {
			require.NotEmpty(t, must(t, append(s.at(args...), "--tls-ca", ca)...))
			require.NotEmpty(t, must(t, append(s.at(args...), "--tls-insecure")...))
			stranger := run(t, s.at(args...)...)
			require.Equal(t, exitNotRun, stranger.status, stranger.stderr)
			require.Contains(t, stranger.stderr, "certificate")
		}
	})
}
