package natsconn

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/micromessaging/jsonrpc2"
)

var (
	_ jsonrpc2.ClientConn = (*ClientConn)(nil)
	_ jsonrpc2.ServerConn = (*ServerConn)(nil)
)

// A conn is the part that both ends share. Each message is sent by a goroutine of its own,
// since nats.go blocks a sender while it dials and while its socket is full.
type conn struct {
	nc       *nats.Conn // the user's; never closed here
	subject  string
	settings atomic.Pointer[jsonrpc2.Settings] // nil before Open
	closed   context.Context                   // done when Close begins
	close    context.CancelCauseFunc           // of closed
	finish   func() error                      // called once by Close when all is sent
	closing  sync.Once
	result   error // of Close

	// mu protects bytes. It also orders each messages.Go before the messages.Wait of Close.
	mu       sync.Mutex
	bytes    int            // of the messages that have a goroutine
	messages sync.WaitGroup // the goroutines
}

// bind sets the fields that both ends have, if nc and subject are fit to be used.
func (c *conn) bind(nc *nats.Conn, subject string) error {
	if nc == nil || nc.IsClosed() {
		return errors.New("natsconn: no open nats.Conn")
	}
	if ok, _ := regexp.MatchString(`^[^\s.*>]+(\.[^\s.*>]+)*$`, subject); !ok {
		return fmt.Errorf("natsconn: nothing can be sent to the subject %q", subject)
	}
	c.nc, c.subject = nc, subject
	c.closed, c.close = context.WithCancelCause(context.Background())
	return nil
}

// Open implements jsonrpc2.ClientConn and jsonrpc2.ServerConn.
func (c *conn) Open(s jsonrpc2.Settings) error {
	if !c.settings.CompareAndSwap(nil, &s) {
		return jsonrpc2.ErrOpened
	}
	return nil
}

// Err implements jsonrpc2.ClientConn and jsonrpc2.ServerConn. It returns what nats.go knows
// to be wrong: there is no connection, or the broker has refused the subject. It may block
// while nats.go dials, since nats.go holds its lock meanwhile.
func (c *conn) Err() error {
	status, last := c.nc.Status(), c.nc.LastError()
	switch {
	case c.closed.Err() != nil:
		return net.ErrClosed
	case status != nats.CONNECTED:
		return fmt.Errorf("natsconn: %v: %w", status, cmp.Or(last, nats.ErrDisconnected))
	case errors.Is(last, nats.ErrPermissionViolation) && strings.Contains(last.Error(), strconv.Quote(c.subject)):
		return fmt.Errorf("natsconn: %w", last)
	}
	return nil
}

// start runs send, for a message of size bytes, on a goroutine that Close waits for. If it
// returns an error, send does not run: the Conn is closed, or has maxBytes under way.
func (c *conn) start(size int, send func()) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.closed.Err() != nil:
		return net.ErrClosed
	case c.bytes+size > maxBytes:
		return jsonrpc2.ErrOverloaded
	}
	c.bytes += size
	c.messages.Go(func() {
		send()
		c.mu.Lock()
		defer c.mu.Unlock()
		c.bytes -= size
	})
	return nil
}

// Close implements jsonrpc2.ClientConn and jsonrpc2.ServerConn. It sends the notifications
// and answers, ends the calls, and leaves the nats.Conn open. If nats.go blocks for 4 s, Close
// returns an error, and its goroutines end when nats.go lets them go on.
func (c *conn) Close() error {
	c.closing.Do(func() {
		c.mu.Lock()
		c.close(io.EOF) // start accepts no more messages
		c.mu.Unlock()
		result := make(chan error, 1)
		go func() {
			c.messages.Wait()
			result <- c.finish()
		}()
		select {
		case c.result = <-result:
		case <-time.After(2 * grace):
			c.result = fmt.Errorf("natsconn: Close: %w", nats.ErrTimeout)
		}
	})
	return c.result
}

// A ClientConn calls the servers of a subject. The goroutine of a call sends it, waits for
// its answer, and hands the answer to ReadReply.
type ClientConn struct {
	conn
	replies chan jsonrpc2.Reply
}

// Dial returns a ClientConn that calls over nc. nc need not be connected yet. Its owner
// closes it after the client.
func Dial(nc *nats.Conn, subject string) (*ClientConn, error) {
	c := &ClientConn{replies: make(chan jsonrpc2.Reply)}
	c.finish = func() error { return nil }
	if err := c.bind(nc, subject); err != nil {
		return nil, err
	}
	return c, nil
}

// WriteRequest implements jsonrpc2.ClientConn. Without a connection, a request fails at once:
// nats.go would keep it, and send it later, when perhaps nobody waits for it any more.
func (c *ClientConn) WriteRequest(r *jsonrpc2.Request) error {
	r.Keep()
	return c.start(len(r.Body), func() {
		var err error
		switch {
		case r.GivenUp():
		case !c.nc.IsConnected():
			err = fmt.Errorf("%w: %w", jsonrpc2.ErrUnavailable, nats.ErrDisconnected)
		case r.IsNotification():
			err = c.notify(r)
		default:
			err = c.call(r)
		}
		if err != nil {
			r.Fail(err)
		}
	})
}

// call sends a call, and waits for its answer until r ends or the Conn is closed. An empty
// answer with a status is that of refuse.
func (c *ClientConn) call(r *jsonrpc2.Request) error {
	m := &nats.Msg{Subject: c.subject, Data: r.Body}
	if deadline := r.Deadline(); !deadline.IsZero() {
		left := max(0, time.Until(deadline)).Milliseconds() + 1 // rounded up
		m.Header = nats.Header{TimeoutHeader: {strconv.FormatInt(left, 10)}}
	}
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	defer context.AfterFunc(c.closed, cancel)()
	answer, err := c.nc.RequestMsgWithContext(ctx, m)
	if err != nil {
		return c.failure(err, jsonrpc2.ErrReplyLost)
	}
	if len(answer.Data) == 0 && answer.Header.Get("Status") != "" {
		return fmt.Errorf("%w: %s", jsonrpc2.ErrReplyLost, answer.Header.Get("Description"))
	}
	select {
	case c.replies <- jsonrpc2.Reply{Body: answer.Data, Request: r, Missing: jsonrpc2.ErrBadReply}:
	case <-c.closed.Done():
	}
	return nil
}

// notify sends a notification. The broker has it once it answers a ping that followed it
// over the same connection. If no server listens, the broker first sends a 503 to the reply
// subject.
func (c *ClientConn) notify(r *jsonrpc2.Request) error {
	m := &nats.Msg{Subject: c.subject, Reply: c.nc.NewInbox(), Data: r.Body}
	refused := make(chan *nats.Msg, 1)
	reconnects := c.nc.Stats().Reconnects
	sub, err := c.nc.ChanSubscribe(m.Reply, refused)
	if err == nil {
		defer sub.Unsubscribe()
		err = c.nc.PublishMsg(m)
	}
	if err == nil {
		err = c.nc.FlushTimeout(grace)
	}
	switch {
	case len(refused) > 0 && (<-refused).Header.Get("Status") == "503":
		err = nats.ErrNoResponders
	case err == nil && c.nc.Stats().Reconnects != reconnects:
		err = nats.ErrDisconnected // the ping went over a later connection
	case err == nil:
		r.Sent()
		return nil
	}
	return c.failure(err, jsonrpc2.ErrUnconfirmed)
}

// failure returns the error of a request that nats.go failed with err. It begins with sent,
// which says that the request may have been sent, unless err says that it was not.
func (c *ClientConn) failure(err, sent error) error {
	switch {
	case errors.Is(err, nats.ErrNoResponders):
		return fmt.Errorf("%w: nobody takes what is sent to %q", jsonrpc2.ErrNoServer, c.subject)
	case errors.Is(err, nats.ErrMaxPayload):
		sent = jsonrpc2.ErrTooLarge
	case c.closed.Err() != nil:
		err = net.ErrClosed
	}
	return fmt.Errorf("%w: %w", sent, err)
}

// ReadReply implements jsonrpc2.ClientConn.
func (c *ClientConn) ReadReply(ctx context.Context) (jsonrpc2.Reply, error) {
	select {
	case reply := <-c.replies:
		return reply, nil
	case <-ctx.Done():
		return jsonrpc2.Reply{}, ctx.Err()
	case <-c.closed.Done():
		return jsonrpc2.Reply{}, io.EOF
	}
}

// Inquire implements jsonrpc2.ClientConn. NATS can't be asked what became of a request.
func (c *ClientConn) Inquire(context.Context, []*jsonrpc2.Request) []error { return nil }

// A ServerConn is one of the servers of a subject.
type ServerConn struct {
	conn
	sub      *nats.Subscription
	requests chan request  // closed when sub has ended
	places   chan struct{} // holds one element for each delivery that is not settled
	draining sync.Once
	header   jsonrpc2.Header // of the latest delivery
}

// A request is a message that receive took.
type request struct {
	*nats.Msg
	deadline time.Time // by this machine's clock; zero if there is none
}

// Listen returns a ServerConn that serves over nc. nc need not be connected yet. Its owner
// closes it after Serve. The broker sends requests once it knows of the subscription: nc.Flush
// waits for that.
func Listen(nc *nats.Conn, subject string) (*ServerConn, error) {
	c := &ServerConn{requests: make(chan request, maxWaiting)}
	c.finish = c.refuseAll
	if err := c.bind(nc, subject); err != nil {
		return nil, err
	}
	var err error
	if c.sub, err = nc.QueueSubscribe(subject, Group, c.receive); err != nil {
		return nil, fmt.Errorf("natsconn: %w", err)
	}
	// nats.go calls the handler after the last call of receive, on the same goroutine.
	c.sub.SetClosedHandler(func(string) { close(c.requests) })
	if nc.IsClosed() { // perhaps before the handler was set: it would never be called
		return nil, fmt.Errorf("natsconn: %w", nats.ErrConnectionClosed)
	}
	return c, nil
}

// receive takes a request when it arrives, since its deadline is counted from then. It refuses
// the request if maxWaiting others wait. nats.go calls it on one goroutine.
func (c *ServerConn) receive(m *nats.Msg) {
	r := request{Msg: m}
	if left, err := strconv.ParseUint(m.Header.Get(TimeoutHeader), 10, 32); err == nil {
		r.deadline = time.Now().Add(time.Duration(left) * time.Millisecond)
	}
	select {
	case c.requests <- r:
	default:
		c.refuse(m, m.Data, "503", jsonrpc2.ErrOverloaded)
	}
}

// refuse tells the caller that no answer will come. lost is the text of the request, or of its
// answer. refuse sends an empty message with a status, as NATS itself does: nats.go makes
// ErrNoResponders of a 503.
func (c *ServerConn) refuse(m *nats.Msg, lost []byte, status string, why error) {
	if s := c.settings.Load(); s != nil {
		s.Lost(lost, why)
	}
	_ = m.RespondMsg(&nats.Msg{Header: nats.Header{"Status": {status}, "Description": {why.Error()}}})
}

// ReadRequest implements jsonrpc2.ServerConn. NATS takes no request back. When ctx is done,
// ReadRequest therefore first returns the requests that have come, and then ctx.Err().
func (c *ServerConn) ReadRequest(ctx context.Context) (jsonrpc2.Delivery, error) {
	defer context.AfterFunc(ctx, c.drain)()
	if c.places == nil {
		c.places = make(chan struct{}, c.settings.Load().InFlight) // known since Open
	}
	select {
	case c.places <- struct{}{}:
	case <-c.closed.Done():
		return jsonrpc2.Delivery{}, io.EOF
	}
	r, open := <-c.requests
	if !open {
		return jsonrpc2.Delivery{}, cmp.Or(ctx.Err(), context.Cause(c.closed), nats.ErrConnectionClosed)
	}
	c.header.Scan(r.Data)
	d := jsonrpc2.Delivery{Body: r.Data, Header: &c.header, Deadline: r.deadline}
	d.Reply = func(body []byte) error { return c.reply(r.Msg, body) }
	if r.Reply == "" && c.header.WantsAnswer() {
		d.Err = errors.New("natsconn: a call without a reply subject")
	}
	return d, nil
}

// drain ends the subscription once all messages that the broker has sent have come, or after
// 2 s. The end of the subscription closes c.requests.
func (c *ServerConn) drain() {
	c.draining.Do(func() {
		_ = c.sub.Drain()
		time.AfterFunc(grace, func() { _ = c.sub.Unsubscribe() })
	})
}

// reply settles a request, and sends body to its reply subject. nil means no answer.
func (c *ServerConn) reply(m *nats.Msg, body []byte) error {
	defer func() { <-c.places }()
	if body == nil {
		return nil
	}
	body = bytes.Clone(body)
	return c.start(len(body), func() {
		if err := m.Respond(body); err != nil {
			c.refuse(m, body, "500", err)
		}
	})
}

// refuseAll is the finish of a ServerConn. It refuses the requests that wait, and then waits
// until the broker has all answers.
func (c *ServerConn) refuseAll() error {
	c.drain()
	for r := range c.requests {
		c.refuse(r.Msg, r.Data, "503", net.ErrClosed)
	}
	if err := c.nc.FlushTimeout(grace); err != nil {
		return fmt.Errorf("natsconn: the last answers may be lost: %w", err)
	}
	return nil
}
