package readmetest

import (
	"net/http"
	"net/http/httptest"
	"net/rpc"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/httpconn"
	"github.com/micromessaging/jsonrpc2/internal/servicetest"
)

var httpFailures = []failure{
	{"http", "ErrUnavailable", 0, func(t *testing.T, s *Counted) outcome { // refused by a wrapper
		_, url := s.overHTTP(t, jsonrpc2.ServerOptions{})
		err := call(wrapped(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			http.Error(w, "who are you?", http.StatusUnauthorized)
		})), "Quick", Args{Name: "it"})
		return outcome{err, dial(t, servicetest.Must(httpconn.Dial(url, nil)), jsonrpc2.ClientOptions{})}
	}},
	{"http", "ErrNoServer", 0, func(t *testing.T, s *Counted) outcome {
		_, url := s.overHTTP(t, jsonrpc2.ServerOptions{})
		err := call(dial(t, servicetest.Must(httpconn.Dial(url+"elsewhere", nil)), jsonrpc2.ClientOptions{}), "Quick", Args{Name: "it"})
		return outcome{err, dial(t, servicetest.Must(httpconn.Dial(url, nil)), jsonrpc2.ClientOptions{})}
	}},
	{"http", "ErrOverloaded", 0, func(t *testing.T, s *Counted) outcome {
		handler := servicetest.Must(httpconn.Listen(&httpconn.ListenOptions{MaxWait: time.Millisecond}))
		client := wrapped(t, handler)
		err := call(client, "Quick", Args{Name: "it"}) // nobody serves it yet
		s.serve(t, handler, jsonrpc2.ServerOptions{})
		return outcome{err: err}
	}},
	{"http", "ErrTooLarge", 0, func(t *testing.T, s *Counted) outcome { // by the server's limit
		_, url := s.overHTTP(t, jsonrpc2.ServerOptions{MaxMessageSize: smallLimit})
		client := dial(t, servicetest.Must(httpconn.Dial(url, nil)), jsonrpc2.ClientOptions{})
		return outcome{call(client, "Quick", Args{Name: "it", Fill: long}), client}
	}},
	{"http", "ErrTimeout", 1, func(t *testing.T, s *Counted) outcome {
		_, url := s.overHTTP(t, jsonrpc2.ServerOptions{})
		return timeout(t, s, servicetest.Must(httpconn.Dial(url, nil)))
	}},
	{"http", "ErrReplyLost", 1, func(t *testing.T, s *Counted) outcome { // 503, while the method runs
		handler, _ := s.overHTTP(t, jsonrpc2.ServerOptions{})
		client := wrapped(t, http.TimeoutHandler(handler, 2*time.Second, "too late"))
		err := call(client, "Wait", Args{Name: "it"})
		for start := time.Now(); s.runs("it") == 0; { // one may be too late before it begins
			require.Less(t, time.Since(start), servicetest.Soon)
			err = call(client, "Wait", Args{Name: "it"})
		}
		s.end()
		return outcome{err, client}
	}},
	{"http", "ErrBadReply", 1, func(t *testing.T, s *Counted) outcome { // 500, though the method has run
		handler, _ := s.overHTTP(t, jsonrpc2.ServerOptions{})
		err := call(wrapped(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			handler.ServeHTTP(httptest.NewRecorder(), r)
			http.Error(w, "the logger broke", http.StatusInternalServerError)
		})), "Quick", Args{Name: "it"})
		return outcome{err: err}
	}},
	{"http", "ErrReplyTooLarge", 1, func(t *testing.T, s *Counted) outcome {
		_, url := s.overHTTP(t, jsonrpc2.ServerOptions{})
		return tooLargeReply(t, servicetest.Must(httpconn.Dial(url, nil)))
	}},
}

// overHTTP serves over HTTP, and returns the handler and its URL.
func (s *Counted) overHTTP(t *testing.T, opts jsonrpc2.ServerOptions) (http.Handler, string) {
	handler := servicetest.Must(httpconn.Listen(nil))
	s.serve(t, handler, opts)
	mux := http.NewServeMux()
	mux.Handle("/rpc", handler)
	web := httptest.NewServer(mux)
	t.Cleanup(web.Close)
	return handler, web.URL + "/rpc"
}

// wrapped returns a client of a web server with this handler.
func wrapped(t *testing.T, handler http.Handler) *rpc.Client {
	web := httptest.NewServer(handler)
	t.Cleanup(web.Close)
	return dial(t, servicetest.Must(httpconn.Dial(web.URL, nil)), jsonrpc2.ClientOptions{})
}
