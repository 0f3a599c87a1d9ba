package foreigntest

import (
	"context"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/internal/brokertest"
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
	u.Host, ca, _ = brokertest.StartTLS(t, u.Host)
	u.Scheme += "s"
	stranger = append([]string{"BROKER_URL=" + u.String()}, env[1:]...)
	return stranger, append(stranger[:len(stranger):len(stranger)], "SSL_CERT_FILE="+ca, "NODE_EXTRA_CA_CERTS="+ca)
}
