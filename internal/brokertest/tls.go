package brokertest

import (
	"crypto/tls"
	"encoding/pem"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// StartTLS speaks TLS before a broker or server at target, a host:port. It returns the address to
// dial instead, and the certificate, which is good for 127.0.0.1: as a file, and as a
// configuration of clients that trust it. The test's cleanup ends it.
func StartTLS(t testing.TB, target string) (addr, ca string, trusting *tls.Config) {
	t.Helper()
	certified := httptest.NewTLSServer(http.NotFoundHandler()) // has a certificate
	defer certified.Close()
	ca = filepath.Join(t.TempDir(), "ca.pem")
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certified.Certificate().Raw})
	require.NoError(t, os.WriteFile(ca, text, 0o600))

	ln, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: certified.TLS.Certificates})
	require.NoError(t, err)
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			client, err := ln.Accept()
			if err != nil {
				return
			}
			serving.Go(func() { join(client, target) })
		}
	})
	t.Cleanup(func() {
		_ = ln.Close()
		serving.Wait()
	})
	return ln.Addr().String(), ca, certified.Client().Transport.(*http.Transport).TLSClientConfig
}

// join passes on what comes, both ways, until one side ends.
func join(client net.Conn, target string) {
	defer client.Close()
	server, err := net.Dial("tcp", target)
	if err != nil {
		return
	}
	defer server.Close()
	var answers sync.WaitGroup
	answers.Go(func() {
		_, _ = io.Copy(client, server)
		_ = client.Close()
	})
	_, _ = io.Copy(server, client)
	_ = server.Close()
	answers.Wait()
}
