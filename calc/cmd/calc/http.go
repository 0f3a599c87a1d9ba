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

// newHTTP returns a web server as a broker. The path of the URL stands for the queue.
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
	b.listen = func(context.Context, io.Writer) (*serving, error) {
		conn, served, err := web.listen()
		b.served = served
		return over(conn, err)
	}
	return b, nil
}

// A webServer serves calls at one URL, and answers 404 at others.
type webServer struct {
	url    *url.URL
	server *http.Server // nil until it listens
}

// listen returns the Conn to serve, and the URL to call. That URL has the port which was
// chosen if the URL of -broker has port 0. A goroutine serves HTTP until close.
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
			_ = handler.Close() // ends jsonrpc2.Serve, and with it the command
		}
	}()
	_, port, err = net.SplitHostPort(l.Addr().String())
	return handler, "http://" + net.JoinHostPort(w.url.Hostname(), port) + w.url.Path, err
}

// only returns a handler that passes on what is sent to the URL's path, and answers 404 to
// the rest.
func (w *webServer) only(handler http.Handler) http.Handler {
	path := max(w.url.Path, "/") // an empty path is sent as /
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if r.URL.Path != path {
			http.NotFound(rw, r)
			return
		}
		handler.ServeHTTP(rw, r)
	})
}

// close stops the web server. It waits up to shutdownTimeout for the last answers to be sent.
func (w *webServer) close() error {
	if w.server == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), shutdownTimeout)
	defer cancel()
	return errors.Join(w.server.Shutdown(ctx), w.server.Close())
}
