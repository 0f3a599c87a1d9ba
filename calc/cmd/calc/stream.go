package main

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"net"
	"net/rpc"
	"net/url"
	"os"
	"syscall"

	"github.com/micromessaging/jsonrpc2"
)

// newStream returns a TCP or Unix socket as a broker.
func (f flags) newStream(u *url.URL) (*broker, error) {
	addr, ok := streamAddr(u)
	if !ok {
		return nil, f.badURL(u)
	}
	b := &broker{
		where: f.broker,
		dial: func() (jsonrpc2.ClientConn, error) {
			var dialer net.Dialer
			return jsonrpc2.DialStream(func(ctx context.Context) (io.ReadWriteCloser, error) {
				return dialer.DialContext(ctx, u.Scheme, addr)
			}, nil), nil
		},
		ping:  func(context.Context) error { return nil },
		close: func() error { return nil },
	}
	b.listen = func(ctx context.Context, _ io.Writer) (*serving, error) {
		l, err := listenStream(ctx, u.Scheme, addr)
		if err != nil {
			return nil, err
		}
		b.served = servedURL(u, l.Addr())
		run := func(ctx context.Context, server *rpc.Server, opts *jsonrpc2.ServerOptions) error {
			return jsonrpc2.ServeListener(ctx, server, l, &jsonrpc2.ListenerOptions{ServerOptions: *opts})
		}
		return &serving{run, func() error { return nil }}, nil // a connection waits until it is served
	}
	return b, nil
}

// streamAddr returns the address to dial or to listen at: a path, or host and port. ok is
// false if the URL lacks a part of it, or has anything else, such as a user.
func streamAddr(u *url.URL) (addr string, ok bool) {
	switch {
	case u.User != nil || u.RawQuery != "" || u.Fragment != "":
		return "", false
	case u.Scheme == "unix":
		return u.Path, u.Host == "" && u.Path != "" && u.Path != "/"
	}
	return u.Host, u.Port() != "" && (u.Path == "" || u.Path == "/")
}

// servedURL returns the URL to dial a listener at addr. It has the port which was chosen if u
// has port 0.
func servedURL(u *url.URL, addr net.Addr) string {
	if tcp, ok := addr.(*net.TCPAddr); ok {
		_, port, _ := net.SplitHostPort(tcp.String())
		return "tcp://" + net.JoinHostPort(u.Hostname(), port)
	}
	return (&url.URL{Scheme: u.Scheme, Path: u.Path}).String()
}

// listenStream listens at an address. It replaces the file of a Unix socket that nobody
// listens on: a server that was killed leaves one.
func listenStream(ctx context.Context, network, addr string) (net.Listener, error) {
	l, err := net.Listen(network, addr)
	if network != "unix" || !errors.Is(err, syscall.EADDRINUSE) || !isAbandoned(ctx, addr) {
		return l, err
	}
	if err := os.Remove(addr); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	return net.Listen(network, addr)
}

// isAbandoned reports whether a file is a Unix socket that nobody listens on.
func isAbandoned(ctx context.Context, path string) bool {
	info, err := os.Lstat(path)
	if err != nil || info.Mode()&fs.ModeSocket == 0 {
		return false
	}
	conn, err := new(net.Dialer).DialContext(ctx, "unix", path)
	if err == nil {
		_ = conn.Close()
	}
	return errors.Is(err, syscall.ECONNREFUSED)
}
