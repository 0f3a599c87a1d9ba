package conntest

import (
	"context"
	"encoding/json"
	"fmt"
	"net/rpc"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2"
)

func testDrainIdle(t *testing.T, transport Transport) {
	client, _ := dialClient(t, transport)
	s := serve(t, transport.Listen(t), newEcho(), jsonrpc2.ServerOptions{})
	callText(t, client, "it is reading")
	s.drain()
	s.wait(t, soon)
}

func testDrainFinishesCalls(t *testing.T, transport Transport) {
	client, _ := dialClient(t, transport)
	service := newEcho()
	s := serve(t, transport.Listen(t), service, jsonrpc2.ServerOptions{})
	var text string
	call := client.Go("Echo.Wait", "running", &text, nil)
	require.Equal(t, "running", receive(t, service.started))
	s.drain()
	close(service.release)
	require.NoError(t, (<-call.Done).Error)
	require.Equal(t, "running", text)
	s.wait(t, soon)
}

func testDrainGivesBack(t *testing.T, transport Transport) {
	if !transport.GivesBack {
		t.Skip("nothing is given back")
	}
	client, _ := dialClient(t, transport)
	service := newEcho()
	first := serve(t, transport.Listen(t), service, jsonrpc2.ServerOptions{MaxInFlight: 1})
	running := client.Go("Echo.Wait", "running", new(string), nil)
	require.Equal(t, "running", receive(t, service.started))
	var waiting []*rpc.Call
	for i := range 20 {
		waiting = append(waiting, client.Go("Echo.Text", fmt.Sprint(i), new(string), nil))
	}
	first.drain()
	serve(t, transport.Listen(t), service, jsonrpc2.ServerOptions{})
	for i, call := range waiting {
		require.NoError(t, (<-call.Done).Error)
		require.Equal(t, fmt.Sprint(i), *call.Reply.(*string))
	}
	close(service.release)
	require.NoError(t, (<-running.Done).Error)
	first.wait(t, soon)
}

func testCloseWhileReading(t *testing.T, transport Transport) {
	calling, serving := transport.Dial(t), transport.Listen(t)
	open(t, calling, 0)
	open(t, serving, 1)
	requireCloseEnds(t, calling, func() error {
		_, err := calling.ReadReply(context.Background())
		return err
	})
	requireCloseEnds(t, serving, func() error {
		_, err := serving.ReadRequest(context.Background())
		return err
	})
}

// requireCloseEnds makes sure that Close ends what reads, and may be called again.
func requireCloseEnds(t *testing.T, conn interface{ Close() error }, read func() error) {
	t.Helper()
	readErr := make(chan error, 1)
	go func() { readErr <- read() }()
	closeErrs := make(chan error, 2)
	for range cap(closeErrs) { // two at once, too
		go func() { closeErrs <- conn.Close() }()
	}
	timeout := time.After(soon)
	for range cap(closeErrs) {
		select {
		case err := <-closeErrs:
			require.NoError(t, err)
		case <-timeout:
			require.FailNow(t, "Close has not returned")
		}
	}
	select {
	case err := <-readErr:
		require.Error(t, err)
	case <-timeout:
		require.FailNow(t, "the read has not returned")
	}
	require.NoError(t, conn.Close())
}

// Close leaves no call without an end.
func testCloseEndsCalls(t *testing.T, transport Transport) {
	client := newClient(t, transport.Dial(t), patience)
	service := newEcho()
	serve(t, transport.Listen(t), service, jsonrpc2.ServerOptions{}).lossy = true
	defer close(service.release)
	callErr := make(chan error, 1)
	go func() {
		_, err := jsonrpc2.Call[string](t.Context(), client, "Echo.Wait", "x")
		callErr <- err
	}()
	receive(t, service.started)
	require.NoError(t, client.Close())
	select {
	case err := <-callErr:
		require.ErrorIs(t, err, jsonrpc2.ErrReplyLost, "it runs")
	case <-time.After(patience):
		require.FailNow(t, "the call has not ended")
	}
	_, err := jsonrpc2.Call[string](t.Context(), client, "Echo.Text", "x")
	require.ErrorIs(t, err, jsonrpc2.ErrUnavailable)
}

// Callers that call while the client is closed all come to an end.
func testCloseBesideCalls(t *testing.T, transport Transport) {
	client := newClient(t, transport.Dial(t), patience)
	serve(t, transport.Listen(t), newEcho(), jsonrpc2.ServerOptions{}).lossy = true
	callText(t, client, "it works")
	const callers = 8
	called, callErrs := make(chan struct{}, callers), make(chan error, callers)
	for range callers {
		go func() {
			_, err := jsonrpc2.Call[string](t.Context(), client, "Echo.Text", "x")
			called <- struct{}{}
			for err == nil {
				_, err = jsonrpc2.Call[string](t.Context(), client, "Echo.Text", "x")
			}
			callErrs <- err
		}()
	}
	for range callers {
		receive(t, called)
	}
	require.NoError(t, client.Close())
	for range callers {
		require.NotErrorIs(t, receive(t, callErrs), jsonrpc2.ErrTimeout)
	}
}

// Shutdown waits for the answers of the calls under way, and refuses new ones.
func testShutdownFinishesCalls(t *testing.T, transport Transport) {
	client := newClient(t, transport.Dial(t), patience)
	service := newEcho()
	serve(t, transport.Listen(t), service, jsonrpc2.ServerOptions{})
	var text string
	call := client.Go("Echo.Wait", "running", &text, nil)
	require.Equal(t, "running", receive(t, service.started))
	ended := make(chan error, 1)
	go func() { ended <- jsonrpc2.Shutdown(t.Context(), client) }()
	for {
		_, err := jsonrpc2.Call[string](t.Context(), client, "Echo.Text", "it has not begun")
		if err != nil {
			require.ErrorIs(t, err, rpc.ErrShutdown)
			break
		}
	}
	require.Empty(t, ended)
	close(service.release)
	require.NoError(t, (<-call.Done).Error)
	require.Equal(t, "running", text)
	require.NoError(t, <-ended)
}

func testWriteAfterClose(t *testing.T, transport Transport) {
	calling, serving := transport.Dial(t), transport.Listen(t)
	require.NoError(t, calling.Close())
	require.NoError(t, serving.Close())
	require.Error(t, calling.WriteRequest(jsonrpc2.NewRequest(t.Context(), []byte(request("text", newID())), jsonrpc2.Hooks{})))
}

// A second codec is refused: its calls and its Serve fail with ErrOpened. The first one
// works on, also when the second one is closed.
func testOpenedOnce(t *testing.T, transport Transport) {
	conn := transport.Dial(t)
	client := newClient(t, conn, patience)
	t.Cleanup(func() { assert.NoError(t, client.Close()) })
	serving := transport.Listen(t)
	service := newEcho()
	serve(t, serving, service, jsonrpc2.ServerOptions{})
	callText(t, client, "first")

	second := newClient(t, conn, patience)
	_, err := jsonrpc2.Call[string](t.Context(), second, "Echo.Text", "second")
	require.ErrorIs(t, err, jsonrpc2.ErrOpened)
	require.ErrorIs(t, jsonrpc2.Serve(t.Context(), newServer(t, service), serving, nil), jsonrpc2.ErrOpened)
	require.NoError(t, second.Close())
	callText(t, client, "first, still")
}

// Err is nil while a Conn works, and an error once it is closed.
func testErr(t *testing.T, transport Transport) {
	conn := transport.Dial(t)
	client := newClient(t, conn, patience)
	serving := transport.Listen(t)
	s := serve(t, serving, newEcho(), jsonrpc2.ServerOptions{})
	callText(t, client, "it works")
	require.NoError(t, conn.Err())
	require.NoError(t, serving.Err())
	require.NoError(t, client.Close())
	require.Error(t, conn.Err())
	s.drain()
	s.wait(t, soon)
	require.Error(t, serving.Err())
}

func testReplyOnce(t *testing.T, transport Transport) {
	conn, serving := dialRaw(t, transport), transport.Listen(t)
	open(t, serving, 10)
	id := newID()
	conn.write(t, request("text", id))
	d := readRequest(t, serving)
	require.Contains(t, string(d.Body), id)
	answer, err := json.Marshal(response(id))
	require.NoError(t, err)
	require.NoError(t, d.Reply(answer))
	clear(answer) // it is copied
	require.Equal(t, any(response(id)), conn.read(t))

	conn.write(t, `{"jsonrpc":"2.0","method":"note"}`)
	require.NoError(t, readRequest(t, serving).Reply(nil))
	require.NoError(t, serving.Close())
}

func testLimit(t *testing.T, transport Transport) {
	if !transport.Waits {
		t.Skip("only what a broker holds back can go elsewhere")
	}
	conn, serving := dialRaw(t, transport), transport.Listen(t)
	open(t, serving, 2)
	for range 4 {
		conn.write(t, request("text", newID()))
	}
	first, second := readRequest(t, serving), readRequest(t, serving)
	third := readLater(serving)
	requireNone(t, third)
	require.NoError(t, first.Reply(nil))
	thirdRequest := awaitRequest(t, third)
	fourth := readLater(serving)
	requireNone(t, fourth)
	require.NoError(t, second.Reply(nil))
	fourthRequest := awaitRequest(t, fourth)
	require.NoError(t, thirdRequest.Reply(nil))
	require.NoError(t, fourthRequest.Reply(nil))
	require.NoError(t, serving.Close())
}
