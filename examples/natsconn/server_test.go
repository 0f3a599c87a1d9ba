package natsconn_test

import (
	"context"
	"errors"
	"fmt"
	"net/rpc"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/examples/natsconn"
)

// While servers are replaced under load, each call is run once, or ends with ErrNoServer and
// was not run. NATS answers so for a call that it hands out when a subscription ends.
func TestDrainUnderLoad(t *testing.T) {
	t.Parallel()
	broker := startBroker(t, server.Options{})
	subject := newSubject()
	client, _ := dial(t, connect(t, broker), subject, jsonrpc2.ClientOptions{})
	stats := new(jsonrpc2.ServerStats)
	opts := jsonrpc2.ServerOptions{MaxInFlight: 4, Stats: stats} // 4 of 32: some calls wait in the server
	drain, served := serve(t, connect(t, broker), subject, newService(), opts)

	var calls atomic.Int64
	stop := make(chan struct{})
	var callers sync.WaitGroup
	for range 32 {
		callers.Go(func() {
			for !isClosed(stop) {
				switch err := echo(client); {
				case err == nil:
					calls.Add(1)
				case !errors.Is(err, jsonrpc2.ErrNoServer):
					assert.NoError(t, err)
					return
				}
			}
		})
	}
	for range 20 {
		before := calls.Load()
		nextDrain, nextServed := serve(t, connect(t, broker), subject, newService(), opts)
		drain()
		require.NoError(t, receive(t, served))
		drain, served = nextDrain, nextServed
		require.Eventually(t, func() bool { return calls.Load() > before+100 || t.Failed() }, patience, tick)
	}
	close(stop)
	callers.Wait()
	require.Equal(t, calls.Load(), stats.Snapshot().Calls)
	require.Zero(t, stats.Snapshot().LostReplies)
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// A drain runs the requests that have come. NATS sends later ones to other servers.
func TestDrainRunsWhatHasCome(t *testing.T) {
	t.Parallel()
	broker := startBroker(t, server.Options{})
	subject := newSubject()
	service := newService()
	client, _ := dial(t, connect(t, broker), subject, jsonrpc2.ClientOptions{})
	nc := connect(t, broker)
	drain, served := serve(t, nc, subject, service, jsonrpc2.ServerOptions{MaxInFlight: 1})
	var calls []*rpc.Call
	for i := range 50 {
		calls = append(calls, client.Go("Test.Wait", fmt.Sprint(i), new(string), nil))
	}
	require.Eventually(t, func() bool { return nc.Stats().InMsgs == 50 }, patience, tick)
	receive(t, service.started)
	subscriptions := broker.NumSubscriptions()
	drain()
	require.Eventually(t, func() bool { return broker.NumSubscriptions() < subscriptions }, patience, tick)
	require.ErrorIs(t, echo(client), jsonrpc2.ErrNoServer)
	service.release()
	for _, call := range calls {
		require.NoError(t, receive(t, call.Done).Error)
	}
	require.NoError(t, receive(t, served))
}

// A drain does not wait for a broker that has gone.
func TestDrainWithoutBroker(t *testing.T) {
	t.Parallel()
	broker := startBroker(t, server.Options{})
	subject := newSubject()
	nc := connect(t, broker)
	drain, served := serve(t, nc, subject, newService(), jsonrpc2.ServerOptions{})
	kill(broker)
	require.Eventually(t, nc.IsReconnecting, patience, tick)
	drain()
	select {
	case err := <-served:
		require.ErrorContains(t, err, "answers may be lost")
	case <-time.After(10 * time.Second): // Serve takes four
		require.FailNow(t, "Serve has not returned")
	}
}

// A server refuses the requests that it has no room for, and serves the rest.
func TestOverload(t *testing.T) {
	t.Parallel()
	broker := startBroker(t, server.Options{})
	subject := newSubject()
	service := newService()
	stats := new(jsonrpc2.ServerStats)
	client, _ := dial(t, connect(t, broker), subject, jsonrpc2.ClientOptions{})
	serve(t, connect(t, broker), subject, service, jsonrpc2.ServerOptions{MaxInFlight: 1, Stats: stats})
	running := client.Go("Test.Wait", "running", new(string), nil)
	receive(t, service.started)

	const room, more = 1024, 76
	done := make(chan *rpc.Call, room+more)
	for range room + more {
		client.Go("Test.Echo", "text", new(string), done)
	}
	for range more {
		require.ErrorContains(t, receive(t, done).Error, jsonrpc2.ErrNoServer.Error())
	}
	require.EqualValues(t, more, stats.Snapshot().LostReplies)
	service.release()
	require.NoError(t, receive(t, running.Done).Error)
	for range room {
		require.NoError(t, receive(t, done).Error)
	}
}

// An answer that exceeds max_payload is lost. Lost gets its text, and not that of the request.
func TestLostAnswer(t *testing.T) {
	t.Parallel()
	broker := startBroker(t, server.Options{MaxPayload: 1 << 10})
	subject := newSubject()
	nc := connect(t, broker)
	conn, err := natsconn.Listen(nc, subject)
	require.NoError(t, err)
	require.NoError(t, nc.Flush())
	lost := make(chan string, 1)
	require.NoError(t, conn.Open(jsonrpc2.Settings{
		InFlight: 1,
		Lost:     func(body []byte, _ error) { lost <- string(body) },
	}))
	client, _ := dial(t, nc, subject, jsonrpc2.ClientOptions{})
	call := client.Go("Test.Echo", "text", new(string), nil)
	delivery, err := conn.ReadRequest(t.Context())
	require.NoError(t, err)
	answer := strings.Repeat("x", 1<<10+1)
	require.NoError(t, delivery.Reply([]byte(answer)))
	require.Equal(t, answer, receive(t, lost))
	require.ErrorContains(t, receive(t, call.Done).Error, nats.ErrMaxPayload.Error())
	require.NoError(t, conn.Close())
}

// The time that a request waits in the server counts.
func TestDeadlinePassesInServer(t *testing.T) {
	t.Parallel()
	broker := startBroker(t, server.Options{})
	subject := newSubject()
	service := newService()
	stats := new(jsonrpc2.ServerStats)
	ncClient, ncServer := connect(t, broker), connect(t, broker)
	client, _ := dial(t, ncClient, subject, jsonrpc2.ClientOptions{})
	serve(t, ncServer, subject, service, jsonrpc2.ServerOptions{MaxInFlight: 1, Stats: stats})
	running := client.Go("Test.Wait", "running", new(string), nil)
	receive(t, service.started)

	require.NoError(t, ncClient.PublishMsg(&nats.Msg{
		Subject: subject,
		Reply:   ncClient.NewInbox(),
		Header:  nats.Header{natsconn.TimeoutHeader: {"1"}},
		Data:    []byte(`{"jsonrpc":"2.0","id":1,"method":"Test.Wait","params":["late"]}`),
	}))
	require.Eventually(t, func() bool { return ncServer.Stats().InMsgs == 2 }, patience, tick)
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	_, err := jsonrpc2.Call[string](ctx, client, "Test.Echo", "waits for longer")
	require.ErrorIs(t, err, jsonrpc2.ErrTimeout)
	service.release()
	require.NoError(t, receive(t, running.Done).Error)
	require.Eventually(t, func() bool { return stats.Snapshot().Expired > 0 }, patience, tick)
	require.Empty(t, service.started)
}

// Programs that use plain NATS can call a server and be called by a client.
func TestForeignMessages(t *testing.T) {
	t.Parallel()
	broker := startBroker(t, server.Options{})
	nc, subject := connect(t, broker), newSubject()
	service := newService()
	stats := new(jsonrpc2.ServerStats)
	serve(t, nc, subject, service, jsonrpc2.ServerOptions{Service: "Test", Stats: stats})

	answer, err := nc.Request(subject, []byte(`{"jsonrpc":"2.0","id":1,"method":"echo","params":["a"]}`), patience)
	require.NoError(t, err)
	require.JSONEq(t, `{"jsonrpc":"2.0","id":1,"result":"a"}`, string(answer.Data))

	service.release()
	require.NoError(t, nc.Publish(subject, []byte(`{"jsonrpc":"2.0","method":"wait","params":["notification"]}`)))
	require.Equal(t, "notification", receive(t, service.started))
	require.NoError(t, nc.Publish(subject, []byte(`{"jsonrpc":"2.0","id":1,"method":"wait","params":["call"]}`)))
	require.Eventually(t, func() bool { return stats.Snapshot().Dropped == 1 }, patience, tick)
	require.Empty(t, service.started, "nobody could be answered")

	own := newSubject()
	_, err = nc.QueueSubscribe(own, natsconn.Group, func(m *nats.Msg) { _ = m.Respond([]byte("no JSON")) })
	require.NoError(t, err)
	client, _ := dial(t, nc, own, jsonrpc2.ClientOptions{})
	require.ErrorIs(t, echo(client), jsonrpc2.ErrBadReply)
}

// Err reports a missing permission. NATS tells neither end of it in another way.
func TestErrOfPermissions(t *testing.T) {
	t.Parallel()
	broker := startBroker(t, server.Options{Users: []*server.User{{
		Username: "guest",
		Password: "guest",
		Permissions: &server.Permissions{
			Publish:   &server.SubjectPermission{Deny: []string{"forbidden"}},
			Subscribe: &server.SubjectPermission{Deny: []string{"forbidden"}},
		},
	}}})
	nc := connect(t, broker, nats.UserInfo("guest", "guest"))
	serving, err := natsconn.Listen(nc, "forbidden")
	require.NoError(t, err)
	require.NoError(t, nc.Flush())
	require.Eventually(t, func() bool { return serving.Err() != nil }, patience, tick)
	require.ErrorIs(t, serving.Err(), nats.ErrPermissionViolation)
	require.NoError(t, serving.Close())

	nc = connect(t, broker, nats.UserInfo("guest", "guest"))
	client, calling := dial(t, nc, "forbidden", jsonrpc2.ClientOptions{})
	require.NoError(t, calling.Err())
	client.Go("Test.Echo", "text", new(string), nil)
	require.Eventually(t, func() bool { return calling.Err() != nil }, patience, tick)
	require.ErrorIs(t, calling.Err(), nats.ErrPermissionViolation)
	_, other := dial(t, nc, "allowed", jsonrpc2.ClientOptions{})
	require.NoError(t, other.Err())
}

// Close refuses the requests that wait, so that their callers need not wait for a deadline.
func TestCloseRefusesWhatWaits(t *testing.T) {
	t.Parallel()
	broker := startBroker(t, server.Options{})
	nc, subject := connect(t, broker), newSubject()
	conn, err := natsconn.Listen(nc, subject)
	require.NoError(t, err)
	client, _ := dial(t, nc, subject, jsonrpc2.ClientOptions{})
	failed := make(chan error, 1)
	go func() { failed <- echo(client) }()
	require.Eventually(t, func() bool { return nc.Stats().InMsgs == 1 }, patience, tick)
	require.NoError(t, conn.Close())
	require.ErrorIs(t, receive(t, failed), jsonrpc2.ErrNoServer)
}
