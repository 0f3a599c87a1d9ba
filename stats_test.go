package jsonrpc2_test

import (
	"context"
	"errors"
	"expvar"
	"net/rpc"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/internal/servicetest"
)

// A counted is a client with a call and a notification under way, in a synctest bubble.
type counted struct {
	conn   *scriptedClient
	client *rpc.Client
	stats  *jsonrpc2.ClientStats
	call   *jsonrpc2.Request
	note   *jsonrpc2.Request
	cancel context.CancelFunc
	ended  chan error // receives what Call and Notify return
}

func newCounted(t *testing.T) *counted {
	return newCountedWith(t, jsonrpc2.ClientOptions{MaxMessageSize: 1000})
}

func newCountedWith(t *testing.T, opts jsonrpc2.ClientOptions) *counted {
	c := &counted{conn: newScriptedClient().mute(), stats: new(jsonrpc2.ClientStats), ended: make(chan error, 2)}
	opts.Logger, opts.Stats = servicetest.Quiet, c.stats
	c.client = jsonrpc2.NewClient(c.conn, &opts)
	t.Cleanup(func() { _ = c.client.Close() })
	ctx, cancel := context.WithCancel(t.Context())
	c.cancel = cancel
	go func() {
		_, err := jsonrpc2.Call[string](ctx, c.client, "Test.Call", nil)
		c.ended <- err
	}()
	synctest.Wait()
	c.call = c.conn.last()
	go func() { c.ended <- jsonrpc2.Notify(ctx, c.client, "Test.Note", nil) }()
	synctest.Wait()
	c.note = c.conn.last()
	return c
}

// respond says that the notification was sent, and answers the call with a member.
func (c *counted) respond(member string) {
	c.note.Sent()
	c.conn.answer(`{"jsonrpc":"2.0","id":"` + c.call.ID() + `",` + member + `}`)
}

// fail ends the call and the notification.
func (c *counted) fail(err error) {
	c.call.Fail(err)
	c.note.Fail(err)
}

// shutDown ends the client, which waits no longer.
func (c *counted) shutDown() {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_ = jsonrpc2.Shutdown(ctx, c.client)
}

// Each call and each notification is counted once, by how it has ended.
func TestClientStats(t *testing.T) {
	respond := func(member string) func(*counted) {
		return func(c *counted) { c.respond(member) }
	}
	fail := func(errs ...error) func(*counted) {
		return func(c *counted) {
			for _, err := range errs {
				c.fail(err)
			}
		}
	}
	for name, test := range map[string]struct {
		end  func(*counted)
		want jsonrpc2.ClientCounts
	}{
		"a result":            {respond(`"result":"seven"`), jsonrpc2.ClientCounts{Answered: 1, Sent: 1}},
		"an error":            {respond(`"error":{"code":1,"message":"jsonrpc2: reply lost"}`), jsonrpc2.ClientCounts{Errors: 1, Sent: 1}},
		"an odd error":        {respond(`"error":7`), jsonrpc2.ClientCounts{BadReplies: 1, Sent: 1}},
		"no response":         {respond(`"result":1,"error":{"code":1,"message":"x"}`), jsonrpc2.ClientCounts{BadReplies: 1, Sent: 1}},
		"a result of no use":  {respond(`"result":7`), jsonrpc2.ClientCounts{BadReplies: 1, Sent: 1}},
		"too large":           {respond(`"result":"` + strings.Repeat("x", 1000) + `"`), jsonrpc2.ClientCounts{RepliesTooLarge: 1, Sent: 1}},
		"no time":             {func(*counted) { time.Sleep(time.Minute) }, jsonrpc2.ClientCounts{Timeouts: 2}},
		"canceled":            {func(c *counted) { c.cancel() }, jsonrpc2.ClientCounts{Canceled: 2}},
		"canceled, then late": {func(c *counted) { c.cancel(); synctest.Wait(); c.respond(`"result":"x"`) }, jsonrpc2.ClientCounts{Canceled: 2, Dropped: 1}},
		"not sent":            {fail(jsonrpc2.ErrNoServer), jsonrpc2.ClientCounts{Unsent: 2}},
		"failed twice":        {fail(jsonrpc2.ErrOverloaded, jsonrpc2.ErrReplyLost), jsonrpc2.ClientCounts{Unsent: 2}},
		"lost":                {fail(errors.New("gone")), jsonrpc2.ClientCounts{RepliesLost: 1, Unconfirmed: 1}},
		"a broken connection": {func(c *counted) { close(c.conn.messages) }, jsonrpc2.ClientCounts{RepliesLost: 1, Unconfirmed: 1}},
		"closed":              {func(c *counted) { _ = c.client.Close() }, jsonrpc2.ClientCounts{Closed: 2}},
	} {
		t.Run(name, servicetest.Bubble(func(t *testing.T) {
			c := newCounted(t)
			require.Equal(t, jsonrpc2.ClientCounts{Calls: 1, Notifications: 1, InFlight: 2}, c.stats.Snapshot())
			test.end(c)
			<-c.ended
			<-c.ended
			synctest.Wait()
			test.want.Calls, test.want.Notifications = 1, 1
			require.Equal(t, test.want, c.stats.Snapshot())
		}))
	}
}

// What is not even handed to the Conn is counted, too.
func TestUnsentIsCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn, stats := newScriptedClient(), new(jsonrpc2.ClientStats)
		client := jsonrpc2.NewClient(conn, &jsonrpc2.ClientOptions{MaxMessageSize: 1000, Stats: stats})
		defer client.Close()
		conn.refuse(jsonrpc2.ErrOverloaded)
		for _, args := range []any{7, make(chan int), strings.Repeat("x", 1000)} {
			_, err := jsonrpc2.Call[int](t.Context(), client, "Test.Call", args)
			require.Error(t, err)
			require.Error(t, jsonrpc2.Notify(t.Context(), client, "Test.Call", args))
		}
		require.Equal(t, jsonrpc2.ClientCounts{Calls: 3, Notifications: 3, Unsent: 6}, stats.Snapshot())
	})
}

// Programs publish the counts as JSON.
func TestStatsAreJSON(t *testing.T) {
	client, server := new(jsonrpc2.ClientStats), new(jsonrpc2.ServerStats)
	for _, test := range []struct {
		publish func() any
		want    string
	}{
		{func() any { return client.Snapshot() }, `{"calls":0,"notifications":0,"answered":0,"errors":0,"sent":0,"timeouts":0,
			"canceled":0,"unsent":0,"replies_lost":0,"unconfirmed":0,"bad_replies":0,"replies_too_large":0,"closed":0,
			"in_flight":0,"invalid":0,"dropped":0}`},
		{func() any { return server.Snapshot() }, `{"calls":0,"notifications":0,"answered":0,"errors":0,"done":0,
			"expired":0,"in_flight":0,"invalid":0,"dropped":0,"lost_replies":0}`},
	} {
		require.JSONEq(t, test.want, expvar.Func(test.publish).String())
	}
}
