package foreigntest

import (
	"context"
	"crypto/tls"
	"encoding/pem"
	"io"
	"net"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/internal/servicetest"
)

// TestTLS runs the examples over TLS. They trust the CA that the README says how to name, and no
// other: Bunny trusts any unless it is told not to.
func TestTLS(t *testing.T) {
	t.Parallel()
	w := newWorkspace(t)
	for transport, open := range sites {
		t.Run(transport, func(t *testing.T) {
			t.Parallel()
			s := open(t)
			stranger, trusting := secureEnv(t, s.env())
			goServer := servicetest.Serve(t, s.listen(t), jsonrpc2.ServerOptions{})
			whenServed(t, s)
			for _, p := range programs(t) {
				if p.transport == transport && p.role == "client" {
					got := w.run(t.Context(), p.command, trusting)
					require.True(t, got.succeeded, "%s: %s", p.command, got.stderr)
					require.Equal(t, "6.1\n", got.stdout)
					requireFails(t, w.run(t.Context(), p.command, stranger), "certificate")
				}
			}
			goServer.End(t)
			for _, p := range programs(t) {
				if p.transport == transport && p.role == "server" && transport != "http" {
					requireFails(t, w.run(t.Context(), p.command, stranger), "certificate")
					requireServesOverTLS(t, w, p, s, trusting)
				}
			}
			s.empty(t)
		})
	}
}

func requireServesOverTLS(t *testing.T, w workspace, p program, s site, env []string) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	server := w.launch(ctx, p.command, env)
	defer func() {
		cancel()
		require.True(t, server.succeeded(), server.stderr.String())
	}()
	servicetest.Eventually(t, func() bool { // Bunny first warns that there is no certificate of the client's
		return strings.HasSuffix(server.stderr.String(), "ready\n")
	})
	client := newClient(t, s.dial(false))
	servicetest.RequireAdds(t, client)
	require.NoError(t, client.Close())
}

// secureEnv puts TLS before the broker or server of an environment. It returns the environment
// with the new URL, without and with the names of the CA.
func secureEnv(t *testing.T, env []string) (stranger, trusting []string) {
	t.Helper()
	u, err := url.Parse(strings.TrimPrefix(env[0], "BROKER_URL="))
	require.NoError(t, err)
	var ca string
	u.Host, ca = startTLS(t, u.Host)
	u.Scheme += "s"
	stranger = append([]string{"BROKER_URL=" + u.String()}, env[1:]...)
	return stranger, append(stranger[:len(stranger):len(stranger)], "SSL_CERT_FILE="+ca, "NODE_EXTRA_CA_CERTS="+ca)
}

// startTLS speaks TLS before a server at target. It returns its address, and the file of its
// certificate, which is good for 127.0.0.1. The test's cleanup ends it.
func startTLS(t *testing.T, target string) (addr, ca string) {
	t.Helper()
	web := httptest.NewUnstartedServer(nil)
	web.StartTLS()
	config, certificate := web.TLS.Clone(), web.Certificate()
	web.Close()
	config.NextProtos = nil
	ca = filepath.Join(t.TempDir(), "ca.pem")
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate.Raw})
	require.NoError(t, os.WriteFile(ca, text, 0o600))

	listener, err := tls.Listen("tcp", "127.0.0.1:0", config)
	require.NoError(t, err)
	var running sync.WaitGroup
	running.Go(func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			running.Go(func() { join(client, target) })
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
		running.Wait()
	})
	return listener.Addr().String(), ca
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
