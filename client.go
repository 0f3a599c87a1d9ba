package jsonrpc2

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/rpc"
	"strconv"
	"sync"
	"time"
)

// A clientCodec is the rpc.ClientCodec. net/rpc calls WriteRequest from any
// goroutine, one at a time, and reads on one of its own:
//
//	ReadResponseHeader    in turn with ReadResponseBody
//	  nextFailure           end a call that timed out, was given up, or has failed
//	  ReadReply             else wait for a message, scan it
//	  answer                find the call of each response
//	  failUnanswered        end the calls that should have been answered
//
// An error from the reading side would end the client and all its calls. So net/rpc gets
// what goes wrong with one call as an error response to that call.
//
// Calls also end on other goroutines: expire runs on a timer, ask on a goroutine of its own,
// and a Conn calls Sent and Fail on any. They take the call out of pending, and queue it in
// failures for the reading goroutine. Whoever takes it out of pending counts its end.
type clientCodec struct {
	conn    ClientConn
	openErr error // of conn.Open: another codec has conn
	opts    ClientOptions
	log     *dropLog
	stats   *ClientStats
	id      string        // what the ids of this client begin with, in quotes
	closed  chan struct{} // closed by Close

	// WriteRequest's own: net/rpc makes one call of it at a time.
	out     *encoder
	names   map[string]string // names of methods in Go to those on the wire
	writing sync.Mutex        // held during conn.WriteRequest, see ask and refuse; locked before mu

	in arriving // the reading goroutine's own

	mu        sync.Mutex // protects following
	pending   pendingCalls
	failures  failureQueue
	inquiries inquiries
	closing   bool
	connErr   error // what ended conn; nil while it works
}

// An arriving is the message that is being read.
type arriving struct {
	items     []envelope // of the message
	next      int        // index of the next item
	decoder   *decoder
	answered  *Request     // what the message answers; nil: only its ids tell
	served    bool         // the message has responses to calls of ours
	missing   error        // ends the calls of answered that get no response; nil if they may still
	result    []byte       // of the current response
	answering *pendingCall // whose result it is; nil when that is decoded
	nameless  *envelope    // the message's first error without an id; nil: none, or it is handled
	err       error        // what ended the reading; nil while it goes on
}

func newClientCodec(conn ClientConn, opts *ClientOptions) *clientCodec {
	if opts == nil {
		opts = &ClientOptions{}
	}
	c := &clientCodec{conn: conn, opts: *opts, closed: make(chan struct{})}
	if opts.Timeout == 0 {
		c.opts.Timeout = defaultTimeout
	}
	c.opts.MaxMessageSize = orDefault(opts.MaxMessageSize, DefaultMaxMessageSize)
	c.opts.MaxDepth = depthLimit(opts.MaxDepth)
	c.log = newDropLog(opts.Logger)
	c.stats = opts.Stats
	if c.stats == nil {
		c.stats = new(ClientStats)
	}
	c.id = newIDPrefix()
	c.out = newEncoder()
	c.names = make(map[string]string)
	c.in.decoder = newDecoder()
	c.pending.bySeq = make(map[uint64]*pendingCall)
	c.failures.reading, c.failures.interrupt = context.WithCancel(context.Background())
	c.openErr = conn.Open(Settings{
		MessageSize: c.opts.MaxMessageSize,
		Lost: func(body []byte, why error) {
			c.stats.dropped.Add(1)
			c.log.drop("message lost", body, slog.Any("error", why))
		},
		UnderWay: c.underWay,
	})
	return c
}

func (c *clientCodec) underWay() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.pending.bySeq)
}

// newIDPrefix returns what the ids of a client begin with, the quote included. It is random:
// no two clients of a broker may use the same ids.
func newIDPrefix() string {
	var random [8]byte
	_, _ = rand.Read(random[:]) // never fails
	return `"` + hex.EncodeToString(random[:]) + "-"
}

// errNotified is what WriteRequest returns for a notification that the Conn has accepted:
// net/rpc then forgets the call, which will have no answer.
var errNotified = errors.New("jsonrpc2: notified")

// WriteRequest sends a request. Its errors fail that call alone.
func (c *clientCodec) WriteRequest(r *rpc.Request, args any) error {
	if s, ok := args.(*shutdown); ok {
		c.shutDown(s)
		return errShutDown
	}
	p, args := c.newCall(r.Seq, args)
	c.stats.begin(p)
	if err := p.begin(r.ServiceMethod, args); err != nil {
		c.stats.end(endUnsent)
		return err
	}
	if err := c.send(p, r.ServiceMethod, args); err != nil {
		c.stats.end(endWith(err))
		p.tell(err)
		return err
	}
	if p.notification != nil {
		return errNotified
	}
	return nil
}

// send hands a request to the Conn. If it returns an error, the request is not pending,
// and net/rpc ends the call with the error.
func (c *clientCodec) send(p *pendingCall, method string, args any) error {
	if c.openErr != nil {
		return c.openErr
	}
	if err := c.encode(p, method, args); err != nil {
		return err
	}
	added, err := c.write(p)
	if !added || err == nil {
		return err
	}
	if p.call != nil {
		p.call.sent = false
	}
	err = withSentinel(err, ErrUnavailable)
	if p.notification != nil {
		err = notificationError(err)
	}
	return err
}

// write adds a request to the pending ones, and hands it to the Conn. A request that the Conn
// refuses is removed again. added is false if it was not even added.
func (c *clientCodec) write(p *pendingCall) (added bool, err error) {
	c.writing.Lock()
	defer c.writing.Unlock()
	if err := c.add(p); err != nil {
		return false, err
	}
	p.Body = c.out.b
	if p.call != nil {
		p.call.sent = true // before the call can end
	}
	err = c.conn.WriteRequest(&p.Request)
	if !p.kept {
		p.Body = nil
	}
	if err != nil && !c.complete(p) { // it has ended meanwhile, with an error of its own
		err = nil
	}
	return true, err
}

// newCall returns the call that net/rpc makes with args, and the arguments of the caller:
// Call and Notify pass theirs to net/rpc in a struct.
func (c *clientCodec) newCall(seq uint64, args any) (*pendingCall, any) {
	p := &pendingCall{codec: c, seq: seq}
	p.owner, p.ctx = p, context.Background()
	timeout := max(c.opts.Timeout, 0)
	switch a := args.(type) {
	case *notification:
		p.ctx, p.notification, args = a.ctx, a, a.args
		a.pending = p
		if _, ok := a.ctx.Deadline(); ok { // Notify ends by itself then
			timeout = 0
		}
	case *call:
		p.ctx, p.call, args = a.ctx, a, a.args
		a.pending = p
		if deadline, ok := a.ctx.Deadline(); ok { // Call ends by itself then
			p.deadline, timeout = deadline, 0
		}
	}
	if timeout > 0 {
		p.expires = time.Now().Add(timeout)
		if p.notification == nil {
			p.deadline = p.expires
		}
	}
	return p, args
}

func (c *clientCodec) appendID(b []byte, seq uint64) []byte {
	b = strconv.AppendUint(append(b, c.id...), seq, 10)
	return append(b, '"')
}

// encode puts the request into c.out.
func (c *clientCodec) encode(p *pendingCall, method string, args any) error {
	c.out.reset()
	var buf [48]byte
	id := buf[:0]
	if p.notification == nil {
		id = c.appendID(id, p.seq)
	}
	c.out.b = appendRequest(c.out.b, id, c.wireName(method))
	var err error
	if c.out.b, err = appendMeta(c.out.b, p.ctx); err != nil {
		return err
	}
	if err := c.out.params(args, c.opts.Positional); err != nil {
		return fmt.Errorf("jsonrpc2: arguments of %s: %w", method, err)
	}
	c.out.b = append(c.out.b, '}')
	if limit := c.opts.MaxMessageSize; len(c.out.b) > limit {
		return fmt.Errorf("%w: request of %d bytes exceeds the limit of %d", ErrTooLarge, len(c.out.b), limit)
	}
	return nil
}

// ReadResponseHeader returns how the next call of this client has ended: by a response, or by
// an error that the codec has found.
func (c *clientCodec) ReadResponseHeader(r *rpc.Response) error {
	for {
		if c.in.next < len(c.in.items) {
			item := &c.in.items[c.in.next]
			c.in.next++
			if c.answer(item, r) {
				return nil
			}
			continue
		}
		if e := c.in.nameless; e != nil { // last: it is about calls that the items do not name
			c.in.nameless = nil
			c.failNameless(e)
		}
		c.failUnanswered()
		f, ctx := c.nextFailure()
		switch {
		case f.call != nil:
			f.call.respond(r, f.err)
			return nil
		case c.in.err != nil:
			return c.in.err
		}
		c.read(ctx)
	}
}

// read waits for a message, or for ctx.
func (c *clientCodec) read(ctx context.Context) {
	if c.openErr != nil { // wait for Close: an error would end the client, and hide openErr from its calls
		select {
		case <-c.closed:
			c.in.err = io.EOF
		case <-ctx.Done(): // a Shutdown waits: see nextFailure
		}
		return
	}
	clear(c.in.items) // they would keep the last message alive
	c.in.result = nil
	reply, err := c.conn.ReadReply(ctx)
	switch {
	case err == nil:
		c.unpack(reply)
	case ctx.Err() == nil || !errors.Is(err, ctx.Err()):
		c.in.err = err
		c.connEnded(err)
		c.inquiries.asking.Wait() // it still queues the errors of overdue calls
	}
}

// ReadResponseBody decodes the result. An error that it returns ends the client. So a [Call]
// gets its error in its call struct. A plain client.Call has no such place.
func (c *clientCodec) ReadResponseBody(reply any) error {
	p := c.in.answering
	if p == nil {
		return nil
	}
	c.in.answering = nil
	call, ok := reply.(*call)
	if ok {
		reply = call.result
	}
	err := c.decode(reply)
	if err == nil {
		c.stats.end(endAnswered)
		p.tell(nil)
		return nil
	}
	c.stats.end(endBadReply)
	err = fmt.Errorf("%w: %w", ErrBadReply, err)
	p.tell(err)
	if ok {
		call.err = err
		return nil
	}
	c.giveUpReading(err)
	return err
}

// decode decodes the result into reply, unless that is nil.
func (c *clientCodec) decode(reply any) error {
	if reply == nil {
		return nil
	}
	err, _ := c.in.decoder.decode(c.in.result, reply)
	return err
}

// Close waits until the requests that are overdue are withdrawn, and stops the reading. It
// then closes the Conn, which sends what it has accepted, and ends the calls that are left.
func (c *clientCodec) Close() error {
	c.mu.Lock()
	first := !c.closing
	c.closing = true
	c.mu.Unlock()
	if first {
		close(c.closed)
	}
	if c.openErr != nil {
		return nil
	}
	c.inquiries.asking.Wait()
	c.stopReading()
	err := c.conn.Close()
	c.endAll()
	c.log.close()
	return err
}
