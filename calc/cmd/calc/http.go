package main

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/httpconn"
)

const (
	headerTimeout   = 10 * time.Second // for a request's header to arrive
	shutdownTimeout = 10 * time.Second // for the last answers to be sent
)

// newHTTP returns a web server as a broker: the path of its URL stands for the queue.
func (f flags) newHTTP(u *url.URL) (*broker, error) {
	if u.Hostname() == "" && u.Port() == "" {
		return nil, f.badURL(u)
	}
	web := &webServer{url: u}
	b := &broker{
		where: u.Scheme + "://" + u.Host + u.Path, // a query may hold a secret
		dial:  func() (jsonrpc2.ClientConn, error) { return httpconn.Dial(f.broker, nil) },
		ping:  func(context.Context) error { return nil },
		close: web.close,
	}
	b.listen = func(context.Context, io.Writer) (serving, error) {
		conn, served, err := web.listen()
		b.served = served
		return over(conn, err)
	}
	return b, nil
}

// A webServer serves one URL.
type webServer struct {
	url    *url.URL
	server *http.Server // nil until it listens
}

// listen returns the Conn to serve, and its URL, which has a port even if that of -broker
// says 0 or none.
func (w *webServer) listen() (conn jsonrpc2.ServerConn, url string, err error) {
	if w.url.Scheme != "http" {
		return nil, "", misused("https:// is for calls: serve http://, behind a server that has a certificate")
	}
	port := w.url.Port()
	if port == "" {
		port = "80"
	}
	handler, err := httpconn.Listen(nil)
	if err != nil {
		return nil, "", err
	}
	l, err := net.Listen("tcp", net.JoinHostPort(w.url.Hostname(), port))
	if err != nil {
		return nil, "", err
	}
	w.server = &http.Server{Handler: w.only(handler), ReadHeaderTimeout: headerTimeout}
	go func() {
		if w.server.Serve(l) != http.ErrServerClosed {
			_ = handler.Close() // ends the serving
		}
	}()
	_, port, err = net.SplitHostPort(l.Addr().String())
	return handler, "http://" + net.JoinHostPort(w.url.Hostname(), port) + w.url.Path, err
}

// only returns a handler for the URL's path alone.
func (w *webServer) only(handler http.Handler) http.Handler {
	path := max(w.url.Path, "/")
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if r.URL.Path != path {
			http.NotFound(rw, r)
			return
		}
		handler.ServeHTTP(rw, r)
	})
}

// close waits until the last answers are sent.
func (w *webServer) close() error {
	if w.server == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), shutdownTimeout)
	defer cancel()
	return errors.Join(w.server.Shutdown(ctx), w.server.Close())
}
