package jsonrpc2_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/rpc"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/internal/servicetest"
)

// Info is a service that returns what is known of its calls.
type Info struct{ client *rpc.Client }

// InfoArgs are the arguments of Info.
type InfoArgs struct{ jsonrpc2.Context }

// Get returns what is known of the call.
func (Info) Get(args InfoArgs, info *jsonrpc2.CallInfo) error {
	*info = *jsonrpc2.CallFrom(args)
	return nil
}

// Next makes a call with its own context, and returns what is known of that.
func (s Info) Next(args InfoArgs, info *jsonrpc2.CallInfo) error {
	got, err := jsonrpc2.Call[jsonrpc2.CallInfo](args, s.client, "Info.Get", nil)
	*info = got
	return err
}

// newInfo returns a client of an Info over a pipe.
func newInfo(t *testing.T, client jsonrpc2.ClientOptions, server jsonrpc2.ServerOptions) *rpc.Client {
	there, here := net.Pipe()
	if client.Logger == nil {
		client.Logger = servicetest.Quiet
	}
	c := jsonrpc2.NewClient(jsonrpc2.NewStreamConn(here), &client)
	servicetest.Serve(t, jsonrpc2.NewStreamConn(there), server, Info{c})
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// Metadata arrives with its call, and with no other that the method makes.
func TestMeta(t *testing.T) {
	t.Parallel()
	client := newInfo(t, jsonrpc2.ClientOptions{}, jsonrpc2.ServerOptions{})
	ctx := jsonrpc2.WithMeta(t.Context(), jsonrpc2.Meta{"tenant": "7", "token": "old \"\u2028<"})
	ctx = jsonrpc2.WithMeta(ctx, jsonrpc2.Meta{"token": "new \"\u2028<", "": ""})
	got, err := jsonrpc2.Call[jsonrpc2.CallInfo](ctx, client, "Info.Get", nil)
	require.NoError(t, err)
	require.Equal(t, jsonrpc2.Meta{"tenant": "7", "token": "new \"\u2028<", "": ""}, got.Meta)
	require.Equal(t, "Info.Get", got.Method)
	require.Regexp(t, `^"[0-9a-f]{16}-0"$`, got.ID)
	require.Equal(t, "pipe", got.Peer.Addr)

	got, err = jsonrpc2.Call[jsonrpc2.CallInfo](ctx, client, "Info.Next", nil)
	require.NoError(t, err)
	require.Empty(t, got.Meta, "a token must not leak to another service")
	require.Equal(t, "Info.Get", got.Method)

	require.Nil(t, jsonrpc2.CallFrom(ctx))
	require.Nil(t, jsonrpc2.CallFrom(jsonrpc2.Context{}))
}

// More metadata than the limit is an error of that call alone, which is not sent.
func TestMetaTooLarge(t *testing.T) {
	t.Parallel()
	client := newInfo(t, jsonrpc2.ClientOptions{}, jsonrpc2.ServerOptions{})
	for n, ok := range map[int]bool{8<<10 - len(`{"k":""}`): true, 8<<10 - len(`{"k":""}`) + 1: false} {
		ctx := jsonrpc2.WithMeta(t.Context(), jsonrpc2.Meta{"k": strings.Repeat("x", n)})
		got, err := jsonrpc2.Call[jsonrpc2.CallInfo](ctx, client, "Info.Get", nil)
		if ok {
			require.NoError(t, err)
			require.Len(t, got.Meta["k"], n)
			continue
		}
		require.ErrorIs(t, err, jsonrpc2.ErrTooLarge)
		require.ErrorIs(t, jsonrpc2.Notify(ctx, client, "Info.Get", nil), jsonrpc2.ErrTooLarge)
	}
	_, err := jsonrpc2.Call[jsonrpc2.CallInfo](t.Context(), client, "Info.Get", nil)
	require.NoError(t, err)
}

// What foreign clients send as metadata is taken if it is an object of strings.
func TestMetaReceived(t *testing.T) {
	for meta, want := range map[string]any{
		`{"a":"b"}`:             map[string]any{"a": "b"},
		`{"a":"\u00e9","b":""}`: map[string]any{"a": "é", "b": ""},
		`{}`:                    map[string]any{},
		`null`:                  nil,
		`{"a":7}`:               "error",
		`{"a":null}`:            "error",
		`{"a":{"b":"c"}}`:       "error",
		`["a"]`:                 "error",
		`"a"`:                   "error",
		`{"a":"b"},"meta":{}`:   "error",
		`{"a":"` + strings.Repeat("x", 8<<10) + `"}`: "error",
	} {
		t.Run(meta[:min(len(meta), 30)], servicetest.Bubble(func(t *testing.T) {
			s := newService(t, jsonrpc2.ServerOptions{}, Info{})
			require.True(t, s.offer(fmt.Sprintf(`{"jsonrpc":"2.0","id":7,"method":"Info.Get","meta":%s}`, meta)))
			var got struct {
				ID     int
				Result struct {
					ID   string
					Meta any
				}
				Error *jsonrpc2.Error
			}
			require.NoError(t, json.Unmarshal([]byte(s.lastReply(t)), &got))
			require.Equal(t, 7*min(1, got.ID), got.ID)
			if want == "error" {
				require.EqualValues(t, jsonrpc2.CodeInvalidRequest, got.Error.Code)
			} else {
				require.Nil(t, got.Error)
				require.Equal(t, "7", got.Result.ID)
				require.Equal(t, want, got.Result.Meta)
			}
			s.end(t)
		}))
	}
}

// headers are those of a message.
type headers map[string]string

func (h headers) Header(name string) string { return h[name] }
func (headers) Peer() jsonrpc2.Peer         { return jsonrpc2.Peer{Addr: "there"} }

// A trace in the headers of a message counts where the request has none.
func TestTraceOfHeaders(t *testing.T) {
	h := headers{"traceparent": "outer", "tracestate": "outer state", "baggage": "b=1", "authorization": "secret"}
	for name, test := range map[string]struct {
		headers headers
		meta    string
		want    jsonrpc2.Meta
	}{
		"none":            {headers{"authorization": "secret"}, `null`, nil},
		"in headers":      {h, `null`, jsonrpc2.Meta{"traceparent": "outer", "tracestate": "outer state", "baggage": "b=1"}},
		"beside metadata": {h, `{"k":"v"}`, jsonrpc2.Meta{"k": "v", "traceparent": "outer", "tracestate": "outer state", "baggage": "b=1"}},
		"in both":         {h, `{"traceparent":"inner","baggage":"b=2"}`, jsonrpc2.Meta{"traceparent": "inner", "baggage": "b=2"}},
		"a state alone":   {headers{"tracestate": "outer state"}, `null`, nil},
	} {
		t.Run(name, servicetest.Bubble(func(t *testing.T) {
			s := newService(t, jsonrpc2.ServerOptions{}, Info{})
			body := fmt.Sprintf(`{"jsonrpc":"2.0","id":7,"method":"Info.Get","meta":%s}`, test.meta)
			require.True(t, s.offerUnder(jsonrpc2.Delivery{Origin: test.headers, Attempt: 3, Deadline: time.Now().Add(time.Hour)}, body))
			var got struct{ Result jsonrpc2.CallInfo }
			require.NoError(t, json.Unmarshal([]byte(s.lastReply(t)), &got))
			require.Equal(t, test.want, got.Result.Meta)
			require.Equal(t, "there", got.Result.Peer.Addr)
			require.Equal(t, 3, got.Result.Attempt)
			require.WithinDuration(t, time.Now().Add(time.Hour), got.Result.Deadline, 0)
			s.end(t)
		}))
	}
}

// A transport sends the trace of a single request as headers, too.
func TestEachHeader(t *testing.T) {
	ctx := jsonrpc2.WithMeta(context.Background(), jsonrpc2.Meta{"traceparent": "p", "tracestate": "s", "token": "secret"})
	headersOf := func(r *jsonrpc2.Request) map[string]string {
		all := make(map[string]string)
		r.EachHeader(func(name, value string) { all[name] = value })
		return all
	}
	single := jsonrpc2.NewRequest(ctx, []byte(addOne), jsonrpc2.Hooks{})
	require.Equal(t, map[string]string{"traceparent": "p", "tracestate": "s"}, headersOf(single))
	require.Empty(t, headersOf(jsonrpc2.NewRequest(context.Background(), []byte(addOne), jsonrpc2.Hooks{})))
	require.Empty(t, headersOf(jsonrpc2.JoinRequests([]byte("["+addOne+"]"), jsonrpc2.Hooks{}, single)))
}
