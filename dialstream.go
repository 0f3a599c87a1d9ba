package jsonrpc2

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/micromessaging/jsonrpc2/internal/link"
)

// DialStreamOptions are the options of DialStream. The zero value is useful, and so is a nil
// pointer to it.
type DialStreamOptions struct {
	// Logger gets one error line when the connection fails, one for each new cause while it
	// is down, and one info line when it works again; slog.Default() if nil.
	Logger *slog.Logger
}

const (
	dialTimeout    = 5 * time.Second         // of one try
	redialPatience = 1200 * time.Millisecond // of a request, once a try has failed
	hurriedPause   = redialPatience / 2      // the longest pause before a try while requests wait
	earlyEnd       = 5 * time.Second         // a stream that ends sooner ends early, if it brought nothing
	minRedialTime  = 50 * time.Millisecond   // from the beginning of a stream to that of the next but one
)

// DialStream returns a ClientConn over the streams that dial opens, such as TCP, Unix sockets
// or TLS. When one ends, it opens the next, so that it survives its server. DialStream does
// not wait for a connection. The servers are those of [ServeListener] and of [NewStreamConn].
//
//	var d net.Dialer
//	conn := jsonrpc2.DialStream(func(ctx context.Context) (io.ReadWriteCloser, error) {
//		return d.DialContext(ctx, "tcp", "calc.example.com:4040")
//	}, nil)
//	client := jsonrpc2.NewClient(conn, &jsonrpc2.ClientOptions{Service: "Calc"})
//
// A Unix socket is DialContext(ctx, "unix", "/run/calc.sock"). For TLS a [tls.Dialer] takes the
// place of the [net.Dialer].
//
// dial is called by one goroutine at a time. ctx limits dial alone: it is done after 5 s,
// when the Conn is closed, and as soon as dial returns. So the stream must not depend on it.
// dial must return soon after ctx is done: requests wait for dial, and Close waits for up to
// 2 s. A Conn owns the stream that dial returns, and closes it. A Close of the stream must make
// a Read and a Write that hang return.
//
// # Connecting
//
// The Conn connects when the first request comes, and again after the connection has failed,
// until it succeeds. Requests wait meanwhile, in their order. They fail with ErrOverloaded
// while 16 MiB wait. A request whose caller has given up is dropped; if it had timed out, its
// error also matches ErrNotRun.
//
// A request that has waited for 1.2 s fails with ErrUnavailable and the cause, once there is
// a cause: the end of the last connection, or a try that has failed. If the network drops
// everything, the first try fails only after 5 s, and the first requests wait for that.
//
// Between two tries the Conn pauses. The pauses double from 50 ms to 5 s, each less up to a
// half at random, and last for at most 0.6 s while requests wait. They begin at 50 ms again
// when a stream has brought a message while a call waited for its answer, or has lasted for
// 5 s.
//
// # The end of a connection
//
// When the connection ends, the requests under way fail at once, with the cause:
//
//   - a call that was written, also in part, with ErrReplyLost: it may have run;
//   - a notification that was written in part with ErrUnconfirmed: a whole one has succeeded;
//   - a request of which nothing was written with ErrUnavailable.
//
// None of them is sent again, see [Retry]. A call that is written just as the server closes
// an idle connection also fails with ErrReplyLost.
//
// The Conn then connects again at once, without waiting for a request, so that Err, as a
// readiness probe asks for it, returns nil as soon as the server is back. There are two
// exceptions. If the server has closed the connection and no request was under way, as at an
// idle limit or in a drain, nothing is wrong: the Conn connects when the next request comes.
// And if the stream lasted for less than 5 s and brought no message while a call waited for
// its answer, the Conn pauses first, as after a try that failed. If streams fail one after
// another although they bring something, no more than two are made in 50 ms.
//
// # Dead peers
//
// If the peer's machine or the network is gone, nothing says that the connection has ended.
// So the Conn sets two options of a *net.TCPConn, also of one below TLS or another type that
// has a method NetConn() net.Conn:
//
//   - An idle connection is probed after 15 s and then every 5 s. It ends after three probes
//     without an answer, so after 30 s.
//   - On Linux, a connection also ends when what was written is not acknowledged within 30 s
//     (TCP_USER_TIMEOUT). Elsewhere that takes as long as the system tries: up to 15 minutes
//     or more. The calls wait until their Timeout meanwhile.
//
// The options replace those of the Dialer. A connection in a type without NetConn keeps its
// own. Other streams end when their Read or Write fails.
//
// # Other limits
//
// Deadlines don't travel over streams, and a request that was written is not withdrawn.
// Otherwise the Conn behaves like a [StreamConn] on a client.
func DialStream(dial func(ctx context.Context) (io.ReadWriteCloser, error), opts *DialStreamOptions) *RedialConn {
	if opts == nil {
		opts = &DialStreamOptions{}
	}
	logger := opts.Logger
	if logger == nil {
		logger = slog.Default()
	}
	c := &RedialConn{
		dial:      dial,
		log:       &link.State{Logger: logger.With(slog.String("conn", "stream"), slog.String("role", "client"))},
		connected: make(chan struct{}, 1),
		arrived:   make(chan struct{}, 1),
	}
	c.unclosed, c.cancel = context.WithCancel(context.Background())
	c.closed = make(chan struct{})
	return c
}

// A RedialConn is a [ClientConn] over one stream after another. [DialStream] makes it; give it
// to one codec, as [NewClient] does. Err, Stats and Close are for any goroutine, the other
// methods are for the codec.
//
// It is in one of five states. A stream has ended early if it lasted for less than 5 s and
// brought no message while a call waited for its answer. The connector is a goroutine that
// lives from the time when a connection is wanted until there is one.
//
//	state       what happens                             next state
//	idle        a request comes                          dialing; pausing if the last stream ended early
//	dialing     dial returns a stream                    connected: what waits is written
//	dialing     dial fails                               pausing
//	pausing     the pause is over                        dialing
//	connected   EOF, and nothing is under way or waits   idle
//	connected   the stream ends otherwise                dialing; pausing if it ended early
//	any         Close                                    closed
//
//	goroutine       lives while          ends when
//	the connector   dialing or pausing   there is a stream, or Close begins
//	one for dial    dialing              dial returns; a stream that nobody waits for is closed
//	the writer      connected            the stream's StreamConn is closed
//
// The codec's own goroutine reads the stream, in ReadReply. It notes the end of the stream,
// closes it, and fails the calls that are under way on it.
type RedialConn struct {
	dial   func(context.Context) (io.ReadWriteCloser, error)
	log    *link.State
	opened atomic.Bool
	count  redialCounters
	redialEnd

	connected chan struct{} // receives if there may be a stream to read
	arrived   chan struct{} // receives if requests wait and before none did

	// The connector's own. While there is no connector, they belong to whoever holds mu.
	backoff link.Backoff
	early   bool      // the last stream has ended early
	last    time.Time // when it began
	before  time.Time // when the one before it began

	mu sync.Mutex // protects following
	redialState
}

// A redialEnd is what ends a RedialConn, and what its Close waits for.
type redialEnd struct {
	unclosed context.Context // done when Close begins
	cancel   context.CancelFunc
	closing  sync.Once
	closed   chan struct{}  // closed at the end of Close: ReadReply then returns io.EOF
	tasks    sync.WaitGroup // for the connector, and for streamEnded while it closes a stream
}

// A redialState is the state of a RedialConn.
type redialState struct {
	settings   Settings
	stream     *dialedStream // nil: not connected
	connecting bool          // there is a connector
	waiting    unsentRequests
	cause      error // why there is no connection; nil: nothing is wrong
	stopped    bool  // by Close
}

var _ ClientConn = (*RedialConn)(nil)

// Open implements ClientConn.
func (c *RedialConn) Open(s Settings) error {
	if c.opened.Swap(true) {
		return ErrOpened
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.settings = s
	return nil
}

// WriteRequest implements ClientConn. A stream that has broken takes no request: the request
// then waits for the next stream.
func (c *RedialConn) WriteRequest(r *Request) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.stopped {
		return net.ErrClosed
	}
	if c.stream != nil {
		err := c.send(r)
		if err == nil || errors.Is(err, ErrOverloaded) {
			return err
		}
	}
	if !c.waiting.add(r) {
		c.count.overloaded.Add(1)
		return fmt.Errorf("%w: 16 MiB wait for a connection", ErrOverloaded)
	}
	if c.stream == nil && !c.connecting {
		c.connect()
	}
	if len(c.waiting.requests) == 1 {
		link.Signal(c.arrived)
	}
	return nil
}

// send gives a request to the stream. It is called with c.mu locked.
func (c *RedialConn) send(r *Request) error {
	err := c.stream.WriteRequest(r)
	switch {
	case err == nil:
		c.count.requests.Add(1)
		c.stream.underWay.add(r)
	case errors.Is(err, ErrOverloaded):
		c.count.overloaded.Add(1)
	}
	return err
}

// ReadReply implements ClientConn. It reads the stream. When the stream has ended, it waits
// for the next one.
func (c *RedialConn) ReadReply(ctx context.Context) (Reply, error) {
	for {
		if err := ctx.Err(); err != nil {
			return Reply{}, err
		}
		if s := c.current(); s != nil {
			reply, err := s.ReadReply(ctx)
			switch {
			case err == nil:
				s.brought = s.brought || c.isAwaited(s)
				c.count.replies.Add(1)
				return reply, nil
			case ctx.Err() != nil && errors.Is(err, ctx.Err()):
				return Reply{}, err
			}
			c.streamEnded(s, err)
			continue
		}
		select {
		case <-c.connected:
		case <-c.closed:
			return Reply{}, io.EOF
		case <-ctx.Done():
		}
	}
}

func (c *RedialConn) current() *dialedStream {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.stream
}

// Inquire implements ClientConn. It returns an ErrNotRun for each request that was given to no
// stream.
func (c *RedialConn) Inquire(_ context.Context, requests []*Request) []error {
	c.mu.Lock()
	defer c.mu.Unlock()
	found := make([]error, len(requests))
	for i, r := range requests {
		if w, ok := r.Handle.(*unsentRequest); ok && !w.sent {
			found[i] = fmt.Errorf("%w: there was no connection%s", ErrNotRun, because(c.cause))
		}
	}
	return found
}

func because(cause error) string {
	if cause == nil {
		return ""
	}
	return ": " + cause.Error()
}

// Err implements ClientConn. It returns nil while the Conn is connected, and while it has no
// connection and nothing is known to be wrong: before the first request, and after the server
// has closed an idle connection. Otherwise it returns why the last try has failed or the
// last connection has ended; after Close, net.ErrClosed.
func (c *RedialConn) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	cause := c.cause
	if c.stream != nil { // it may have failed, and not have been read since
		cause = c.stream.Err()
	}
	switch {
	case c.stopped:
		return net.ErrClosed
	case cause == nil, cause == io.EOF: // io.EOF may be no fault
		return nil
	}
	return fmt.Errorf("jsonrpc2: no connection: %w", cause)
}

// Close implements ClientConn. If the Conn is connected, Close sends what was accepted, as
// [StreamConn.Close] does, and returns an error if it could not. Otherwise it cancels the ctx
// of dial, waits up to 2 s for dial, and fails the requests that wait with ErrUnavailable.
func (c *RedialConn) Close() (err error) {
	c.closing.Do(func() {
		stream, waiting := c.stop()
		c.failLeft(waiting)
		if stream != nil {
			err = stream.Close()
		}
		c.tasks.Wait()
		close(c.closed)
	})
	return err
}

// stop ends the connecting. It returns the stream, if there is one, and what waits.
func (c *RedialConn) stop() (*dialedStream, []*unsentRequest) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stopped = true
	c.cancel()
	return c.stream, c.waiting.take()
}

// failLeft fails what Close leaves unsent.
func (c *RedialConn) failLeft(waiting []*unsentRequest) {
	cause := c.log.Cause()
	if cause == nil {
		cause = net.ErrClosed
	}
	unsent := c.count.unsent.Load()
	for _, w := range waiting {
		c.failUnsent(w, cause)
	}
	c.log.LogUnsent(c.count.unsent.Load() - unsent)
}

// failUnsent fails and counts a request that was given to no stream.
func (c *RedialConn) failUnsent(w *unsentRequest, cause error) {
	if w.GivenUp() {
		c.count.expired.Add(1)
		return
	}
	c.count.unsent.Add(1)
	w.Fail(unseenError{fmt.Errorf("%w: no connection: %w", ErrUnavailable, cause)})
}
