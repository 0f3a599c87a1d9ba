package otelrpc_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"math"
	"net"
	"net/rpc"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/internal/servicetest"
	"github.com/micromessaging/jsonrpc2/otelrpc"
)

// Test is a service whose methods end in all ways.
type Test struct{ release chan struct{} }

// Echo returns its item.
func (Test) Echo(args ItemArgs, item *int) error {
	*item = args.Item
	return nil
}

// Object fails with an error object, of which the data are nobody else's business.
func (Test) Object(ItemArgs, *int) error {
	return &jsonrpc2.Error{Code: 404, Message: "no such item", Data: json.RawMessage(`{"secret":7}`)}
}

// Plain fails with an error that is no error object.
func (Test) Plain(ItemArgs, *int) error { return errors.New("broken") }

// NaN returns what is not in JSON.
func (Test) NaN(_ ItemArgs, result *float64) error {
	*result = math.NaN()
	return nil
}

// Text returns a text of a length.
func (Test) Text(length int, text *string) error {
	*text = strings.Repeat("x", length)
	return nil
}

// Wait returns when the test is over.
func (s Test) Wait(ItemArgs, *int) error {
	<-s.release
	return nil
}

// A pair is a client and a server of Test over a pipe.
type pair struct {
	*telemetry
	*rpc.Client
	server *servicetest.Server
	free   func() // ends the calls that wait
}

func newPair(t *testing.T, client jsonrpc2.ClientOptions, server jsonrpc2.ServerOptions) pair {
	m := newTelemetry()
	server.Begin = joined(otelrpc.Server(m.options()), server.Begin)
	client.Begin = joined(otelrpc.Client(m.options()), client.Begin)
	client.Logger, server.Logger = servicetest.Quiet, servicetest.Quiet
	calling, listening := openStream(t, "")
	release := make(chan struct{})
	serving := servicetest.Serve(t, listening, server, Test{release})
	p := pair{m, jsonrpc2.NewClient(calling, &client), serving, sync.OnceFunc(func() { close(release) })}
	t.Cleanup(func() { _ = p.Close() })
	return p
}

func joined(first, second jsonrpc2.BeginFunc) jsonrpc2.BeginFunc {
	if second == nil {
		return first
	}
	return jsonrpc2.JoinBegin(first, second)
}

func refuse(err error) jsonrpc2.BeginFunc {
	return func(context.Context, *jsonrpc2.CallInfo, any) (context.Context, func(error), error) {
		return nil, nil, err
	}
}

// call makes a call, and returns its error.
func (p pair) call(ctx context.Context, method string, args any) error {
	_, err := jsonrpc2.Call[int](ctx, p.Client, method, args)
	return err
}

// An outcome is how a call may end.
type outcome struct {
	client jsonrpc2.ClientOptions
	server jsonrpc2.ServerOptions
	do     func(t *testing.T, p pair)
	want   []string // its spans
}

const timeout = time.Second

func calling(method string, args any) func(*testing.T, pair) {
	return func(_ *testing.T, p pair) { _ = p.call(context.Background(), method, args) }
}

func notifying(method string) func(*testing.T, pair) {
	return func(_ *testing.T, p pair) { _ = jsonrpc2.Notify(context.Background(), p.Client, method, ItemArgs{}) }
}

var outcomes = map[string]outcome{
	"a result": {do: calling("Test.Echo", ItemArgs{}), want: []string{
		"client Test.Echo", "server Test.Echo",
	}},
	"an error object": {do: calling("Test.Object", ItemArgs{}), want: []string{
		"client Test.Object error.type=404 rpc.response.status_code=404 Error: no such item",
		"server Test.Object error.type=404 rpc.response.status_code=404 Error: no such item",
	}},
	"a plain error": {do: calling("Test.Plain", ItemArgs{}), want: []string{
		"client Test.Plain error.type=-32000 rpc.response.status_code=-32000 Error: broken",
		"server Test.Plain error.type=-32000 rpc.response.status_code=-32000 Error: broken",
	}},
	"a result that is no JSON": {do: calling("Test.NaN", ItemArgs{}), want: []string{
		"client Test.NaN error.type=-32603 rpc.response.status_code=-32603 Error: internal error: json: unsupported value: NaN",
		"server Test.NaN error.type=-32603 rpc.response.status_code=-32603 Error: internal error: json: unsupported value: NaN",
	}},
	"a result that doesn't fit": {do: func(_ *testing.T, p pair) {
		_, _ = jsonrpc2.Call[string](context.Background(), p.Client, "Test.Echo", ItemArgs{Item: 7})
	}, want: []string{
		"client Test.Echo error.type=bad_reply Error: jsonrpc2: bad reply: json: cannot unmarshal number into Go value of type string",
		"server Test.Echo",
	}},
	"a method that nobody serves": {do: calling("Test.None", ItemArgs{}), want: []string{
		"client Test.None error.type=-32601 rpc.response.status_code=-32601 Error: method not found: Test.None",
	}},
	"params that don't fit": {do: calling("Test.Echo", map[string]string{"Item": "seven"}), want: []string{
		"client Test.Echo error.type=-32602 rpc.response.status_code=-32602 Error: invalid params: json: cannot unmarshal string into Go struct field ItemArgs.Item of type int",
	}},
	"arguments that are no JSON": {do: calling("Test.Echo", func() {}), want: []string{
		"client Test.Echo error.type=_OTHER Error: jsonrpc2: arguments of Test.Echo: json: unsupported type: func()",
	}},
	"too large": {client: jsonrpc2.ClientOptions{MaxMessageSize: 20}, do: calling("Test.Echo", ItemArgs{}), want: []string{
		"client Test.Echo error.type=too_large Error: jsonrpc2: too large: request of 165 bytes exceeds the limit of 20",
	}},
	"refused by the client": {
		client: jsonrpc2.ClientOptions{Begin: refuse(&jsonrpc2.Error{Code: 429, Message: "too many"})},
		do:     calling("Test.Echo", ItemArgs{}), want: []string{
			"client Test.Echo error.type=429 rpc.response.status_code=429 Error: too many",
		},
	},
	"refused by the server": {
		server: jsonrpc2.ServerOptions{Begin: refuse(errors.New("no token"))},
		do:     calling("Test.Echo", ItemArgs{}), want: []string{
			"client Test.Echo error.type=-32000 rpc.response.status_code=-32000 Error: no token",
			"server Test.Echo error.type=-32000 rpc.response.status_code=-32000 Error: no token",
		},
	},
	"no answer in time": {client: jsonrpc2.ClientOptions{Timeout: timeout}, do: calling("Test.Wait", ItemArgs{}), want: []string{
		"client Test.Wait error.type=timeout Error: jsonrpc2: call timed out after 1s", "server Test.Wait",
	}},
	"a deadline": {do: func(_ *testing.T, p pair) {
		ctx, cancel := context.WithTimeout(context.Background(), timeout)
		defer cancel()
		_ = p.call(ctx, "Test.Wait", ItemArgs{})
	}, want: []string{
		"client Test.Wait error.type=timeout Error: jsonrpc2: call timed out: Test.Wait: context deadline exceeded", "server Test.Wait",
	}},
	"given up": {do: func(_ *testing.T, p pair) {
		ctx, cancel := context.WithCancel(context.Background())
		time.AfterFunc(timeout, cancel)
		_ = p.call(ctx, "Test.Wait", ItemArgs{})
	}, want: []string{
		"client Test.Wait error.type=canceled Error: jsonrpc2: Test.Wait: context canceled", "server Test.Wait",
	}},
	"the client closed": {do: func(t *testing.T, p pair) {
		time.AfterFunc(timeout, func() { _ = p.Close() })
		_ = p.call(context.Background(), "Test.Wait", ItemArgs{})
		p.free()
		require.ErrorContains(t, p.server.Ended(t), "unsent")
		p.server.Err = nil // it is known
	}, want: []string{
		"client Test.Wait error.type=reply_lost Error: jsonrpc2: reply lost: the client has ended: connection is shut down", "server Test.Wait",
	}},
	"not begun": {do: func(_ *testing.T, p pair) {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		_ = p.call(ctx, "Test.Echo", ItemArgs{})
	}},
	"a notification": {do: notifying("Test.Echo"), want: []string{
		"client Test.Echo", "server Test.Echo",
	}},
	"a notification that fails": {do: notifying("Test.Object"), want: []string{
		"client Test.Object", "server Test.Object error.type=404 rpc.response.status_code=404 Error: no such item",
	}},
	"a notification that nobody serves": {do: notifying("Test.None"), want: []string{
		"client Test.None",
	}},
}

// Each way in which a call may end has its spans, their status, and their measurements.
func TestOutcomes(t *testing.T) {
	for name, test := range outcomes {
		t.Run(name, servicetest.Bubble(func(t *testing.T) {
			p := newPair(t, test.client, test.server)
			test.do(t, p)
			p.free()
			synctest.Wait()
			require.Equal(t, test.want, p.lines())
			var measured []string
			for _, line := range test.want {
				measurement, _, _ := strings.Cut(line, " Error: ")
				measured = append(measured, measurement+": 1")
			}
			require.Equal(t, measured, p.measured(t))
		}))
	}
}

// A BeginFunc whose end panics keeps no span of another from ending.
func TestOtherEndPanics(t *testing.T) {
	t.Parallel()
	panicking := func(context.Context, *jsonrpc2.CallInfo, any) (context.Context, func(error), error) {
		return nil, func(error) { panic("a fault") }, nil
	}
	p := newPair(t, jsonrpc2.ClientOptions{Begin: panicking}, jsonrpc2.ServerOptions{Begin: panicking})
	require.NoError(t, p.call(t.Context(), "Test.Echo", ItemArgs{}))
	require.Equal(t, []string{"client Test.Echo", "server Test.Echo"}, p.lines())
}

// A result whose place an error takes, since those of its batch get too long, has failed: its
// span says what the caller gets.
func TestBatchTooLong(t *testing.T) {
	t.Parallel()
	m := newTelemetry()
	there, here := net.Pipe()
	defer here.Close()
	servicetest.Serve(t, jsonrpc2.NewStreamConn(there), jsonrpc2.ServerOptions{
		Logger: servicetest.Quiet, Begin: otelrpc.Server(m.options()), MaxMessageSize: 1500,
	}, Test{})
	item := `{"jsonrpc":"2.0","id":7,"method":"Test.Text","params":[900]}`
	_, err := here.Write([]byte("[" + item + "," + item + "]"))
	require.NoError(t, err)
	answers, err := bufio.NewReader(here).ReadString('\n')
	require.NoError(t, err)
	const failure = "internal error: the batch's responses exceed the limit of 1500 bytes"
	require.Equal(t, 1, strings.Count(answers, failure))
	require.Equal(t, []string{
		"server Test.Text", "server Test.Text error.type=-32603 rpc.response.status_code=-32603 Error: " + failure,
	}, m.lines())
}
