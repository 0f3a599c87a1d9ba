package httpconn_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/httpconn"
	"github.com/micromessaging/jsonrpc2/internal/servicetest"
)

// net/http takes a POST with these headers for one that may be sent again.
func TestIdempotencyKeyRepeatsNothing(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"Idempotency-Key", "X-Idempotency-Key"} {
		var arrived atomic.Int64
		addr := rawServer(t, func(conn net.Conn) {
			for r := bufio.NewReader(conn); ; {
				request, err := http.ReadRequest(r)
				if err != nil {
					return
				}
				body, _ := io.ReadAll(request.Body)
				if arrived.Add(1) > 1 { // it may have run
					return
				}
				_, id, _ := strings.Cut(string(body), `"id":`)
				id, _, _ = strings.Cut(id, ",")
				_ = (&http.Response{StatusCode: 200, ProtoMajor: 1, ProtoMinor: 1, ContentLength: -1, TransferEncoding: []string{"chunked"},
					Body: io.NopCloser(strings.NewReader(`{"jsonrpc":"2.0","id":` + id + `,"result":6.1}`))}).Write(conn)
			}
		})
		client := dial(t, connect(t, "http://"+addr, &httpconn.DialOptions{Header: func(_ context.Context, header http.Header) {
			header.Set(name, "7")
		}}))
		servicetest.RequireAdds(t, client) // the next call finds the connection open
		_, err := jsonrpc2.Call[float64](t.Context(), client, "Calc.Add", nil)
		requireFailure(t, err, jsonrpc2.ErrReplyLost)
		require.EqualValues(t, 2, arrived.Load(), name)
	}
}

// An HTTP/2 server may reset a stream with a protocol error at any time, also when it has run
// the request. net/http would then send the request again, and again.
func TestResetStreamRepeatsNothing(t *testing.T) {
	t.Parallel()
	const (
		dataFrame, headersFrame, resetFrame, settingsFrame = 0, 1, 3, 4

		protocolError = 1
	)
	certificates := httptest.NewTLSServer(nil)
	certificates.Close()
	config := &tls.Config{Certificates: certificates.TLS.Certificates, NextProtos: []string{"h2"}}
	var arrived atomic.Int64
	addr := rawServer(t, func(raw net.Conn) {
		conn := tls.Server(raw, config)
		preface := make([]byte, len("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"))
		if _, err := io.ReadFull(conn, preface); err != nil {
			return
		}
		_, _ = conn.Write([]byte{0, 0, 0, settingsFrame, 0, 0, 0, 0, 0})
		for header := make([]byte, 9); ; {
			if _, err := io.ReadFull(conn, header); err != nil {
				return
			}
			length := int64(header[0])<<16 | int64(header[1])<<8 | int64(header[2])
			if _, err := io.CopyN(io.Discard, conn, length); err != nil {
				return
			}
			last := header[4]&1 == 1
			switch kind, stream := header[3], header[5:]; {
			case kind == settingsFrame && !last:
				_, _ = conn.Write([]byte{0, 0, 0, settingsFrame, 1, 0, 0, 0, 0})
			case (kind == dataFrame || kind == headersFrame) && last:
				arrived.Add(1)
				_, _ = conn.Write(append(append([]byte{0, 0, 4, resetFrame, 0}, stream...), 0, 0, 0, protocolError))
			}
		}
	})
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.TLSClientConfig = &tls.Config{RootCAs: certificates.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs, ServerName: "example.com"}
	defer transport.CloseIdleConnections()
	client := dial(t, connect(t, "https://"+addr, &httpconn.DialOptions{Client: &http.Client{Transport: transport}}))
	for n := range 3 {
		_, err := jsonrpc2.Call[float64](t.Context(), client, "Calc.Add", nil)
		requireFailure(t, err, jsonrpc2.ErrReplyLost)
		require.EqualValues(t, n+1, arrived.Load())
	}
}
