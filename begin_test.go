package jsonrpc2_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/rpc"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/calc"
	"github.com/micromessaging/jsonrpc2/internal/servicetest"
)

// A journal notes what its Begin is told.
type journal struct {
	mu    sync.Mutex
	lines []string
}

func (j *journal) note(format string, args ...any) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.lines = append(j.lines, fmt.Sprintf(format, args...))
}

// take returns the lines since the last take.
func (j *journal) take() []string {
	j.mu.Lock()
	defer j.mu.Unlock()
	lines := j.lines
	j.lines = nil
	return lines
}

// begin is a BeginFunc.
func (j *journal) begin(_ context.Context, call *jsonrpc2.CallInfo, args any) (context.Context, func(error), error) {
	kind := "call"
	if call.ID == "" {
		kind = "notification"
	}
	j.note("%s %s %v", kind, call.Method, args)
	return nil, func(err error) {
		var e *jsonrpc2.Error
		if errors.As(err, &e) {
			j.note("%s ended: code %d", call.Method, e.Code)
		} else {
			j.note("%s ended: %v", call.Method, err)
		}
	}, nil
}

// A server's Begin is told of each call and each outcome, once.
func TestServerBegin(t *testing.T) {
	for name, test := range map[string]struct {
		body string
		want []string
	}{
		"a call":           {`{"jsonrpc":"2.0","id":1,"method":"Calc.Add","params":[1,5.1]}`, []string{"call Calc.Add &{1 5.1}", "Calc.Add ended: <nil>"}},
		"a notification":   {`{"jsonrpc":"2.0","method":"Calc.Add","params":[1,5.1]}`, []string{"notification Calc.Add &{1 5.1}", "Calc.Add ended: <nil>"}},
		"an error":         {`{"jsonrpc":"2.0","id":1,"method":"Odd.Fail"}`, []string{"call Odd.Fail &{}", "Odd.Fail ended: code 404"}},
		"no use as JSON":   {`{"jsonrpc":"2.0","id":1,"method":"Odd.NaN"}`, []string{"call Odd.NaN &{}", "Odd.NaN ended: code -32603"}},
		"no such method":   {`{"jsonrpc":"2.0","id":1,"method":"Odd.Gone"}`, nil},
		"params of no use": {`{"jsonrpc":"2.0","id":1,"method":"Calc.Add","params":["x"]}`, nil},
		"a batch": {`[{"jsonrpc":"2.0","id":1,"method":"Odd.Fail"},{"jsonrpc":"2.0","method":"Odd.Fail"},7]`, []string{
			"call Odd.Fail &{}", "notification Odd.Fail &{}", "Odd.Fail ended: code 404", "Odd.Fail ended: code 404",
		}},
	} {
		t.Run(name, servicetest.Bubble(func(t *testing.T) {
			j := new(journal)
			s := newService(t, jsonrpc2.ServerOptions{Begin: j.begin})
			require.True(t, s.offer(test.body))
			synctest.Wait()
			require.ElementsMatch(t, test.want, j.take())
			s.end(t)
			require.Empty(t, j.take())
		}))
	}
}

// What Begin returns in place of nil goes to the caller, and the method does not run.
func TestServerRefuses(t *testing.T) {
	for name, test := range map[string]struct {
		begin jsonrpc2.BeginFunc
		want  string
	}{
		"an *Error": {refuse(fmt.Errorf("sorry: %w", &jsonrpc2.Error{Code: 401, Message: "who are you?"})), `{"code":401,"message":"who are you?"}`},
		"another":   {refuse(errors.New("sorry")), `{"code":-32000,"message":"sorry"}`},
		"a panic":   {func(context.Context, *jsonrpc2.CallInfo, any) (context.Context, func(error), error) { panic("oh") }, `{"code":-32603,"message":"internal error: panic in Begin: oh"}`},
	} {
		t.Run(name, servicetest.Bubble(func(t *testing.T) {
			s := newService(t, jsonrpc2.ServerOptions{Begin: test.begin})
			require.True(t, s.offer(pass(1)))
			require.JSONEq(t, `{"jsonrpc":"2.0","id":1,"error":`+test.want+`}`, s.lastReply(t))
			require.True(t, s.offer(passNotification(2)))
			require.Zero(t, s.slow.Running.Load()+s.slow.Ran.Load())
			require.Equal(t, jsonrpc2.ServerCounts{Calls: 1, Notifications: 1, Errors: 2}, s.stats.Snapshot())
			s.end(t)
		}))
	}
}

func refuse(err error) jsonrpc2.BeginFunc {
	return func(context.Context, *jsonrpc2.CallInfo, any) (context.Context, func(error), error) {
		return nil, nil, err
	}
}

type valueKey struct{}

// The context of a method is derived from that of Begin, and has the call in it.
func TestServerBeginMakesTheContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWatch()
		var cancel context.CancelFunc
		s := newService(t, jsonrpc2.ServerOptions{Begin: func(ctx context.Context, call *jsonrpc2.CallInfo, _ any) (context.Context, func(error), error) {
			require.Same(t, call, jsonrpc2.CallFrom(ctx))
			ctx, cancel = context.WithCancel(context.WithValue(ctx, valueKey{}, "begun"))
			return ctx, nil, nil
		}}, w)
		require.True(t, s.offerUnder(jsonrpc2.Delivery{Deadline: time.Now().Add(time.Hour)}, watch("Wait", 1)))
		running := <-w.seen
		require.Equal(t, "begun", running.Value(valueKey{}))
		require.Equal(t, "Watch.Wait", jsonrpc2.CallFrom(running).Method)
		deadline, ok := running.Deadline()
		require.True(t, ok)
		require.Equal(t, jsonrpc2.CallFrom(running).Deadline, deadline)
		cancel()
		synctest.Wait()
		require.ErrorIs(t, running.Err(), context.Canceled)
		s.end(t)
	})
}

// A client's Begin is told of each call and notification, and of each outcome, once.
func TestClientBegin(t *testing.T) {
	for name, test := range map[string]struct {
		end  func(*counted)
		want []string
	}{
		"answered":  {func(c *counted) { c.respond(`"result":"seven"`) }, []string{"Test.Call ended: <nil>", "Test.Note ended: <nil>"}},
		"an error":  {func(c *counted) { c.respond(`"error":{"code":1,"message":"x"}`) }, []string{"Test.Call ended: code 1", "Test.Note ended: <nil>"}},
		"no use":    {func(c *counted) { c.respond(`"result":"seven","error":{"code":1,"message":"x"}`) }, []string{"Test.Call ended: bad reply", "Test.Note ended: <nil>"}},
		"misfit":    {func(c *counted) { c.respond(`"result":7`) }, []string{"Test.Call ended: bad reply", "Test.Note ended: <nil>"}},
		"canceled":  {func(c *counted) { c.cancel() }, []string{"Test.Call ended: canceled", "Test.Note ended: canceled"}},
		"too late":  {func(*counted) { time.Sleep(time.Minute) }, []string{"Test.Call ended: timeout", "Test.Note ended: timeout"}},
		"failed":    {func(c *counted) { c.fail(jsonrpc2.ErrNoServer) }, []string{"Test.Call ended: no server", "Test.Note ended: no server"}},
		"broken":    {func(c *counted) { close(c.conn.messages) }, []string{"Test.Call ended: reply lost", "Test.Note ended: unconfirmed"}},
		"closed":    {func(c *counted) { _ = c.client.Close() }, []string{"Test.Call ended: reply lost", "Test.Note ended: unconfirmed"}},
		"shut down": {func(c *counted) { c.shutDown() }, []string{"Test.Call ended: reply lost", "Test.Note ended: unconfirmed"}},
	} {
		t.Run(name, servicetest.Bubble(func(t *testing.T) {
			j := new(journal)
			c := newCountedWith(t, jsonrpc2.ClientOptions{Begin: j.named})
			require.Equal(t, []string{"call Test.Call", "notification Test.Note"}, j.take())
			test.end(c)
			<-c.ended
			<-c.ended
			synctest.Wait()
			require.ElementsMatch(t, test.want, j.take())
			_ = c.client.Close()
			synctest.Wait()
			require.Empty(t, j.take())
		}))
	}
}

// named is a BeginFunc that notes errors by their sentinels.
func (j *journal) named(_ context.Context, call *jsonrpc2.CallInfo, _ any) (context.Context, func(error), error) {
	kind := "call"
	if call.ID == "" {
		kind = "notification"
	}
	j.note("%s %s", kind, call.Method)
	return nil, func(err error) { j.note("%s ended: %s", call.Method, nameOf(err)) }, nil
}

func nameOf(err error) string {
	var e *jsonrpc2.Error
	if errors.As(err, &e) {
		return fmt.Sprintf("code %d", e.Code)
	}
	for _, s := range []struct {
		err  error
		name string
	}{
		{context.Canceled, "canceled"}, {jsonrpc2.ErrTimeout, "timeout"}, {jsonrpc2.ErrNoServer, "no server"},
		{jsonrpc2.ErrReplyLost, "reply lost"}, {jsonrpc2.ErrUnconfirmed, "unconfirmed"}, {jsonrpc2.ErrBadReply, "bad reply"},
	} {
		if errors.Is(err, s.err) {
			return s.name
		}
	}
	return fmt.Sprint(err)
}

// A quietConn never answers an inquiry.
type quietConn struct{ *scriptedClient }

func (c quietConn) Inquire(ctx context.Context, _ []*jsonrpc2.Request) []error {
	<-ctx.Done()
	return nil
}

// Begin is told of a call that timed out and was asked about when a result that doesn't fit
// ended the client: nothing read its error any more.
func TestBeginLearnsOfOverdueCallsAtTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn, j := newScriptedClient(), new(journal)
		client := jsonrpc2.NewClient(quietConn{conn}, &jsonrpc2.ClientOptions{Begin: j.named, Logger: servicetest.Quiet})
		plain := client.Go("Test.Plain", nil, new(int), nil)
		first := requests(t, <-conn.written)[0]
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		called := make(chan error, 1)
		go func() {
			_, err := jsonrpc2.Call[string](ctx, client, "Test.Call", nil)
			called <- err
		}()
		<-ctx.Done()
		synctest.Wait() // the inquiry is under way
		conn.answer(answerTo(first))
		require.Error(t, (<-plain.Done).Error)
		require.ErrorIs(t, <-called, jsonrpc2.ErrTimeout)
		require.NoError(t, client.Close())
		require.ElementsMatch(t, []string{
			"call Test.Plain", "call Test.Call", "Test.Plain ended: bad reply", "Test.Call ended: timeout",
		}, j.take())
	})
}

// What a client's Begin refuses is not sent, and its caller gets the error as it is.
func TestClientRefuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		refusal := &jsonrpc2.Error{Code: 429, Message: "too many"}
		conn, stats := newScriptedClient(), new(jsonrpc2.ClientStats)
		client := jsonrpc2.NewClient(conn, &jsonrpc2.ClientOptions{Begin: refuse(refusal), Stats: stats})
		defer client.Close()
		_, err := jsonrpc2.Call[int](t.Context(), client, "Test.Call", nil)
		require.Equal(t, refusal, err)
		require.Equal(t, refusal, jsonrpc2.Notify(t.Context(), client, "Test.Call", nil))
		require.EqualError(t, client.Call("Test.Call", nil, nil), refusal.Error())
		require.Empty(t, conn.written)
		require.Equal(t, jsonrpc2.ClientCounts{Calls: 2, Notifications: 1, Unsent: 3}, stats.Snapshot())
	})
}

// A client's Begin adds metadata to a call.
func TestClientBeginAddsMeta(t *testing.T) {
	t.Parallel()
	client := newInfo(t, jsonrpc2.ClientOptions{
		Begin: func(ctx context.Context, call *jsonrpc2.CallInfo, _ any) (context.Context, func(error), error) {
			return jsonrpc2.WithMeta(ctx, jsonrpc2.Meta{"method": call.Method, "had": call.Meta["tenant"]}), nil, nil
		},
	}, jsonrpc2.ServerOptions{})
	ctx := jsonrpc2.WithMeta(t.Context(), jsonrpc2.Meta{"tenant": "7"})
	got, err := jsonrpc2.Call[jsonrpc2.CallInfo](ctx, client, "Info.Get", nil)
	require.NoError(t, err)
	require.Equal(t, jsonrpc2.Meta{"tenant": "7", "had": "7", "method": "Info.Get"}, got.Meta)
	var plain jsonrpc2.CallInfo
	require.NoError(t, client.Call("Info.Get", nil, &plain))
	require.Equal(t, jsonrpc2.Meta{"had": "", "method": "Info.Get"}, plain.Meta)
}

// A panic in what Begin returned costs nobody his answer, and is logged.
func TestPanicAtTheEnd(t *testing.T) {
	t.Parallel()
	log := new(recorder)
	begin := func(context.Context, *jsonrpc2.CallInfo, any) (context.Context, func(error), error) {
		return nil, func(error) { panic("oh") }, nil
	}
	client := newInfo(t, jsonrpc2.ClientOptions{Begin: begin, Logger: slog.New(log)}, jsonrpc2.ServerOptions{Begin: begin})
	_, err := jsonrpc2.Call[float64](t.Context(), client, "Calc.Add", calc.Args{A: 1})
	require.NoError(t, err)
	require.Equal(t, "jsonrpc2: panic in what Begin returned", log.take()[0].Message)
}

// JoinBegin calls one after the other, and tells those that have begun.
func TestJoinBegin(t *testing.T) {
	for name, test := range map[string]struct {
		last jsonrpc2.BeginFunc
		want []string
	}{
		"all begin":       {nil, []string{"first begins", "second begins", "second ended: <nil>", "first ended: <nil>"}},
		"the last panics": {func(context.Context, *jsonrpc2.CallInfo, any) (context.Context, func(error), error) { panic("oh") }, []string{"first begins", "second begins", "second ended: code -32603", "first ended: code -32603"}},
		"the last refuses": {refuse(&jsonrpc2.Error{Code: 401}), []string{
			"first begins", "second begins", "second ended: code 401", "first ended: code 401",
		}},
	} {
		t.Run(name, func(t *testing.T) {
			j := new(journal)
			named := func(name string) jsonrpc2.BeginFunc {
				return func(ctx context.Context, _ *jsonrpc2.CallInfo, _ any) (context.Context, func(error), error) {
					j.note("%s begins", name)
					require.Equal(t, name == "second", ctx.Value(valueKey{}) == "first")
					return context.WithValue(ctx, valueKey{}, name), func(err error) { j.note("%s ended: %s", name, nameOf(err)) }, nil
				}
			}
			begins := []jsonrpc2.BeginFunc{named("first"), named("second")}
			if test.last != nil {
				begins = append(begins, test.last)
			}
			_, end, err := jsonrpc2.JoinBegin(begins...)(t.Context(), &jsonrpc2.CallInfo{}, nil)
			require.Equal(t, test.last != nil, err != nil)
			if err == nil {
				end(nil)
			}
			require.Equal(t, test.want, j.take())
		})
	}
}

// Begin may be called by many callers at once.
func TestBeginConcurrently(t *testing.T) {
	t.Parallel()
	there, here := new(journal), new(journal)
	client := newInfo(t, jsonrpc2.ClientOptions{Begin: here.named}, jsonrpc2.ServerOptions{Begin: there.named})
	const callers, calls = 8, 100
	var wg sync.WaitGroup
	for range callers {
		wg.Go(func() {
			for range calls {
				_, _ = jsonrpc2.Call[float64](t.Context(), client, "Calc.Add", calc.Args{A: 1})
				_ = jsonrpc2.Notify(t.Context(), client, "Calc.Add", calc.Args{A: 1})
			}
		})
	}
	wg.Wait()
	require.NoError(t, jsonrpc2.Shutdown(t.Context(), client))
	require.Len(t, here.take(), 4*callers*calls)
	servicetest.Eventually(t, func() bool {
		there.mu.Lock()
		defer there.mu.Unlock()
		return len(there.lines) == 4*callers*calls
	})
	require.ErrorIs(t, client.Close(), rpc.ErrShutdown)
}
