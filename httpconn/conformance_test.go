package httpconn_test

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/conntest"
	"github.com/micromessaging/jsonrpc2/httpconn"
	"github.com/micromessaging/jsonrpc2/internal/waytest"
)

func TestConformance(t *testing.T) {
	t.Parallel()
	for name, start := range map[string]func(*httptest.Server) *httpconn.DialOptions{
		"HTTP 1": func(s *httptest.Server) *httpconn.DialOptions {
			s.Start()
			return nil
		},
		"HTTP 2": func(s *httptest.Server) *httpconn.DialOptions {
			s.EnableHTTP2 = true
			s.StartTLS()
			client := s.Client()
			client.Transport.(*http.Transport).MaxConnsPerHost = 1 // or each first call would dial
			return &httpconn.DialOptions{Client: client}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			conntest.Run(t, func(t *testing.T) conntest.Transport {
				handler := listen(t, nil)
				web := httptest.NewUnstartedServer(handler)
				web.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, 0)
				opts := start(web)
				t.Cleanup(web.Close)
				return conntest.Transport{
					Dial:      func(t testing.TB) jsonrpc2.ClientConn { return connect(t, web.URL, opts) },
					Listen:    func(testing.TB) jsonrpc2.ServerConn { return handler },
					Deadlines: true,
				}
			})
		})
	}
}

// The way of a request that the package's doc shows is the one in its files.
func TestWayOfARequest(t *testing.T) { waytest.Require(t) }
