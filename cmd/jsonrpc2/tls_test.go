package main

import (
	"crypto/tls"
	"encoding/pem"
	"io"
	"net"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// startTLS speaks TLS before a server at target, and returns its address, and the file of the
// certificate, which is good for 127.0.0.1. The test's cleanup ends it.
func startTLS(t *testing.T, target string) (addr, ca string) {
	t.Helper()
	web := httptest.NewUnstartedServer(nil)
	web.StartTLS()
	config := web.TLS.Clone()
	certificate := web.Certificate()
	web.Close()
	config.NextProtos = nil
	ca = filepath.Join(t.TempDir(), "ca.pem")
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate.Raw})
	require.NoError(t, os.WriteFile(ca, text, 0o600))

	l, err := tls.Listen("tcp", "127.0.0.1:0", config)
	require.NoError(t, err)
	var running sync.WaitGroup
	running.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			running.Go(func() { join(client, target) })
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		running.Wait()
	})
	return l.Addr().String(), ca
}

// join passes on what comes from a client and from a server, until one of them is gone.
func join(client net.Conn, target string) {
	defer client.Close()
	server, err := net.Dial("tcp", target)
	if err != nil {
		return
	}
	defer server.Close()
	var answers sync.WaitGroup
	answers.Go(func() { _, _ = io.Copy(client, server); _ = client.Close() })
	_, _ = io.Copy(server, client)
	_ = server.Close()
	answers.Wait()
}

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
		addr, ca := startTLS(t, u.Host)
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
