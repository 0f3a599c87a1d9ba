package amqpconn

import (
	"os"
	"path/filepath"
	"testing"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/require"
)

// What the URL says of TLS and can't be used is named. Once it was ignored, and the handshake
// failed with another error or without the certificate.
func TestURLsBadCertificates(t *testing.T) {
	t.Parallel()
	noPEM := filepath.Join(t.TempDir(), "ca.pem")
	require.NoError(t, os.WriteFile(noPEM, []byte("no certificate"), 0o600))
	for query, want := range map[string]string{
		"cacertfile=" + noPEM:              "the URL's cacertfile: " + noPEM + " has no certificate in PEM",
		"cacertfile=/absent":               "the URL's cacertfile: open /absent",
		"certfile=/absent":                 "the URL's certfile and keyfile: one needs the other",
		"keyfile=/absent":                  "the URL's certfile and keyfile: one needs the other",
		"certfile=/absent&keyfile=/absent": "the URL's certfile and keyfile: open /absent",
	} {
		t.Run(query, func(t *testing.T) {
			t.Parallel()
			uri, err := amqp.ParseURI("amqps://localhost?" + query)
			require.NoError(t, err)
			_, err = tlsConfig(uri, nil)
			require.ErrorContains(t, err, want)
		})
	}
}
