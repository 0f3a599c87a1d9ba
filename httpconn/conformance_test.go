package httpconn_test

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/httpconn"
	"github.com/micromessaging/jsonrpc2/internal/conntest"
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
				handler := httpconn.NewHandler(nil)
				web := httptest.NewUnstartedServer(handler)
				web.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, 0)
				opts := start(web)
				t.Cleanup(web.Close)
				return conntest.Transport{
					Deadline: true,
					Dial:     func(testing.TB) jsonrpc2.Conn { return httpconn.Dial(web.URL, opts) },
					Listen:   func(testing.TB) jsonrpc2.Conn { return handler },
				}
			})
		})
	}
}
