package jsonrpc2_test

import (
	"bytes"
	"context"
	"encoding/gob"
	"fmt"
	"log/slog"
	"net"
	"net/rpc"
	stdjson "net/rpc/jsonrpc"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/internal/servicetest"
)

// ContextArgs are arguments that see the context of their call.
type ContextArgs struct {
	jsonrpc2.Context
	A, B int
}

// DeepArgs have their Context, and a param, in an embedded struct.
type DeepArgs struct {
	*Base
	B int
}

type Base struct {
	jsonrpc2.Context
	A int
}

// PointerArgs embed a pointer that nobody sets.
type PointerArgs struct {
	*jsonrpc2.Context
	A int
}

type onlyContext struct{ jsonrpc2.Context }

// A Watch has methods that look at the contexts of their calls.
type Watch struct {
	running atomic.Int64
	ran     atomic.Int64
	seen    chan context.Context
}

func newWatch() *Watch { return &Watch{seen: make(chan context.Context, 10)} }

// Wait waits until its context is done, and says why.
func (w *Watch) Wait(args *ContextArgs, reply *string) error {
	w.ran.Add(1)
	w.running.Add(1)
	defer w.running.Add(-1)
	w.seen <- args
	<-args.Done()
	*reply = args.Err().Error()
	return nil
}

// Add returns the sum, and leaves its context behind.
func (w *Watch) Add(args ContextArgs, sum *int) error {
	w.ran.Add(1)
	w.seen <- args
	*sum = args.A + args.B
	return nil
}

func (w *Watch) AddDeep(args *DeepArgs, sum *int) error {
	if args.Base == nil {
		*sum = args.B
		return nil
	}
	w.seen <- args
	*sum = args.A + args.B
	return nil
}

func (w *Watch) Pointer(args *PointerArgs, reply *string) error {
	*reply = fmt.Sprint(args.Context == nil, " ", args.A)
	return nil
}

// Lazy runs for an hour, whatever its context says.
func (w *Watch) Lazy(args *ContextArgs, reply *int) error {
	w.seen <- args
	time.Sleep(time.Hour)
	return nil
}

// watch is a call of a method of Watch.
func watch(method string, id int) string {
	return fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"method":"Watch.%s","params":[1,5]}`, id, method)
}

func watched(id int, result string) string {
	return fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"result":%s}`, id, result)
}

const (
	canceled = `"context canceled"`
	exceeded = `"context deadline exceeded"`
)

// offerUnder is offer with the context and the deadline of another message.
func (s *service) offerUnder(of jsonrpc2.Delivery, body string) bool {
	msg := of
	made := s.message(body)
	msg.Body, msg.Reply = made.Body, made.Reply
	synctest.Wait()
	select {
	case s.conn.messages <- msg:
		synctest.Wait()
		return true
	default:
		return false
	}
}

// end drains the service.
func (s *service) end(t *testing.T) {
	t.Helper()
	s.slow.Open()
	s.drain()
	require.NoError(t, <-s.done)
}

func TestGivenUpIsNotRun(t *testing.T) {
	ended, end := context.WithCancel(context.Background())
	end()
	const settled = "-"
	for name, test := range map[string]struct {
		ctx      context.Context
		deadline time.Duration // from now; 0: none
		body     string
		want     string
		expired  int64
	}{
		"nothing known":          {nil, 0, watch("Add", 1), watched(1, "6"), 0},
		"in time":                {context.Background(), 1, watch("Add", 1), watched(1, "6"), 0},
		"at the deadline":        {nil, -1, watch("Add", 1), settled, 1},
		"long after":             {nil, -time.Hour, watch("Add", 1), settled, 1},
		"client gone":            {ended, 0, watch("Add", 1), settled, 1},
		"client gone in time":    {ended, time.Hour, watch("Add", 1), settled, 1},
		"here, but too late":     {context.Background(), -time.Hour, watch("Add", 1), settled, 1},
		"no such method":         {ended, 0, watch("Nothing", 1), settled, 1},
		"notification":           {ended, 0, `{"jsonrpc":"2.0","method":"Watch.Add"}`, settled, 1},
		"batch":                  {nil, -time.Hour, "[" + watch("Add", 1) + "," + watch("Add", 2) + "]", settled, 2},
		"batch of notifications": {ended, 0, `[{"jsonrpc":"2.0","method":"Watch.Add"}]`, settled, 1},
	} {
		t.Run(name, servicetest.Bubble(func(t *testing.T) {
			w := newWatch()
			log := new(recorder)
			s := newService(t, jsonrpc2.ServerOptions{Logger: slog.New(log)}, w)
			var deadline time.Time
			if test.deadline != 0 {
				deadline = time.Now().Add(test.deadline)
			}
			require.True(t, s.offerUnder(jsonrpc2.Delivery{Context: test.ctx, Deadline: deadline}, test.body))
			require.Equal(t, test.want, s.lastReply(t))
			got := s.stats.Snapshot()
			require.Equal(t, test.expired, got.Expired)
			require.Equal(t, test.expired == 0, w.ran.Load() == 1)
			require.Equal(t, w.ran.Load(), got.Answered)
			require.Equal(t, got.Answered+got.Expired, got.Calls+got.Notifications)
			if test.expired > 0 {
				require.Equal(t, "jsonrpc2: request whose caller has given up not run", log.take()[0].Message)
			}
			require.Empty(t, log.take())

			require.True(t, s.offer(watch("Add", 7)), "its place is free")
			require.Equal(t, watched(7, "6"), s.lastReply(t))
			s.end(t)
		}))
	}
}

// A transport that sets NotRun learns that nothing in a message was begun. Otherwise it
// would take an expired notification for one that has run.
func TestTransportLearnsOfWhatWasNotRun(t *testing.T) {
	const notification = `{"jsonrpc":"2.0","method":"Watch.Add","params":[1]}`
	ended, end := context.WithCancel(context.Background())
	end()
	for name, test := range map[string]struct {
		ctx    context.Context
		body   string
		notRun int64
		reply  string
	}{
		"a call":                   {ended, watch("Add", 1), 1, ""},
		"a notification":           {ended, notification, 1, ""},
		"a batch":                  {ended, "[" + watch("Add", 1) + "," + notification + "]", 1, ""},
		"a batch with a bad item":  {ended, "[1," + notification + "]", 1, ""},
		"a call in time":           {nil, watch("Add", 1), 0, watched(1, "6")},
		"a notification in time":   {nil, notification, 0, "-"},
		"a response":               {ended, `{"jsonrpc":"2.0","id":1,"result":1}`, 0, "-"},
		"a request that is broken": {ended, `{"jsonrpc":"2.0","id":1}`, 0, `{"jsonrpc":"2.0","id":1,"error":{"code":-32600,"message":"invalid request: member \"method\" must be a string"}}`},
	} {
		t.Run(name, servicetest.Bubble(func(t *testing.T) {
			s := newService(t, jsonrpc2.ServerOptions{}, newWatch())
			var notRun atomic.Int64
			require.True(t, s.offerUnder(jsonrpc2.Delivery{Context: test.ctx, NotRun: func() { notRun.Add(1) }}, test.body))
			require.Equal(t, test.reply, s.lastReply(t))
			require.Equal(t, test.notRun, notRun.Load())
			s.end(t)
		}))
	}
}

// A batch that waits for places may be given up meanwhile: what ran is answered,
// and so is each of its other calls, as the specification has it.
func TestBatchIsGivenUpInBetween(t *testing.T) {
	for name, giveUp := range map[string]func(end func()){
		"by its deadline": func(func()) { time.Sleep(time.Minute) },
		"by its client":   func(end func()) { end() },
	} {
		t.Run(name, servicetest.Bubble(func(t *testing.T) {
			s := newService(t, jsonrpc2.ServerOptions{MaxInFlight: 2})
			ctx, end := context.WithCancel(context.Background())
			defer end()
			require.True(t, s.offerUnder(jsonrpc2.Delivery{Context: ctx, Deadline: time.Now().Add(time.Minute)}, batchOf(pass, 5)))
			require.EqualValues(t, 2, s.slow.Running.Load())
			giveUp(end)
			synctest.Wait()
			require.Empty(t, s.lastReply(t))
			s.slow.Gate <- struct{}{}
			synctest.Wait()
			require.EqualValues(t, 1, s.slow.Running.Load(), "no further one is begun")
			require.Empty(t, s.lastReply(t), "one still runs")
			require.Equal(t, jsonrpc2.ServerCounts{Calls: 5, Answered: 1, Expired: 3, InFlight: 1}, s.stats.Snapshot())
			s.slow.Gate <- struct{}{}
			requireSameSet(t, "["+strings.Trim(batchOf(passed, 2), "[]")+","+notRun(2)+","+notRun(3)+","+notRun(4)+"]", s.lastReply(t))
			require.Equal(t, jsonrpc2.ServerCounts{Calls: 5, Answered: 2, Expired: 3}, s.stats.Snapshot())
			s.end(t)
		}))
	}
}

func notRun(id int) string {
	return fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"error":{"code":-32000,"message":"not run: its caller had given up"}}`, id)
}

func TestContextEnds(t *testing.T) {
	const grace = 7 * time.Second
	type key struct{}
	for name, test := range map[string]struct {
		deadline time.Duration
		give     bool          // a context to the message
		end      time.Duration // of that context
		drain    time.Duration
		grace    time.Duration
		want     string
		after    time.Duration
	}{
		"at the deadline":                 {deadline: time.Minute, want: exceeded, after: time.Minute},
		"at the deadline, client there":   {deadline: time.Minute, give: true, want: exceeded, after: time.Minute},
		"client gone":                     {give: true, end: time.Second, want: canceled, after: time.Second},
		"client gone before the deadline": {deadline: time.Minute, give: true, end: time.Second, want: canceled, after: time.Second},
		"with the grace":                  {drain: time.Minute, grace: grace, want: canceled, after: time.Minute + grace},
		"with the grace, client there":    {give: true, drain: time.Minute, grace: grace, want: canceled, after: time.Minute + grace},
		"with the default grace":          {drain: time.Minute, want: canceled, after: time.Minute + jsonrpc2.DefaultGrace},
		"without grace":                   {drain: time.Minute, grace: -1, want: canceled, after: time.Minute},
		"in the grace, at the deadline":   {deadline: 61 * time.Second, drain: time.Minute, grace: grace, want: exceeded, after: 61 * time.Second},
		"in the grace, client gone":       {give: true, end: 61 * time.Second, drain: time.Minute, grace: grace, want: canceled, after: 61 * time.Second},
	} {
		t.Run(name, servicetest.Bubble(func(t *testing.T) {
			w := newWatch()
			s := newService(t, jsonrpc2.ServerOptions{Grace: test.grace}, w)
			begin := time.Now()
			var deadline time.Time
			if test.deadline > 0 {
				deadline = begin.Add(test.deadline)
			}
			var ctx context.Context
			if test.give {
				var end context.CancelFunc
				ctx, end = context.WithCancel(context.WithValue(context.Background(), key{}, "of the client"))
				defer end()
				if test.end > 0 {
					time.AfterFunc(test.end, end)
				}
			}
			if test.drain > 0 {
				time.AfterFunc(test.drain, s.drain)
			}
			require.True(t, s.offerUnder(jsonrpc2.Delivery{Context: ctx, Deadline: deadline}, watch("Wait", 1)))
			seen := <-w.seen
			until, ok := seen.Deadline()
			require.Equal(t, !deadline.IsZero(), ok)
			require.True(t, until.Equal(deadline), until)
			require.NoError(t, seen.Err())
			if test.give {
				require.Equal(t, "of the client", seen.Value(key{}))
			}
			<-seen.Done()
			require.Equal(t, test.after, time.Since(begin))
			require.Equal(t, watched(1, test.want), s.lastReply(t))
			s.end(t)
		}))
	}
}

// Nothing is left of a context when its method has returned: nobody else would
// end it.
func TestContextEndsWithItsMethod(t *testing.T) {
	for name, ctx := range map[string]context.Context{"client unknown": nil, "client known": context.Background()} {
		t.Run(name, servicetest.Bubble(func(t *testing.T) {
			w := newWatch()
			s := newService(t, jsonrpc2.ServerOptions{}, w)
			require.True(t, s.offerUnder(jsonrpc2.Delivery{Context: ctx, Deadline: time.Now().Add(time.Hour)}, watch("Add", 1)))
			require.Equal(t, watched(1, "6"), s.lastReply(t))
			require.ErrorIs(t, (<-w.seen).Err(), context.Canceled)
			s.end(t)
		}))
	}
}

// Each item of a batch has its own context.
func TestContextOfEachItem(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWatch()
		s := newService(t, jsonrpc2.ServerOptions{}, w)
		deadline := time.Now().Add(time.Minute)
		require.True(t, s.offerUnder(jsonrpc2.Delivery{Deadline: deadline}, "["+watch("Add", 1)+","+watch("Wait", 2)+"]"))
		first, second := <-w.seen, <-w.seen
		if first.Err() == nil {
			first, second = second, first
		}
		require.ErrorIs(t, first.Err(), context.Canceled)
		require.NoError(t, second.Err())
		<-second.Done()
		require.Equal(t, deadline, time.Now())
		requireSameSet(t, "["+watched(1, "6")+","+watched(2, exceeded)+"]", s.lastReply(t))
		s.end(t)
	})
}

// A context that begins when the grace is over is done at once.
func TestContextAfterTheGrace(t *testing.T) {
	for name, ctx := range map[string]context.Context{"client unknown": nil, "client known": context.Background()} {
		t.Run(name, servicetest.Bubble(func(t *testing.T) {
			w := newWatch()
			s := newService(t, jsonrpc2.ServerOptions{MaxInFlight: 1, Grace: time.Second}, w)
			require.True(t, s.offerUnder(jsonrpc2.Delivery{Context: ctx}, "["+pass(1)+","+watch("Wait", 2)+"]"))
			s.drain()
			time.Sleep(time.Minute)
			s.slow.Open()
			require.NoError(t, <-s.done)
			requireSameSet(t, "["+passed(1)+","+watched(2, canceled)+"]", s.lastReply(t))
		}))
	}
}

// A method that does not look at its context is waited for and answered.
func TestGraceWaitsForLazyMethods(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWatch()
		s := newService(t, jsonrpc2.ServerOptions{Grace: time.Second}, w)
		begin := time.Now()
		require.True(t, s.offer(watch("Lazy", 1)))
		s.drain()
		<-(<-w.seen).Done()
		require.Equal(t, time.Second, time.Since(begin))
		require.NoError(t, <-s.done)
		require.Equal(t, time.Hour, time.Since(begin))
		require.Equal(t, watched(1, "0"), s.lastReply(t))
	})
}

// A server waits for the end of its ctx. Neither the end of the server nor that of the ctx
// leaves a goroutine behind.
func TestGraceLeavesNothing(t *testing.T) {
	t.Run("closed before the drain", servicetest.Bubble(func(t *testing.T) {
		s := newService(t, jsonrpc2.ServerOptions{})
		close(s.conn.messages)
		require.NoError(t, <-s.done)
		s.drain() // of what is gone; synctest finds what waits
	}))
	t.Run("drained", servicetest.Bubble(func(t *testing.T) {
		s := newService(t, jsonrpc2.ServerOptions{})
		begin := time.Now()
		s.drain()
		require.NoError(t, <-s.done)
		synctest.Wait()
		require.Equal(t, begin, time.Now(), "nobody waits for the grace")
	}))
	t.Run("closed twice", servicetest.Bubble(func(t *testing.T) {
		for _, drained := range []bool{false, true} {
			ctx, drain := context.WithCancel(context.Background())
			codec := jsonrpc2.NewServerCodec(ctx, newScriptedServer(), nil)
			if drained {
				drain()
			}
			require.NoError(t, codec.Close())
			require.NoError(t, codec.Close())
			drain()
		}
	}))
}

// A method's context has the values of the ctx given to Serve, if its message has no context.
func TestContextValues(t *testing.T) {
	type key struct{}
	w := newWatch()
	conn := newScriptedServer()
	ctx, drain := context.WithCancel(context.WithValue(context.Background(), key{}, "of the server"))
	defer drain()
	done := make(chan error)
	go func() {
		done <- jsonrpc2.Serve(ctx, serverOf(t, w), conn, &jsonrpc2.ServerOptions{Logger: servicetest.Quiet})
	}()
	conn.messages <- jsonrpc2.Delivery{Body: []byte(watch("Add", 1)), Reply: func([]byte) error { return nil }}
	require.Equal(t, "of the server", (<-w.seen).Value(key{}))
	drain()
	require.NoError(t, <-done)
}

func TestContextIsNoParam(t *testing.T) {
	for _, test := range []struct{ method, params, want string }{
		{"Add", `[1,5]`, `6`},
		{"Add", `{"A":1,"B":5}`, `6`},
		{"Add", `[{"A":1,"B":5}]`, `6`}, // as net/rpc/jsonrpc sends it
		{"Add", ``, `0`},
		{"Add", `[]`, `0`},
		{"Add", `{}`, `0`},
		{"Add", `null`, `0`},
		{"Add", `{"A":1,"Context":{"Gob":{}},"Gob":5,"ctx":6}`, `1`},
		{"Add", `[1,5,7]`, `error`},
		{"AddDeep", `[1,5]`, `6`},
		{"AddDeep", `{"A":1,"B":5}`, `6`},
		{"AddDeep", `{"B":5}`, `5`},
		{"Pointer", `[5]`, `"true 5"`},
		{"Pointer", `{"A":5}`, `"true 5"`},
	} {
		t.Run(test.method+" "+test.params, servicetest.Bubble(func(t *testing.T) {
			w := newWatch()
			s := newService(t, jsonrpc2.ServerOptions{}, w)
			params := test.params
			if params != "" {
				params = `,"params":` + params
			}
			deadline := time.Now().Add(time.Hour)
			require.True(t, s.offerUnder(jsonrpc2.Delivery{Deadline: deadline}, `{"jsonrpc":"2.0","id":1,"method":"Watch.`+test.method+`"`+params+`}`))
			if test.want == "error" {
				require.Contains(t, s.lastReply(t), "invalid params: 3 elements where 2 are taken")
			} else {
				require.Equal(t, watched(1, test.want), s.lastReply(t))
			}
			s.end(t)
			close(w.seen)
			for seen := range w.seen {
				until, ok := seen.Deadline()
				require.True(t, ok, "it is set, whatever the params")
				require.Equal(t, deadline, until)
			}
		}))
	}
}

func TestContextIsNotSent(t *testing.T) {
	for name, test := range map[string]struct {
		args       any
		positional bool
		want       string
	}{
		"named":             {ContextArgs{A: 1, B: 5}, false, `{"A":1,"B":5}`},
		"positional":        {ContextArgs{A: 1, B: 5}, true, `[1,5]`},
		"pointer":           {&ContextArgs{A: 1, B: 5}, true, `[1,5]`},
		"deep, named":       {DeepArgs{&Base{A: 1}, 5}, false, `{"A":1,"B":5}`},
		"deep, positional":  {DeepArgs{&Base{A: 1}, 5}, true, `[1,5]`},
		"nil pointer":       {PointerArgs{A: 5}, true, `[5]`},
		"nil pointer named": {PointerArgs{A: 5}, false, `{"A":5}`},
		"alone, named":      {onlyContext{}, false, ``},
		"alone, positional": {onlyContext{}, true, ``},
	} {
		t.Run(name, servicetest.Bubble(func(t *testing.T) {
			p := newPeer(t, jsonrpc2.ClientOptions{Positional: test.positional})
			p.client.Go("Test.Call", test.args, new(int), nil)
			require.Equal(t, test.want, string((<-p.requests).Params))
		}))
	}
}

// A method's arguments are sent on with nothing of the context they came under.
func TestContextIsNotPassedOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWatch()
		s := newService(t, jsonrpc2.ServerOptions{}, w)
		require.True(t, s.offer(watch("Add", 1)))
		args := (<-w.seen).(ContextArgs)
		require.Error(t, args.Err())
		for positional, want := range map[bool]string{false: `{"A":1,"B":5}`, true: `[1,5]`} {
			p := newPeer(t, jsonrpc2.ClientOptions{Positional: positional})
			p.client.Go("Test.Call", args, new(int), nil)
			require.Equal(t, want, string((<-p.requests).Params))
		}
		var sent bytes.Buffer
		require.NoError(t, gob.NewEncoder(&sent).Encode(args))
		var got ContextArgs
		require.NoError(t, gob.NewDecoder(&sent).Decode(&got))
		require.Equal(t, ContextArgs{A: 1, B: 5}, got)
		s.end(t)
	})
}

// Types with a Context serve over net/rpc's own codecs, which set none.
func TestContextWithCodecsOfNetRPC(t *testing.T) {
	for name, codec := range map[string]struct {
		serve  func(*rpc.Server, net.Conn)
		client func(net.Conn) *rpc.Client
	}{
		"gob": {
			func(server *rpc.Server, conn net.Conn) { server.ServeConn(conn) },
			func(conn net.Conn) *rpc.Client { return rpc.NewClient(conn) },
		},
		"jsonrpc": {
			func(server *rpc.Server, conn net.Conn) { server.ServeCodec(stdjson.NewServerCodec(conn)) },
			func(conn net.Conn) *rpc.Client { return stdjson.NewClient(conn) },
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWatch()
			there, here := net.Pipe()
			served := make(chan struct{})
			go func() {
				defer close(served)
				codec.serve(serverOf(t, w), there)
			}()
			client := codec.client(here)
			for method, args := range map[string]any{
				"Watch.Add":     ContextArgs{A: 1, B: 5},
				"Watch.AddDeep": &DeepArgs{&Base{A: 1}, 5},
			} {
				var sum int
				require.NoError(t, client.Call(method, args, &sum))
				require.Equal(t, 6, sum)
				seen := <-w.seen
				_, ok := seen.Deadline()
				require.False(t, ok)
				require.Nil(t, seen.Done())
				require.NoError(t, seen.Err())
				require.Nil(t, seen.Value("key"))
			}
			require.NoError(t, client.Close())
			<-served
		})
	}
}

// Over gob, arguments with a Context and arguments without one can be decoded into each
// other.
func TestContextInGobIsOptional(t *testing.T) {
	type plain struct{ A, B int }
	var buf bytes.Buffer
	require.NoError(t, gob.NewEncoder(&buf).Encode(plain{1, 5}))
	var with ContextArgs
	require.NoError(t, gob.NewDecoder(&buf).Decode(&with))
	require.Equal(t, ContextArgs{A: 1, B: 5}, with)
	buf.Reset()
	require.NoError(t, gob.NewEncoder(&buf).Encode(with))
	var without plain
	require.NoError(t, gob.NewDecoder(&buf).Decode(&without))
	require.Equal(t, plain{1, 5}, without)
	buf.Reset()
	require.NoError(t, gob.NewEncoder(&buf).Encode(onlyContext{}))
	require.NoError(t, gob.NewDecoder(&buf).Decode(new(onlyContext)))
}
