package jsonrpc2_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/rpc"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/calc"
	"github.com/micromessaging/jsonrpc2/internal/servicetest"
)

func TestRequestID(t *testing.T) {
	seen := make(map[string]bool)
	for range 2 { // clients
		p := newPeer(t, jsonrpc2.ClientOptions{})
		prefix := ""
		for seq := range 3 {
			call := p.client.Go("Calc.Add", calc.Args{A: 1, B: 2}, new(float64), nil)
			r := <-p.requests
			require.Regexp(t, fmt.Sprintf(`^"[0-9a-f]{16}-%d"$`, seq), string(r.ID))
			require.Equal(t, `{"jsonrpc":"2.0","id":`+string(r.ID)+`,"method":"Calc.Add","params":{"A":1,"B":2}}`, r.text)
			require.True(t, strings.HasPrefix(string(r.ID), prefix), "one prefix for a client")
			prefix = string(r.ID[:17])
			require.False(t, seen[string(r.ID)])
			seen[string(r.ID)] = true
			p.answer(t, r, "3")
			require.NoError(t, (<-call.Done).Error)
		}
	}
}

func TestRequestMethod(t *testing.T) {
	upper := func(method string) string { return strings.ToUpper(method) }
	for _, test := range []struct {
		opts   jsonrpc2.ClientOptions
		method string
		want   string
	}{
		{jsonrpc2.ClientOptions{}, "Calc.Add", "Calc.Add"},
		{jsonrpc2.ClientOptions{}, "add", "add"},
		{jsonrpc2.ClientOptions{}, ".Add", ".Add"},
		{jsonrpc2.ClientOptions{Service: "Calc"}, "Calc.Add", "add"},
		{jsonrpc2.ClientOptions{Service: "Calc"}, "Calc.AddAll", "addAll"},
		{jsonrpc2.ClientOptions{Service: "Calc"}, "Calc.Äpfel", "äpfel"},
		{jsonrpc2.ClientOptions{Service: "Calc"}, "Other.Add", "Other.Add"},
		{jsonrpc2.ClientOptions{Service: "Calc"}, "Calculator.Add", "Calculator.Add"},
		{jsonrpc2.ClientOptions{Service: "Calc"}, "Calc.Admin.Add", "Calc.Admin.Add"}, // of the service "Calc.Admin"
		{jsonrpc2.ClientOptions{Service: "Calc"}, "add", "add"},
		{jsonrpc2.ClientOptions{Service: "Calc"}, `Calc."<é>"`, `"<é>"`},
		{jsonrpc2.ClientOptions{Name: upper}, "Calc.Add", "CALC.ADD"},
		{jsonrpc2.ClientOptions{Name: upper, Service: "Calc"}, "Calc.Add", "CALC.ADD"},
		{jsonrpc2.ClientOptions{Name: upper}, "rpc.discover", "rpc.discover"}, // of an extension
		{jsonrpc2.ClientOptions{Service: "rpc"}, "rpc.Discover", "rpc.Discover"},
	} {
		p := newPeer(t, test.opts)
		for range 2 { // the second time from the table of names
			require.NoError(t, jsonrpc2.Notify(t.Context(), p.client, test.method, nil))
			require.Equal(t, test.want, (<-p.requests).Method)
		}
	}
}

// Arguments that can't be sent fail that call alone.
func TestRequestUnsendable(t *testing.T) {
	stats := new(jsonrpc2.ClientStats)
	p := newPeer(t, jsonrpc2.ClientOptions{MaxMessageSize: 1000, Stats: stats})
	for name, test := range map[string]struct {
		args any
		want string
	}{
		"channel":   {make(chan int), "jsonrpc2: arguments of Test.Call: json: unsupported type"},
		"panic":     {Panicker{}, "jsonrpc2: arguments of Test.Call: panic"},
		"UTF-8":     {json.RawMessage("\"\xff\""), "jsonrpc2: arguments of Test.Call: not valid UTF-8"},
		"too large": {strings.Repeat("x", 2000), jsonrpc2.ErrTooLarge.Error()},
	} {
		t.Run(name, func(t *testing.T) {
			require.ErrorContains(t, p.client.Call("Test.Call", test.args, new(int)), test.want)
			require.ErrorContains(t, jsonrpc2.Notify(t.Context(), p.client, "Test.Call", test.args), test.want)
			_, err := jsonrpc2.Call[int](t.Context(), p.client, "Test.Call", test.args)
			require.ErrorContains(t, err, test.want)
			p.requireAlive(t)
			p.requireNothingLeft(t)
		})
	}
	_, err := jsonrpc2.Call[int](t.Context(), p.client, "Test.Call", strings.Repeat("x", 2000))
	require.ErrorIs(t, err, jsonrpc2.ErrTooLarge)
}

// The client ends with its stream, and says so to every call.
func TestClientEndsWithStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPeer(t, jsonrpc2.ClientOptions{})
		call := p.client.Go("Test.Call", nil, new(int), nil)
		typed := make(chan error, 1)
		go func() {
			_, err := jsonrpc2.Call[int](t.Context(), p.client, "Test.Call", nil)
			typed <- err
		}()
		synctest.Wait()
		require.NoError(t, p.conn.Close())
		require.EqualError(t, (<-call.Done).Error, "jsonrpc2: reply lost: the connection has ended: unexpected EOF")
		err := <-typed
		require.ErrorIs(t, err, io.ErrUnexpectedEOF)
		require.ErrorIs(t, err, jsonrpc2.ErrReplyLost)
		synctest.Wait() // net/rpc ends the client after its calls
		require.ErrorIs(t, p.client.Call("Test.Call", nil, nil), rpc.ErrShutdown)
		for _, err := range []error{callTest(t.Context(), p.client), jsonrpc2.Notify(t.Context(), p.client, "Test.Call", nil)} {
			require.ErrorIs(t, err, rpc.ErrShutdown)
			require.ErrorIs(t, err, jsonrpc2.ErrUnavailable)
		}
	})
}

func TestClientClose(t *testing.T) {
	p := newPeer(t, jsonrpc2.ClientOptions{})
	call := p.client.Go("Test.Call", nil, new(int), nil)
	<-p.requests
	require.NoError(t, p.client.Close())
	require.ErrorIs(t, (<-call.Done).Error, rpc.ErrShutdown)
	require.ErrorIs(t, p.client.Close(), rpc.ErrShutdown)
	_, err := jsonrpc2.Call[int](t.Context(), p.client, "Test.Call", nil)
	require.ErrorIs(t, err, rpc.ErrShutdown)
	require.ErrorIs(t, err, jsonrpc2.ErrUnavailable)
}

// A Conn says to each request what has become of it, once.
func TestRequestFails(t *testing.T) {
	conn := newScriptedClient()
	stats := new(jsonrpc2.ClientStats)
	client := jsonrpc2.NewClient(conn, &jsonrpc2.ClientOptions{Logger: servicetest.Quiet, Stats: stats})
	defer client.Close()
	lost := fmt.Errorf("%w: the queue is gone", jsonrpc2.ErrNoServer)

	typed := make(chan error, 2)
	for range cap(typed) {
		go func() {
			_, err := jsonrpc2.Call[int](t.Context(), client, "Test.Call", nil)
			typed <- err
		}()
	}
	first := <-conn.written
	second := <-conn.written
	require.NotEqual(t, first, second)
	jsonrpc2.JoinRequests(nil, jsonrpc2.Hooks{}, conn.requests...).Fail(lost)
	for range cap(typed) {
		err := <-typed
		require.ErrorIs(t, err, lost)
		_, answered := jsonrpc2.AsError(err)
		require.False(t, answered)
	}

	plain := client.Go("Test.Call", nil, new(int), nil)
	<-conn.written
	for range 3 {
		conn.last().Fail(lost)
	}
	err := (<-plain.Done).Error
	require.EqualError(t, err, lost.Error())
	_, answered := jsonrpc2.AsError(err)
	require.False(t, answered)
	require.EqualValues(t, 3, stats.Snapshot().Unsent)
}

// A Conn that refuses a request fails that call alone.
func TestWriteRequestFails(t *testing.T) {
	conn := newScriptedClient()
	stats := new(jsonrpc2.ClientStats)
	codec := jsonrpc2.NewClientCodec(conn, &jsonrpc2.ClientOptions{Stats: stats})
	client := rpc.NewClientWithCodec(codec)
	defer client.Close()
	conn.refuse(jsonrpc2.ErrOverloaded)
	_, err := jsonrpc2.Call[int](t.Context(), client, "Test.Call", nil)
	require.ErrorIs(t, err, jsonrpc2.ErrOverloaded)
	require.ErrorIs(t, client.Call("Test.Call", nil, nil), jsonrpc2.ErrOverloaded)
	require.ErrorIs(t, jsonrpc2.Notify(t.Context(), client, "Test.Call", nil), jsonrpc2.ErrOverloaded)
	require.EqualValues(t, 3, stats.Snapshot().Unsent)
	calls, _ := jsonrpc2.Pending(codec)
	require.Zero(t, calls)

	conn.refuse(nil)
	call := client.Go("Test.Call", nil, nil, nil)
	<-conn.written
	require.NoError(t, client.Close())
	require.ErrorIs(t, (<-call.Done).Error, rpc.ErrShutdown)
}

// A client of net/rpc/jsonrpc's kind of params is understood, and its server's
// kind of array by Positional.
func TestStreamClientAndServer(t *testing.T) {
	for _, positional := range []bool{false, true} {
		there, here := net.Pipe()
		ctx, drain := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() {
			done <- jsonrpc2.Serve(ctx, newServer(t), jsonrpc2.NewStreamConn(there), &jsonrpc2.ServerOptions{Service: "Calc"})
		}()
		client := jsonrpc2.NewClient(jsonrpc2.NewStreamConn(here), &jsonrpc2.ClientOptions{Service: "Calc", Positional: positional})
		sum, err := jsonrpc2.Call[float64](t.Context(), client, "Calc.Add", calc.Args{A: 1, B: 5.1})
		require.NoError(t, err)
		require.Equal(t, 6.1, sum)

		_, err = jsonrpc2.Call[int](t.Context(), client, "Odd.Fail", nil)
		var answered *jsonrpc2.Error
		require.True(t, errors.As(err, &answered))
		require.Equal(t, jsonrpc2.Error{Code: 404, Message: "no such account", Data: json.RawMessage(`{"account":7}`)}, *answered)

		err = client.Call("Odd.Fail", nil, nil)
		require.EqualError(t, err, `no such account (JSON-RPC error 404, data {"account":7})`)
		again, ok := jsonrpc2.AsError(err)
		require.True(t, ok)
		require.Equal(t, answered, again)

		require.EqualError(t, client.Call("Odd.FailWith", "divide by zero", nil), "divide by zero")
		drain()
		require.NoError(t, <-done)
		require.NoError(t, client.Close())
	}
}
