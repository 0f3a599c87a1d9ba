package httpconn_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/httpconn"
	"github.com/micromessaging/jsonrpc2/internal/brokertest"
	"github.com/micromessaging/jsonrpc2/internal/servicetest"
)

// Err says whether the last request got a response.
func TestClientErr(t *testing.T) {
	t.Parallel()
	addr := "127.0.0.1:" + brokertest.FreePort(t)
	// With a connection for each call, none that the first server has left meets the second.
	apart := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	conn := connect(t, "http://user:secret@"+addr+"/calc?token=secret", &httpconn.DialOptions{Client: apart})
	client := dialWith(t, conn, jsonrpc2.ClientOptions{Timeout: -1})
	require.NoError(t, conn.Err(), "not known yet")
	_, err := servicetest.Add(client, 1, 2)
	require.Error(t, err)
	requireFailure(t, conn.Err(), jsonrpc2.ErrUnavailable, "POST http://"+addr+"/calc: ", "connection refused")

	s := newOddSite(t, status(500))
	listener, err := net.Listen("tcp", addr)
	require.NoError(t, err)
	again := &http.Server{Handler: s.web.Config.Handler}
	go func() { _ = again.Serve(listener) }()
	servicetest.RequireAdds(t, client)
	require.NoError(t, conn.Err())

	require.NoError(t, again.Close())
	_, err = servicetest.Add(client, 1, 2)
	require.Error(t, err)
	requireFailure(t, conn.Err(), jsonrpc2.ErrUnavailable, "connection refused")
	listener, err = net.Listen("tcp", addr)
	require.NoError(t, err)
	again = &http.Server{Handler: s.web.Config.Handler}
	go func() { _ = again.Serve(listener) }()
	defer again.Close()
	_, err = jsonrpc2.Call[int](t.Context(), client, "Calc.Odd", nil)
	require.ErrorIs(t, err, jsonrpc2.ErrBadReply)
	require.NoError(t, conn.Err(), "it was reached")

	require.NoError(t, client.Close())
	require.ErrorIs(t, conn.Err(), net.ErrClosed)
}

// A caller that gives up says nothing about the server. A deadline that passes before there is
// a connection does.
func TestClientErrWhenACallIsGivenUp(t *testing.T) {
	t.Parallel()
	tested := make(chan struct{}) // net/http dials on when nobody waits for it
	defer close(tested)
	dialing := make(chan struct{}, 10)
	transport := &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) {
		dialing <- struct{}{}
		<-tested
		return nil, errors.New("hung")
	}}
	conn := connect(t, "http://h/", &httpconn.DialOptions{Client: &http.Client{Transport: transport}})
	client := dialWith(t, conn, jsonrpc2.ClientOptions{Timeout: -1})
	ctx, cancel := context.WithCancel(t.Context())
	failed := make(chan error)
	go func() {
		_, err := jsonrpc2.Call[int](ctx, client, "Calc.Add", nil)
		failed <- err
	}()
	<-dialing
	cancel()
	require.ErrorIs(t, <-failed, context.Canceled)
	require.NoError(t, conn.Err())

	ctx, cancel = context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err := jsonrpc2.Call[int](ctx, client, "Calc.Add", nil)
	require.ErrorIs(t, err, jsonrpc2.ErrTimeout)
	servicetest.Eventually(t, func() bool { return conn.Err() != nil })
	requireFailure(t, conn.Err(), jsonrpc2.ErrUnavailable, "context deadline exceeded")
}

func TestHandlerErr(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := serve(t, nil, jsonrpc2.ServerOptions{})
		require.NoError(t, s.handler.Err())
		running := visitOf(s.handler, pass)
		running.requireWaiting(t)
		s.Drain()
		synctest.Wait()
		require.ErrorContains(t, s.handler.Err(), "shutting down")
		s.slow.Open()
		<-s.Done
		require.ErrorIs(t, s.handler.Err(), net.ErrClosed)
	})
}

// After a while Err no longer reports that a request got no response. Else a program that makes
// no calls while it is not ready would never be ready again.
func TestClientErrEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		down := errors.New("down")
		transport := roundTripper(func(*http.Request) (*http.Response, error) { return nil, down })
		conn := connect(t, "http://h/", &httpconn.DialOptions{Client: &http.Client{Transport: transport}})
		client := dialWith(t, conn, jsonrpc2.ClientOptions{Timeout: -1})
		for range 2 {
			require.NoError(t, conn.Err())
			_, err := servicetest.Add(client, 1, 2)
			require.Error(t, err)
			require.ErrorIs(t, conn.Err(), down)
			time.Sleep(5*time.Second - 1)
			require.ErrorIs(t, conn.Err(), down)
			time.Sleep(time.Nanosecond)
		}
		require.NoError(t, conn.Err())
	})
}
