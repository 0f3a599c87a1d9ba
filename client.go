package jsonrpc2

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net/rpc"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode"
	"unicode/utf8"
)

// A clientCodec is the rpc.ClientCodec. net/rpc calls WriteRequest from any
// goroutine, one at a time, and reads on one of its own:
//
//	ReadResponseHeader    in turn with ReadResponseBody
//	  nextFailure           a call that timed out, was given up, or not sent
//	  ReadMessage           else wait for a message, scan it
//	  answer                find the call of each response
//	  failUnanswered        end the calls that should have been answered
//
// An error from the reading side would end the client and every call of it.
// What goes wrong with one call is therefore given to net/rpc as an error
// response to that call.
type clientCodec struct {
	conn  Conn
	opts  ClientOptions
	log   *dropLog
	stats *Stats
	id    string // what the ids of this client begin with, in quotes

	// WriteRequest's own.
	out   *encoder
	names map[string]string // names of methods in Go to those on the wire

	// The reading goroutine's own.
	items   []envelope // of the message in hand
	next    int        // index of the item that is next
	decoder *decoder
	request []byte    // that the message in hand answers, if that is known
	missing error     // ends the calls in request that are not answered; nil if they may still be
	result  []byte    // of the response in hand
	unnamed *envelope // the message's first error without an id

	inquirer Inquirer       // conn, nil if it is none
	asking   sync.WaitGroup // for the goroutine that asks it

	mu        sync.Mutex // protects following
	pending   map[uint64]*pendingCall
	oldest    *pendingCall // the calls with a timeout, by age
	newest    *pendingCall
	timer     *time.Timer // runs expire
	armed     bool        // timer will fire
	failures  []failure   // to be told to net/rpc
	overdue   []inquiry   // to ask the inquirer of
	inquiring bool        // the asking goroutine runs
	reading   context.Context
	interrupt context.CancelFunc // of reading
	closed    bool
	sent      uint64 // the last call
	nameless  nameless
}

// A nameless error says of no call that it is about it.
type nameless struct {
	err  error  // nil: there was none
	sent uint64 // the last call before it
}

// A pendingCall waits for its answer. It is the context that its request
// travels under: the caller's, with the deadline set by Timeout.
type pendingCall struct {
	context.Context
	seq        uint64
	deadline   time.Time     // zero: the Context's own
	call       *call         // nil for a plain client.Call
	batch      atomic.Uint64 // the number that Batch sent it under, 0 if it did not
	kept       atomic.Value  // what the Conn knows the request by
	prev, next *pendingCall
}

// Deadline returns when nobody will wait for the answer any more.
func (p *pendingCall) Deadline() (time.Time, bool) {
	if p.deadline.IsZero() {
		return p.Context.Deadline()
	}
	return p.deadline, true
}

// Err is not nil as soon as nobody waits for the answer any more.
func (p *pendingCall) Err() error {
	if !p.deadline.IsZero() && !time.Now().Before(p.deadline) {
		return context.DeadlineExceeded
	}
	return p.Context.Err()
}

// A failure is a call that ends without a response.
type failure struct {
	call *pendingCall
	err  error
}

func newClientCodec(conn Conn, opts *ClientOptions) *clientCodec {
	if opts == nil {
		opts = &ClientOptions{}
	}
	c := &clientCodec{conn: conn, opts: *opts}
	if opts.Timeout == 0 {
		c.opts.Timeout = DefaultTimeout
	}
	c.opts.MaxMessageSize = orDefault(opts.MaxMessageSize, DefaultMaxMessageSize)
	c.opts.MaxDepth = depthLimit(opts.MaxDepth)
	c.log = newDropLog(opts.Logger)
	c.stats = opts.Stats
	if c.stats == nil {
		c.stats = new(Stats)
	}
	c.id = newIDPrefix()
	c.out = newEncoder()
	c.names = make(map[string]string)
	c.decoder = newDecoder()
	c.pending = make(map[uint64]*pendingCall)
	c.reading, c.interrupt = context.WithCancel(context.Background())
	c.inquirer, _ = conn.(Inquirer)
	if l, ok := conn.(Limiter); ok {
		l.SetLimits(Limits{MessageSize: c.opts.MaxMessageSize})
	}
	return c
}

// newIDPrefix makes ids unique among all clients, as they share a broker.
func newIDPrefix() string {
	var random [8]byte
	_, _ = rand.Read(random[:]) // never fails
	return `"` + hex.EncodeToString(random[:]) + "-"
}

// errNotified is what WriteRequest returns for a notification that was handed
// over: it makes net/rpc forget the call, which will have no answer.
var errNotified = errors.New("jsonrpc2: notified")

// WriteRequest sends a request. Its errors fail that call alone.
func (c *clientCodec) WriteRequest(r *rpc.Request, args any) error {
	c.out.reset()
	if n, ok := args.(notification); ok {
		return c.notify(r.ServiceMethod, n.args)
	}
	p := &pendingCall{Context: context.Background(), seq: r.Seq}
	if call, ok := args.(*call); ok {
		p.Context, p.call, args = call.ctx, call, call.args
		call.codec, call.seq = c, r.Seq
	}
	var id [48]byte
	if err := c.encode(c.appendID(id[:0], r.Seq), r.ServiceMethod, args); err != nil {
		return err
	}
	c.add(p)
	if err := c.conn.WriteMessage(p, c.out.b); err != nil {
		if waits, _ := c.take(r.Seq); waits != nil { // else it was ended meanwhile
			c.stats.Unsent.Add(1)
			return err
		}
	}
	c.stats.Calls.Add(1)
	return nil
}

func (c *clientCodec) notify(method string, args any) error {
	if err := c.encode(nil, method, args); err != nil {
		return err
	}
	if err := c.conn.WriteMessage(context.Background(), c.out.b); err != nil {
		c.stats.Unsent.Add(1)
		return err
	}
	c.stats.Notifications.Add(1)
	return errNotified
}

func (c *clientCodec) appendID(b []byte, seq uint64) []byte {
	b = strconv.AppendUint(append(b, c.id...), seq, 10)
	return append(b, '"')
}

// encode puts the request into c.out.
func (c *clientCodec) encode(id []byte, method string, args any) error {
	c.out.b = appendRequest(c.out.b, id, c.wireName(method))
	if err := c.out.params(args, c.opts.Positional); err != nil {
		return fmt.Errorf("jsonrpc2: arguments of %s: %w", method, err)
	}
	c.out.b = append(c.out.b, '}')
	if limit := c.opts.MaxMessageSize; len(c.out.b) > limit {
		return fmt.Errorf("%w: request of %d bytes exceeds the limit of %d", ErrTooLarge, len(c.out.b), limit)
	}
	return nil
}

func (c *clientCodec) wireName(method string) string {
	name, ok := c.names[method]
	if ok {
		return name
	}
	switch bare, ok := strings.CutPrefix(method, c.opts.Service+"."); {
	case c.opts.Name != nil:
		name = c.opts.Name(method)
	case ok && c.opts.Service != "":
		first, n := utf8.DecodeRuneInString(bare)
		name = string(unicode.ToLower(first)) + bare[n:]
	default:
		name = method
	}
	if len(c.names) < maxNames {
		c.names[method] = name
	}
	return name
}

// ReadResponseHeader returns the next answer to a call of ours.
func (c *clientCodec) ReadResponseHeader(r *rpc.Response) error {
	for {
		if c.next < len(c.items) {
			item := &c.items[c.next]
			c.next++
			if c.answer(item, r) {
				return nil
			}
			continue
		}
		if e := c.unnamed; e != nil { // not about the calls that were answered by name
			c.unnamed = nil
			c.failNameless(e)
		}
		c.failUnanswered()
		ctx, ok := c.nextFailure(r)
		if ok {
			return nil
		}
		msg, err := c.conn.ReadMessage(ctx)
		switch {
		case err == nil:
			c.open(msg)
		case ctx.Err() == nil || !errors.Is(err, ctx.Err()):
			c.end()
			return err
		}
	}
}

// nextFailure reports the next call that ends without a response, or, where
// there is none, the context to wait under for a message.
func (c *clientCodec) nextFailure(r *rpc.Response) (context.Context, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.failures) == 0 {
		c.failures = nil
		if c.reading.Err() != nil {
			c.reading, c.interrupt = context.WithCancel(context.Background())
		}
		return c.reading, false
	}
	f := c.failures[0]
	c.failures = c.failures[1:]
	f.call.fail(r, f.err)
	return nil, true
}

// fail makes r the error response to p.
func (p *pendingCall) fail(r *rpc.Response, err error) {
	r.Seq, r.Error = p.seq, flatText(err)
	if p.call != nil {
		p.call.err = err
	}
}

// maxBatchItems limits a batch of requests, and of replies: one of 4 MiB may
// have two million, and each takes a hundred times its length.
const maxBatchItems = 10_000

var errManyItems = fmt.Errorf("batch exceeds the limit of %d items", maxBatchItems)

// open scans a message and makes its items the ones to look at.
func (c *clientCodec) open(msg Message) {
	c.next = 0
	clear(c.items)
	c.items, c.request, c.missing = c.items[:0], msg.Request, msg.Missing
	if msg.Err != nil {
		c.count(c.failAll(msg.Body, msg.Err), msg.Err)
		return
	}
	if limit := c.opts.MaxMessageSize; len(msg.Body) > limit {
		c.failAll(msg.Body, fmt.Errorf("%w: reply of %d bytes exceeds the limit of %d", ErrTooLarge, len(msg.Body), limit))
		return
	}
	_, err := scanMessage(msg.Body, c.opts.MaxDepth, func(e envelope) error {
		if len(c.items) == maxBatchItems {
			return errManyItems
		}
		c.items = append(c.items, e)
		return nil
	})
	if err == nil {
		return
	}
	c.items = c.items[:0]
	if !errors.Is(err, errSyntax) {
		c.failAll(msg.Body, fmt.Errorf("%w: reply's %w", ErrTooLarge, err))
		return
	}
	c.stats.Invalid.Add(1)
	switch {
	case c.missing != nil:
		c.count(c.failAll(c.request, fmt.Errorf("%w: %w", c.missing, err)), c.missing)
		c.missing = nil
	case c.request != nil:
		c.count(c.failAll(c.request, fmt.Errorf("%w: %w", ErrBadReply, err)), ErrBadReply)
	default:
		c.log.drop("broken reply dropped", msg.Body, slog.Any("error", err))
	}
}

// failAll fails the calls whose ids are in body, and returns their number.
func (c *clientCodec) failAll(body []byte, err error) int {
	failed, late := c.takeAll(body, err)
	switch {
	case failed > 0:
	case late > 0:
		c.stats.Dropped.Add(1)
		c.log.late(body)
	default: // notifications, or nothing of ours
		c.stats.Dropped.Add(1)
		c.log.drop("message dropped", body, slog.Any("error", err))
	}
	return failed
}

// takeAll fails the calls whose ids are in body, and returns their number and that
// of the calls among them that had ended before.
func (c *clientCodec) takeAll(body []byte, err error) (failed, late int) {
	_, _ = scanMessage(body, headerDepth, func(e envelope) error {
		switch p, ours := c.takeID(e.id); {
		case p != nil:
			c.mu.Lock()
			c.failures = append(c.failures, failure{p, err})
			c.mu.Unlock()
			failed++
		case ours:
			late++
		}
		return nil
	})
	return failed, late
}

// answer makes r the response that e is, and reports whether it is one.
func (c *clientCodec) answer(e *envelope, r *rpc.Response) bool {
	var p *pendingCall
	var ours bool
	if e.method == nil || e.result != nil || e.err != nil { // some servers repeat it
		p, ours = c.takeID(e.id)
	}
	if p != nil && kindOf(c.request) == '{' && bytes.Contains(c.request, e.id) {
		c.missing = nil // most often: it was its only call
	}
	switch {
	case p == nil && e.isNameless():
		if c.unnamed == nil {
			c.unnamed = e
		}
		return false
	case p == nil && (e.invalid != "" || !e.isResponse()):
		c.stats.Invalid.Add(1)
		c.log.drop("reply that is no response dropped", e.text)
		return false
	case p == nil && ours:
		c.stats.Dropped.Add(1)
		c.log.late(e.text)
		return false
	case p == nil:
		c.stats.Dropped.Add(1)
		c.log.drop("reply that nobody waits for dropped", e.text)
		return false
	}
	if err := e.failure(); err != nil {
		c.stats.Errors.Add(1)
		p.fail(r, err)
		return true
	}
	r.Seq, c.result = p.seq, e.result
	return true
}

// failure returns the error that a response to a call of ours is, nil if it has a
// result.
func (e *envelope) failure() error {
	if err := e.checkResponse(); err != nil {
		return fmt.Errorf("%w: %w: %s", ErrBadReply, err, excerpt(e.text))
	}
	if e.err == nil || kindOf(e.err) == 'n' {
		return nil
	}
	return wireError(e.err)
}

// failNameless fails the calls that an error without an id is about, if it is
// certain which those are: a server answers so to what it takes for no request,
// such as a batch where it knows none.
func (c *clientCodec) failNameless(e *envelope) {
	err := wireError(e.err)
	if c.request != nil {
		c.stats.Errors.Add(int64(c.failAll(c.request, err)))
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	batch := c.onlyBatch()
	for _, p := range batch {
		c.remove(p)
		c.failures = append(c.failures, failure{p, err})
	}
	c.stats.Errors.Add(int64(len(batch)))
	if len(batch) == 0 {
		c.nameless = nameless{err, c.sent}
		c.stats.Dropped.Add(1)
		c.log.drop("reply that nobody waits for dropped", e.text)
	}
}

// failUnanswered fails the calls that the message in hand should have answered,
// where no other message will.
func (c *clientCodec) failUnanswered() {
	if c.missing == nil {
		return
	}
	failed, _ := c.takeAll(c.request, c.missing)
	c.count(failed, c.missing)
	c.missing = nil
}

// count counts calls that failed on the way: as unsent if it is certain that they
// did not run.
func (c *clientCodec) count(calls int, err error) {
	for _, sentinel := range [...]error{ErrUnavailable, ErrNoServer, ErrOverloaded, ErrTooLarge} {
		if errors.Is(err, sentinel) {
			c.stats.Unsent.Add(int64(calls))
			return
		}
	}
	c.stats.Errors.Add(int64(calls))
}

// onlyBatch returns the calls that a Batch has sent, if all of them in one
// message. It is called with c.mu locked.
func (c *clientCodec) onlyBatch() (batch []*pendingCall) {
	for _, p := range c.pending {
		number := p.batch.Load()
		switch {
		case number == 0: // not sent yet
		case len(batch) > 0 && number != batch[0].batch.Load():
			return nil
		default:
			batch = append(batch, p)
		}
	}
	return batch
}

// ReadResponseBody decodes the result. An error here would end the client; a
// [Call] therefore keeps it to itself, while a plain client.Call knows no
// other way to learn of it.
func (c *clientCodec) ReadResponseBody(reply any) error {
	if reply == nil {
		return nil
	}
	call, ok := reply.(*call)
	if ok {
		reply = call.result
	}
	err, _ := c.decoder.decode(c.result, reply)
	if err == nil {
		return nil
	}
	err = fmt.Errorf("%w: %w", ErrBadReply, err)
	if ok {
		call.err = err
		return nil
	}
	return err
}

// end forgets all calls: net/rpc ends them.
func (c *clientCodec) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	if c.timer != nil {
		c.timer.Stop()
	}
	clear(c.pending)
	c.oldest, c.newest = nil, nil
}

// Close closes the Conn, which ends the reading. Requests that are being
// withdrawn are so before.
func (c *clientCodec) Close() error {
	c.end()
	c.asking.Wait()
	c.log.close()
	return c.conn.Close()
}
