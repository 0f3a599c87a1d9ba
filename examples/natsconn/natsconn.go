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

// A conn is what both ends have. Each message has a goroutine of its own, which sends it:
// nats.go makes that wait while it dials, and while its socket is full.
type conn struct {
	nc       *nats.Conn
	subject  string
	settings atomic.Pointer[jsonrpc2.Settings] // nil before Open
	closed   context.Context
	close    context.CancelCauseFunc // of closed
	finish   func() error            // called when all is sent
	closing  sync.Once
	result   error // of Close

	mu       sync.Mutex // protects following
	bytes    int        // of messages
	messages sync.WaitGroup
}

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

// Err returns what nats.go knows to be wrong: there is no connection, or the broker has
// refused the subject. It may wait while nats.go dials.
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

// start has a goroutine send a message of so many bytes. Close waits for it.
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

// Close implements jsonrpc2.ClientConn and jsonrpc2.ServerConn. Calls end, notifications and
// answers are sent, and the nats.Conn stays open. What nats.go holds up for 4 s ends later.
func (c *conn) Close() error {
	c.closing.Do(func() {
		c.mu.Lock()
		c.close(io.EOF)
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

// A ClientConn calls the servers of a subject. A call's goroutine waits for the answer.
type ClientConn struct {
	conn
	replies chan jsonrpc2.Reply
}

// Dial returns a ClientConn over nc, which need not be connected yet, and which its owner
// closes after the client.
func Dial(nc *nats.Conn, subject string) (*ClientConn, error) {
	c := &ClientConn{replies: make(chan jsonrpc2.Reply)}
	c.finish = func() error { return nil }
	if err := c.bind(nc, subject); err != nil {
		return nil, err
	}
	return c, nil
}

// WriteRequest implements jsonrpc2.ClientConn. While there is no connection nothing is sent:
// nats.go would keep it, and send it when perhaps nobody waits for it any more.
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

// call sends a call and waits for its answer, until r ends.
func (c *ClientConn) call(r *jsonrpc2.Request) error {
	m := &nats.Msg{Subject: c.subject, Data: r.Body}
	if deadline := r.Deadline(); !deadline.IsZero() {
		left := max(0, time.Until(deadline)).Milliseconds() + 1
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

// notify sends a notification. The broker has it when it answers a ping that came behind it
// over the same connection. Where nobody listens, a 503 comes before that answer.
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
		err = nats.ErrDisconnected // for a while, perhaps before it was sent
	case err == nil:
		r.Sent()
		return nil
	}
	return c.failure(err, jsonrpc2.ErrUnconfirmed)
}

// failure returns what a request fails with that may have been sent, as far as err tells.
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

// Inquire implements jsonrpc2.ClientConn. Nothing is known of what was sent.
func (c *ClientConn) Inquire(context.Context, []*jsonrpc2.Request) []error { return nil }

// A ServerConn is one of the servers of a subject.
type ServerConn struct {
	conn
	sub      *nats.Subscription
	requests chan request  // closed when sub has ended
	places   chan struct{} // holds one for each delivery that is not settled
	draining sync.Once
	header   jsonrpc2.Header // of the latest delivery
}

type request struct {
	*nats.Msg
	deadline time.Time
}

// Listen returns a ServerConn over nc, which need not be connected yet, and which its owner
// closes after Serve. Requests come once the broker knows of it: nc.Flush waits for that.
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
	c.sub.SetClosedHandler(func(string) { close(c.requests) })
	if nc.IsClosed() { // perhaps before the handler was set
		return nil, fmt.Errorf("natsconn: %w", nats.ErrConnectionClosed)
	}
	return c, nil
}

// receive takes a request as it comes: its deadline is counted from then on.
func (c *ServerConn) receive(m *nats.Msg) {
	r := request{Msg: m}
	if left, err := strconv.ParseUint(m.Header.Get(TimeoutHeader), 10, 32); err == nil {
		r.deadline = time.Now().Add(time.Duration(left) * time.Millisecond)
	}
	select {
	case c.requests <- r:
	default:
		c.refuse(m, "503", jsonrpc2.ErrOverloaded)
	}
}

// refuse tells the caller that no answer will come, by a status as NATS has them.
func (c *ServerConn) refuse(m *nats.Msg, status string, why error) {
	if s := c.settings.Load(); s != nil {
		s.Lost(m.Data, why)
	}
	_ = m.RespondMsg(&nats.Msg{Header: nats.Header{"Status": {status}, "Description": {why.Error()}}})
}

// ReadRequest implements jsonrpc2.ServerConn. NATS takes no request back: those that had come
// when ctx was done are returned, and then ctx.Err().
func (c *ServerConn) ReadRequest(ctx context.Context) (jsonrpc2.Delivery, error) {
	defer context.AfterFunc(ctx, c.drain)()
	if c.places == nil {
		c.places = make(chan struct{}, c.settings.Load().InFlight)
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

// drain ends the subscription when all that the broker has sent has come, or after 2 s.
func (c *ServerConn) drain() {
	c.draining.Do(func() {
		_ = c.sub.Drain()
		time.AfterFunc(grace, func() { _ = c.sub.Unsubscribe() })
	})
}

// reply settles a request.
func (c *ServerConn) reply(m *nats.Msg, body []byte) error {
	defer func() { <-c.places }()
	if body == nil {
		return nil
	}
	body = bytes.Clone(body)
	return c.start(len(body), func() {
		if err := m.Respond(body); err != nil {
			c.refuse(m, "500", err)
		}
	})
}

// refuseAll refuses the requests that wait, and makes sure that the broker has the answers.
func (c *ServerConn) refuseAll() error {
	c.drain()
	for r := range c.requests {
		c.refuse(r.Msg, "503", net.ErrClosed)
	}
	if err := c.nc.FlushTimeout(grace); err != nil {
		return fmt.Errorf("natsconn: the last answers may be lost: %w", err)
	}
	return nil
}
