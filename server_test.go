package jsonrpc2_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/rpc"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/calc"
	"github.com/micromessaging/jsonrpc2/internal/servicetest"
)

// A service is a Serve under way on a scriptedConn.
type service struct {
	conn  *scriptedServer
	slow  *servicetest.Slow
	stats *jsonrpc2.ServerStats
	drain context.CancelFunc
	done  chan error

	mu      sync.Mutex
	replies []*reply
}

// A reply is what became of one message.
type reply struct {
	times int
	body  string // "-" if nil
}

// newService is for use in a synctest bubble. It serves more, too.
func newService(t *testing.T, opts jsonrpc2.ServerOptions, more ...any) *service {
	s := &service{conn: newScriptedServer(), slow: servicetest.NewSlow(), done: make(chan error, 1)}
	if opts.Stats == nil {
		opts.Stats = new(jsonrpc2.ServerStats)
	}
	s.stats = opts.Stats
	if opts.Logger == nil {
		opts.Logger = servicetest.Quiet
	}
	ctx, drain := context.WithCancel(context.Background())
	s.drain = drain
	go func() { s.done <- jsonrpc2.Serve(ctx, newServer(t, append(more, s.slow)...), s.conn, &opts) }()
	t.Cleanup(func() { // also of a test that failed
		drain()
		s.slow.Open()
	})
	return s
}

// offer offers a message, and reports whether it was taken.
func (s *service) offer(body string) bool {
	synctest.Wait()
	select {
	case s.conn.messages <- s.message(body):
		synctest.Wait()
		return true
	default:
		return false
	}
}

func (s *service) message(body string) jsonrpc2.Delivery {
	r := new(reply)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.replies = append(s.replies, r)
	return jsonrpc2.Delivery{Body: []byte(body), Reply: func(body []byte) error {
		s.mu.Lock()
		defer s.mu.Unlock()
		r.times++
		r.body = "-"
		if body != nil {
			r.body = string(body)
		}
		return nil
	}}
}

// lastReply returns the reply to the message offered last, "" if there is none
// yet.
func (s *service) lastReply(t *testing.T) string {
	t.Helper()
	synctest.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.replies[len(s.replies)-1]
	require.LessOrEqual(t, r.times, 1)
	return r.body
}

func pass(id int) string {
	return fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"method":"Slow.Wait","params":[%d]}`, id, id)
}

func passed(id int) string {
	return fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"result":%d}`, id, id)
}

func passNotification(id int) string {
	return fmt.Sprintf(`{"jsonrpc":"2.0","method":"Slow.Wait","params":[%d]}`, id)
}

func batchOf(item func(id int) string, n int) string {
	items := make([]string, n)
	for i := range items {
		items[i] = item(i)
	}
	return "[" + strings.Join(items, ",") + "]"
}

func TestMaxInFlightStopsReading(t *testing.T) {
	for name, limit := range map[string]int{"default": 0, "set": 3} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newService(t, jsonrpc2.ServerOptions{MaxInFlight: limit})
				want := limit
				if limit == 0 {
					want = 256
				}
				for i := range want {
					message := pass(i)
					if i%2 == 1 { // notifications run, too
						message = passNotification(i)
					}
					require.True(t, s.offer(message))
				}
				require.EqualValues(t, want, s.slow.Running.Load())
				reads := s.conn.reading.Load()
				require.False(t, s.offer(pass(want)))
				require.Equal(t, reads, s.conn.reading.Load(), "it does not even read")

				s.slow.Gate <- struct{}{}
				require.True(t, s.offer(pass(want)))
				require.False(t, s.offer(pass(want)))
				s.slow.Open()
				require.True(t, s.offer(pass(want)))
				require.Equal(t, passed(want), s.lastReply(t))
				s.drain()
				require.NoError(t, <-s.done)
			})
		})
	}
}

func TestMaxInFlightCountsItems(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(t, jsonrpc2.ServerOptions{MaxInFlight: 3})
		require.True(t, s.offer(batchOf(pass, 5)))
		require.EqualValues(t, 3, s.slow.Running.Load())
		s.slow.Gate <- struct{}{}
		synctest.Wait()
		require.EqualValues(t, 3, s.slow.Running.Load(), "the fourth runs")
		require.False(t, s.offer(pass(9)))
		require.Empty(t, s.lastReply(t))
		s.slow.Gate <- struct{}{}
		s.slow.Gate <- struct{}{}
		require.True(t, s.offer(pass(9)), "two of five are left")
		require.False(t, s.offer(pass(10)))
		s.slow.Open()
		synctest.Wait()
		s.drain()
		require.NoError(t, <-s.done)
		requireSameSet(t, batchOf(passed, 5), s.replies[0].body)
	})
}

func requireSameSet(t *testing.T, want, got string) {
	t.Helper()
	require.NotEmpty(t, got)
	require.True(t, matches([]byte(want), []byte(got)), "want: %s\ngot:  %s", want, got)
}

// What is no call takes no place.
func TestInvalidTakesNoPlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(t, jsonrpc2.ServerOptions{MaxInFlight: 2})
		require.True(t, s.offer(pass(1)))
		for range 5 {
			require.True(t, s.offer(`{}`))
			require.True(t, s.offer(`nonsense`))
			require.True(t, s.offer(`[1,2,{"jsonrpc":"2.0","id":1,"result":1}]`))
			require.True(t, s.offer(`{"jsonrpc":"2.0","id":1,"result":1}`))
			require.True(t, s.offer(`{"jsonrpc":"2.0","id":1,"method":"gone"}`))
		}
		require.True(t, s.offer(pass(2)))
		s.slow.Open()
		s.drain()
		require.NoError(t, <-s.done)
	})
}

func TestDrainWhileReading(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(t, jsonrpc2.ServerOptions{})
		require.True(t, s.offer(pass(1)))
		s.drain()
		synctest.Wait()
		require.False(t, s.offer(pass(2)))
		s.replies = s.replies[:1]
		requireServing(t, s, "a call runs")
		s.slow.Open()
		require.NoError(t, <-s.done)
		require.Equal(t, passed(1), s.lastReply(t))
		require.ErrorIs(t, s.conn.Err(), net.ErrClosed, "Serve closed the Conn")
	})
}

func requireServing(t *testing.T, s *service, why string) {
	t.Helper()
	synctest.Wait()
	select {
	case err := <-s.done:
		require.Failf(t, "Serve returned", "though %s: %v", why, err)
	default:
	}
}

func TestDrainAtTheLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(t, jsonrpc2.ServerOptions{MaxInFlight: 1})
		require.True(t, s.offer(pass(1)))
		require.False(t, s.offer(pass(2)))
		s.drain()
		requireServing(t, s, "a call runs")
		s.slow.Open()
		require.NoError(t, <-s.done)
		require.Equal(t, passed(1), s.replies[0].body)
	})
}

// A batch that has begun is finished: it has one reply.
func TestDrainInBatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(t, jsonrpc2.ServerOptions{MaxInFlight: 1})
		require.True(t, s.offer(batchOf(pass, 3)))
		s.drain()
		for range 3 {
			requireServing(t, s, "the batch has begun")
			require.Empty(t, s.lastReply(t))
			s.slow.Gate <- struct{}{}
		}
		require.NoError(t, <-s.done)
		requireSameSet(t, batchOf(passed, 3), s.lastReply(t))
	})
}

// A byte order mark is no error of a message, whatever carries it.
func TestByteOrderMark(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(t, jsonrpc2.ServerOptions{})
		require.True(t, s.offer("\ufeff"+pass(1)))
		s.slow.Open()
		require.Equal(t, passed(1), s.lastReply(t))
		s.end(t)
	})
	requireHeader(t, "\ufeff"+`{"id":"a","reply_to":"b"}`, header{ID: "a", ReplyTo: "b", Answer: true})
}

// A bare name that can't mean anything says what it would need.
func TestMethodNotFound(t *testing.T) {
	const hint = " (the server has no Service for names without a dot)"
	for _, test := range []struct {
		opts   jsonrpc2.ServerOptions
		method string
		want   string
	}{
		{jsonrpc2.ServerOptions{}, "add", "method not found: add" + hint},
		{jsonrpc2.ServerOptions{}, "calc.add", "method not found: calc.add"},
		{jsonrpc2.ServerOptions{Service: "Calc"}, "multiply", "method not found: multiply"},
		{jsonrpc2.ServerOptions{Name: strings.ToUpper}, "add", "method not found: add"},
		{jsonrpc2.ServerOptions{}, "rpc.x", "method not found: rpc.x"},
		{jsonrpc2.ServerOptions{Service: "Calc"}, "rpc.add", "method not found: rpc.add"},
		{jsonrpc2.ServerOptions{Name: func(string) string { return "Calc.Add" }}, "rpc.x", "method not found: rpc.x"},
	} {
		synctest.Test(t, func(t *testing.T) {
			s := newService(t, test.opts)
			require.True(t, s.offer(`{"jsonrpc":"2.0","id":1,"method":"`+test.method+`"}`))
			require.JSONEq(t, `{"jsonrpc":"2.0","id":1,"error":{"code":-32601,"message":"`+test.want+`"}}`, s.lastReply(t))
			s.end(t)
		})
	}
}

func TestServeReturns(t *testing.T) {
	broken := errors.New("broken")
	done, cancel := context.WithCancel(t.Context())
	cancel()
	for name, test := range map[string]struct {
		ctx  context.Context
		err  error // of the Conn
		want error
	}{
		"other side's end":         {t.Context(), io.EOF, nil},
		"Conn's error":             {t.Context(), broken, broken},
		"unexpected EOF":           {t.Context(), io.ErrUnexpectedEOF, io.ErrUnexpectedEOF},
		"closed":                   {t.Context(), net.ErrClosed, net.ErrClosed},
		"drain":                    {done, context.Canceled, nil},
		"drain, wrapped":           {done, fmt.Errorf("read: %w", context.Canceled), nil},
		"Conn's error, in a drain": {done, broken, broken},
		"somebody else's context":  {t.Context(), context.Canceled, context.Canceled},
	} {
		t.Run(name, func(t *testing.T) {
			conn := &failingConn{scriptedServer: newScriptedServer(), err: test.err}
			err := jsonrpc2.Serve(test.ctx, newServer(t), conn, nil)
			require.ErrorIs(t, err, test.want)
			require.Equal(t, 1, conn.closes)
		})
	}
}

type failingConn struct {
	*scriptedServer
	err    error
	closes int
}

func (c *failingConn) ReadRequest(context.Context) (jsonrpc2.Delivery, error) {
	return jsonrpc2.Delivery{}, c.err
}

func (c *failingConn) Close() error {
	c.closes++
	return nil
}

var registerDefault = sync.OnceValue(func() error { return rpc.RegisterName("DefaultCalc", calc.Calc{}) })

func TestServeDefaultServer(t *testing.T) {
	require.NoError(t, registerDefault())
	there, here := net.Pipe()
	done := make(chan error, 1)
	go func() { done <- jsonrpc2.Serve(t.Context(), nil, jsonrpc2.NewStreamConn(there), nil) }()
	client := jsonrpc2.NewClient(jsonrpc2.NewStreamConn(here), nil)
	sum, err := jsonrpc2.Call[float64](t.Context(), client, "DefaultCalc.Add", calc.Args{A: 1, B: 5.1})
	require.NoError(t, err)
	require.Equal(t, 6.1, sum)
	require.NoError(t, client.Close())
	require.NoError(t, <-done)
}

// ServeRequest leaves the codec open. The codec's Close sends the answers, and leaves nothing
// behind.
func TestServeRequest(t *testing.T) {
	there, here := tcpPair(t)
	defer here.Close()
	codec := jsonrpc2.NewServerCodec(t.Context(), jsonrpc2.NewStreamConn(there), nil)
	for range 2 {
		_, err := io.WriteString(here, addOne)
		require.NoError(t, err)
		require.NoError(t, newServer(t).ServeRequest(codec))
	}
	require.NoError(t, codec.Close())
	answers, err := io.ReadAll(here)
	require.NoError(t, err)
	require.Equal(t, strings.Repeat(`{"jsonrpc":"2.0","id":1,"result":6.1}`+"\n", 2), string(answers))
}

// The codecs work without Serve and NewClient, in net/rpc's own ServeCodec and
// NewClientWithCodec.
func TestCodecsInNetRPC(t *testing.T) {
	there, here := net.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		newServer(t).ServeCodec(jsonrpc2.NewServerCodec(t.Context(), jsonrpc2.NewStreamConn(there), nil))
	}()
	client := rpc.NewClientWithCodec(jsonrpc2.NewClientCodec(jsonrpc2.NewStreamConn(here), nil))
	var sum float64
	require.NoError(t, client.Call("Calc.Add", calc.Args{A: 1, B: 5.1}, &sum))
	require.Equal(t, 6.1, sum)
	require.NoError(t, client.Close())
	<-done
}

// Whatever a message is, it is replied to once, with an answer or with none.
func TestReplyOnce(t *testing.T) {
	const ok, none = `"result"`, "-"
	for body, want := range map[string]string{
		`{"jsonrpc":"2.0","id":1,"method":"Calc.Add"}`:                                       ok,
		`{"jsonrpc":"2.0","method":"Calc.Add"}`:                                              none,
		`{"jsonrpc":"2.0","method":"Gone.Add"}`:                                              none,
		`{"jsonrpc":"2.0","method":"Calc.Add","params":["x"]}`:                               none,
		`{"jsonrpc":"2.0","method":"Odd.NaN"}`:                                               none,
		`{"jsonrpc":"2.0","method":"Odd.Fail"}`:                                              none,
		`{"jsonrpc":"2.0","id":1,"result":5}`:                                                none,
		`[{"jsonrpc":"2.0","id":1,"result":5}]`:                                              none,
		`[{"jsonrpc":"2.0","method":"Calc.Add"}]`:                                            none,
		`[{"jsonrpc":"2.0","id":1,"result":5},{"jsonrpc":"2.0","id":1,"method":"Calc.Add"}]`: ok,
		``:         "-32700",
		`nonsense`: "-32700",
		`[]`:       "-32600",
		`{}`:       "-32600",
		`[{}]`:     "-32600",
		`[{},`:     "-32700",
		`{"jsonrpc":"2.0","id":1,"method":"Odd.NaN"}`:   "-32603",
		`{"jsonrpc":"2.0","id":1,"method":"Gone.Gone"}`: "-32601",
		batchOf(func(int) string { return "1" }, 1001):  "-32600",
		strings.Repeat("[", 501):                        "-32600",
		`"` + strings.Repeat("x", 4<<20) + `"`:          "-32600",
	} {
		synctest.Test(t, func(t *testing.T) {
			s := newService(t, jsonrpc2.ServerOptions{})
			require.True(t, s.offer(body))
			got := s.lastReply(t)
			require.Equal(t, 1, s.replies[0].times, "%.100s", body)
			if want == none {
				require.Equal(t, none, got)
			}
			require.Contains(t, got, want)
			s.drain()
			require.NoError(t, <-s.done)
			require.Equal(t, 1, s.replies[0].times, "%.100s", body)
		})
	}
}

// A message that the transport gives an Err for is settled and not run. It is answered if
// Err is an *Error.
func TestServerMessageErr(t *testing.T) {
	dead := fmt.Errorf("taken too often: %w", &jsonrpc2.Error{Code: -32000, Message: "dead"})
	const answer = `{"jsonrpc":"2.0","id":7,"error":{"code":-32000,"message":"dead"}}`
	for _, c := range []struct {
		name, body, want string
		err              error
	}{
		{name: "nothing to answer with", body: pass(1), err: errors.New("nobody to answer to"), want: "-"},
		{name: "call", body: `{"jsonrpc":"2.0","id":7,"method":"Slow.Wait"}`, err: dead, want: answer},
		{name: "notification", body: `{"jsonrpc":"2.0","method":"Slow.Wait"}`, err: dead, want: "-"},
		{name: "response", body: `{"jsonrpc":"2.0","id":7,"result":1}`, err: dead, want: "-"},
		{
			name: "batch", err: dead, want: "[" + answer + "," + answer + "]",
			body: `[{"jsonrpc":"2.0","id":7,"method":"Slow.Wait"},{"jsonrpc":"2.0","method":"Slow.Wait"},{"jsonrpc":"2.0","id":7,"method":"x"}]`,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newService(t, jsonrpc2.ServerOptions{})
				msg := s.message(c.body)
				msg.Err = c.err
				s.conn.messages <- msg
				require.Equal(t, c.want, s.lastReply(t))
				require.Zero(t, s.slow.Running.Load())
				require.EqualValues(t, 1, s.stats.Snapshot().Dropped)
				s.drain()
				require.NoError(t, <-s.done)
			})
		})
	}
}

// The responses to a batch are one message, which has a limit.
func TestBatchResponsesExceedLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(t, jsonrpc2.ServerOptions{MaxMessageSize: 1000})
		require.True(t, s.offer(batchOf(func(id int) string {
			return fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"method":"Long.Repeat","params":[400]}`, id)
		}, 4)))
		got := s.lastReply(t)
		require.Len(t, elements([]byte(got)), 4)
		require.LessOrEqual(t, len(got), 1000)
		require.Equal(t, 1, strings.Count(got, `"result"`))
		require.Equal(t, 3, strings.Count(got, `"code":-32603,"message":"internal error: the batch's responses exceed the limit of 1000 bytes"`))
		require.EqualValues(t, 3, s.stats.Snapshot().Errors)
		for id := range 4 {
			require.Contains(t, got, fmt.Sprintf(`"id":%d,`, id))
		}
		s.drain()
		require.NoError(t, <-s.done)
	})
}

func TestServerStats(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(t, jsonrpc2.ServerOptions{})
		for _, body := range []string{
			`{"jsonrpc":"2.0","id":1,"method":"Calc.Add"}`,
			`[{"jsonrpc":"2.0","id":1,"method":"Calc.Add"},{"jsonrpc":"2.0","method":"Calc.Add"},1]`,
			`{"jsonrpc":"2.0","id":1,"method":"Gone.Add"}`,
			`{"jsonrpc":"2.0","id":1,"method":"Odd.Fail"}`,
			`{"jsonrpc":"2.0","id":1,"method":"Odd.NaN"}`,
			`{"jsonrpc":"2.0","id":1,"method":"Calc.Add","params":["x"]}`,
			`{"jsonrpc":"2.0","method":"Odd.Fail"}`,
			`{"jsonrpc":"2.0","id":1,"result":1}`,
			`nonsense`,
			`[]`,
			`{}`,
		} {
			require.True(t, s.offer(body))
		}
		lost := s.message(`{"jsonrpc":"2.0","id":1,"method":"Calc.Add"}`)
		lost.Reply = func([]byte) error { return net.ErrClosed }
		s.conn.messages <- lost
		s.drain()
		require.NoError(t, <-s.done)
		require.Equal(t, jsonrpc2.ServerCounts{
			Calls: 7, Notifications: 2,
			Answered: 3, Errors: 5, Done: 1,
			Invalid: 4, Dropped: 1, LostReplies: 1,
		}, s.stats.Snapshot())
	})
}

// A Conn learns its settings before anything else.
func TestSettings(t *testing.T) {
	for _, test := range []struct {
		opts                  *jsonrpc2.ServerOptions
		messageSize, inFlight int
	}{
		{nil, 4 << 20, 256},
		{&jsonrpc2.ServerOptions{MaxMessageSize: 5, MaxInFlight: 6}, 5, 6},
	} {
		conn := newScriptedServer()
		close(conn.messages)
		require.NoError(t, jsonrpc2.Serve(t.Context(), newServer(t), conn, test.opts))
		requireSettings(t, conn.settings, test.messageSize, test.inFlight)
	}
	conn := newScriptedClient()
	require.NoError(t, jsonrpc2.NewClient(conn, nil).Close())
	requireSettings(t, conn.settings, 4<<20, 0)
	require.Zero(t, conn.settings.UnderWay())
}

// An underWayConn notes what is under way when it gets a request.
type underWayConn struct {
	*scriptedClient
	seen chan int
}

func (c underWayConn) WriteRequest(r *jsonrpc2.Request) error {
	c.seen <- c.settings.UnderWay()
	return c.scriptedClient.WriteRequest(r)
}

// A call is under way before the Conn has its request, and until it has ended.
func TestUnderWay(t *testing.T) {
	conn := underWayConn{newScriptedClient(), make(chan int, 1)}
	client := jsonrpc2.NewClient(conn, nil)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		_, err := jsonrpc2.Call[int](ctx, client, "Calc.Add", nil)
		ended <- err
	}()
	require.Equal(t, 1, <-conn.seen)
	<-conn.written
	require.Equal(t, 1, conn.settings.UnderWay())
	cancel()
	require.ErrorIs(t, <-ended, context.Canceled)
	require.Zero(t, conn.settings.UnderWay())
	require.NoError(t, client.Close())
}

func requireSettings(t *testing.T, got jsonrpc2.Settings, messageSize, inFlight int) {
	t.Helper()
	require.Equal(t, messageSize, got.MessageSize)
	require.Equal(t, inFlight, got.InFlight)
	require.NotNil(t, got.Lost)
}

// Strangers can't fill the table of names.
func TestServerManyNames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		named := atomic.Int64{}
		s := newService(t, jsonrpc2.ServerOptions{Name: func(method string) string {
			named.Add(1)
			return "Calc." + method[:3]
		}})
		for i := range 3000 {
			require.True(t, s.offer(fmt.Sprintf(`{"jsonrpc":"2.0","id":1,"method":"Add%d"}`, i)))
			require.Contains(t, s.lastReply(t), `"result":0`)
		}
		require.LessOrEqual(t, named.Load(), int64(2*3000))
		s.drain()
		require.NoError(t, <-s.done)
	})
}

// Limits below zero are the standard ones.
func TestNegativeLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(t, jsonrpc2.ServerOptions{MaxInFlight: -1, MaxMessageSize: -1, MaxBatch: -1, MaxDepth: -1})
		require.True(t, s.offer(`[{"jsonrpc":"2.0","id":1,"method":"Calc.Add","params":[1,5.1]}]`))
		require.Contains(t, s.lastReply(t), `"result":6.1`)
		s.drain()
		require.NoError(t, <-s.done)
	})
}
