package jsonrpc2

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/rpc"
	"strings"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"
)

// A serverCodec is the rpc.ServerCodec. net/rpc runs it like this:
//
//	ReadRequestHeader   on one goroutine, in turn with
//	  ReadRequest         wait for a place and a message, scan it
//	  nextItem            answer what is no call, here and at once
//	ReadRequestBody       decode the params of the call
//	  service.call          on a goroutine of its own
//	    WriteResponse         one at a time, on the call's goroutine
//	      finish                the last item of a message: Delivery.Reply
type serverCodec struct {
	ctx   context.Context
	conn  ServerConn
	unfit bool // another codec has conn
	opts  ServerOptions
	log   *dropLog
	stats *Stats
	err   error // what ended conn, or its Close; read when ServeCodec has returned

	places chan struct{} // holds one for each running call, and one if placed
	grace  *grace

	// The reading goroutine's own.
	placed   bool       // a place is taken for the next call
	header   Header     // of the message in hand, if the Conn has scanned none
	items    []envelope // of the message in hand
	next     int        // index of the item that is next
	exchange *exchange  // of the message in hand; &single for all but batches
	single   exchange
	call     *serverCall
	params   []byte // of call
	method   []byte // of call
	seq      uint64
	names    map[string]string // names of methods on the wire to those in Go
	decoder  *paramsDecoder
	answer   []byte // scratch

	out *encoder // WriteResponse's own

	mu      sync.Mutex // protects following, and the exchanges
	running map[uint64]*serverCall
	free    []*serverCall
}

// A serverCall is one running call or notification.
type serverCall struct {
	exchange *exchange
	single   exchange // of a message that is no batch
	id       []byte   // empty: a notification
	err      *Error   // found before the method could run
	cancel   func()   // ends the context of the arguments; nil if they have none
}

// An exchange is a message on its way to its one reply.
type exchange struct {
	reply    func([]byte) error
	notRun   func()          // in place of reply where nothing was begun; nil: not wanted
	deadline time.Time       // zero: not known
	ctx      context.Context // nil: not known
	attempt  int             // 0: not known
	batch    bool
	begun    bool   // some item of a batch was
	expired  bool   // some item was not begun, for nobody waits
	left     int    // items of a batch that are not done
	answers  []byte // of a batch, so far

	reserved int // bytes for errors in place of the answers that are missing
}

// isGivenUp reports whether nobody waits for the answer any more.
func (x *exchange) isGivenUp() bool {
	return x.ctx != nil && x.ctx.Err() != nil ||
		!x.deadline.IsZero() && !time.Now().Before(x.deadline)
}

// standInSize is the length of such an error, less its id's.
const standInSize = 160

const (
	maxNames  = 1024 // in the table of names, which strangers could otherwise fill
	maxKeptID = 256  // bytes that a free serverCall holds on to
)

func newServerCodec(ctx context.Context, conn ServerConn, opts *ServerOptions) *serverCodec {
	if opts == nil {
		opts = &ServerOptions{}
	}
	c := &serverCodec{ctx: ctx, conn: conn, opts: *opts}
	c.opts.MaxInFlight = orDefault(opts.MaxInFlight, DefaultMaxInFlight)
	c.opts.MaxMessageSize = orDefault(opts.MaxMessageSize, DefaultMaxMessageSize)
	c.opts.MaxBatch = orDefault(opts.MaxBatch, DefaultMaxBatch)
	c.opts.MaxDepth = depthLimit(opts.MaxDepth)
	c.log = newDropLog(opts.Logger)
	c.stats = opts.Stats
	if c.stats == nil {
		c.stats = new(Stats)
	}
	if opts.Grace == 0 {
		c.opts.Grace = DefaultGrace
	}
	c.places = make(chan struct{}, c.opts.MaxInFlight)
	c.grace = newGrace(ctx, c.opts.Grace)
	c.names = make(map[string]string)
	c.decoder = newParamsDecoder()
	c.decoder.strict = opts.Strict
	c.out = newEncoder()
	c.running = make(map[uint64]*serverCall)
	c.header.limit = c.opts.MaxBatch
	c.err = conn.Open(Settings{MessageSize: c.opts.MaxMessageSize, InFlight: c.opts.MaxInFlight, Lost: c.lost})
	c.unfit = c.err != nil
	return c
}

// ReadRequestHeader returns the next call. It answers by itself whatever is
// none, since an error here would end the serving. io.EOF makes ServeCodec wait
// for the running calls and then close the codec.
func (c *serverCodec) ReadRequestHeader(r *rpc.Request) error {
	if c.unfit {
		return io.EOF
	}
	for {
		if c.next < len(c.items) {
			if c.nextItem(r) {
				return nil
			}
			continue
		}
		c.takePlace(c.ctx.Done())
		c.items, c.params, c.method = nil, nil, nil // not kept while nothing comes
		d, err := c.conn.ReadRequest(c.ctx)
		if err != nil {
			c.end(err)
			return io.EOF
		}
		c.open(d)
	}
}

// takePlace waits for a place for the next call, until done. A nil done: for
// as long as it takes, which is for the items of a batch that has begun.
func (c *serverCodec) takePlace(done <-chan struct{}) {
	if c.placed {
		return
	}
	select {
	case c.places <- struct{}{}:
		c.placed = true
	case <-done: // ReadRequest is to see that, too
	}
}

func (c *serverCodec) end(err error) {
	drained := c.ctx.Err() != nil && errors.Is(err, c.ctx.Err())
	if !drained && err != io.EOF {
		c.err = err
	}
}

// open makes the items of a message the ones to serve.
func (c *serverCodec) open(d Delivery) {
	c.next, c.items = 0, nil
	h := c.scan(d)
	if d.Err != nil {
		c.stats.Dropped.Add(1)
		c.log.drop("message can't be served", d.Body, slog.Any("error", d.Err))
		c.reply(d.Reply, answerAll(h, d.Err))
		return
	}
	if err := c.check(h, d.Body); err != nil {
		c.refuse(d, err)
		return
	}
	c.items = h.items
	c.single = exchange{reply: d.Reply, notRun: d.NotRun, deadline: d.Deadline, ctx: d.Context, attempt: d.Attempt}
	c.exchange = &c.single
	if h.batch {
		x := c.single
		x.batch, x.left = true, len(c.items)
		c.exchange = &x
		for i := range c.items {
			if e := &c.items[i]; e.wantsAnswer() {
				c.exchange.reserved += len(e.answerID()) + standInSize
			}
		}
	}
}

// scan returns what a scan of the message has found: the Conn's, if it has made one
// that has all items.
func (c *serverCodec) scan(d Delivery) *Header {
	h := d.Header
	if !h.isOf(d.Body) || h.isPartial() && h.count <= c.opts.MaxBatch {
		h = &c.header
		h.Scan(d.Body)
	}
	return h
}

// answerAll returns what answers all calls of a message that can't be served,
// nil if they are not to be answered.
func answerAll(h *Header, err error) []byte {
	var failure *Error
	if !errors.As(err, &failure) || failure == nil {
		return nil
	}
	if h.isPartial() {
		return appendError(nil, jsonNull, failure)
	}
	var answers []byte
	for i := range h.items {
		if e := &h.items[i]; e.wantsAnswer() {
			answers = appendError(append(answers, ','), e.answerID(), failure)
		}
	}
	switch {
	case answers == nil:
		return nil
	case h.batch:
		answers[0] = '['
		return append(answers, ']')
	}
	return answers[1:]
}

var errEmptyBatch = errors.New("invalid request: empty batch")

// check returns why a message can't be taken apart, nil if it can.
func (c *serverCodec) check(h *Header, body []byte) error {
	switch limit := c.opts.MaxMessageSize; {
	case len(body) > limit:
		return fmt.Errorf("message exceeds the limit of %d bytes", limit)
	case h.depth > c.opts.MaxDepth:
		return fmt.Errorf("nesting exceeds the limit of %d", c.opts.MaxDepth)
	case h.err != nil:
		return h.err
	case h.count > c.opts.MaxBatch:
		return fmt.Errorf("batch exceeds the limit of %d items", c.opts.MaxBatch)
	case h.count == 0:
		return errEmptyBatch
	}
	return nil
}

// refuse answers a message that can't be taken apart with one error.
func (c *serverCodec) refuse(d Delivery, err error) {
	code := int64(CodeInvalidRequest)
	if errors.Is(err, errSyntax) {
		code = CodeParse
	}
	c.stats.Invalid.Add(1)
	c.log.drop("message refused", d.Body, slog.Any("error", err))
	c.answer = appendError(c.answer[:0], jsonNull, errorf(code, "%v", err))
	c.reply(d.Reply, c.answer)
}

// nextItem makes the next item a running call and reports whether it is one.
func (c *serverCodec) nextItem(r *rpc.Request) bool {
	item := &c.items[c.next]
	c.next++
	if item.isResponse() {
		c.stats.Dropped.Add(1)
		c.log.drop("response in place of a request dropped", item.text)
		c.finish(c.exchange, nil, nil)
		return false
	}
	if err := item.checkRequest(); err != nil {
		c.stats.Invalid.Add(1)
		c.log.drop(err.Message, item.text)
		c.answer = appendError(c.answer[:0], item.answerID(), err)
		c.finish(c.exchange, item.answerID(), c.answer)
		return false
	}
	c.takePlace(nil)
	if c.exchange.isGivenUp() { // perhaps while it waited for the place
		c.expire(item)
		return false
	}
	c.start(item, r)
	return true
}

// expire lets an item be that nobody waits for. It has an answer, which is sent
// if other items of its message have begun.
func (c *serverCodec) expire(item *envelope) {
	c.stats.Expired.Add(1)
	c.log.drop("request whose caller has given up not run", item.text)
	c.exchange.expired = true
	if item.id == nil {
		c.finish(c.exchange, nil, nil)
		return
	}
	c.answer = appendError(c.answer[:0], item.id, errorf(CodeServer, "not run: its caller had given up"))
	c.finish(c.exchange, item.id, c.answer)
}

func (c *serverCodec) start(item *envelope, r *rpc.Request) {
	c.seq++
	r.Seq, r.ServiceMethod = c.seq, c.goName(item.method)
	c.params, c.method = item.params, item.method
	c.placed = false
	if item.id == nil {
		c.stats.Notifications.Add(1)
	} else {
		c.stats.Calls.Add(1)
	}

	c.mu.Lock()
	defer c.mu.Unlock()
	var call *serverCall
	if n := len(c.free); n > 0 {
		call, c.free = c.free[n-1], c.free[:n-1]
	} else {
		call = new(serverCall)
	}
	call.exchange = c.exchange
	c.exchange.begun = true
	if !c.exchange.batch { // spares an allocation
		call.single = *c.exchange
		call.exchange = &call.single
	}
	if item.id != nil { // copied, for the message is overwritten by the next
		call.id = append(call.id[:0], item.id...)
	}
	c.call, c.running[c.seq] = call, call
}

// goName maps a method's name on the wire, quoted, to one of net/rpc's.
func (c *serverCodec) goName(quoted []byte) string {
	if name, ok := c.names[string(quoted)]; ok {
		return name
	}
	name := unquote(quoted)
	switch {
	case c.opts.Name != nil:
		return c.opts.Name(name)
	case c.opts.Service == "" || strings.Contains(name, "."):
		return name
	}
	first, n := utf8.DecodeRuneInString(name)
	return c.opts.Service + "." + string(unicode.ToUpper(first)) + name[n:]
}

// ReadRequestBody decodes the params. net/rpc asks for a nil body where it
// knows no such method, and for nothing else.
func (c *serverCodec) ReadRequestBody(body any) error {
	if body == nil {
		c.call.err = c.notFound(unquote(c.method))
		return nil
	}
	if _, ok := c.names[string(c.method)]; !ok && len(c.names) < maxNames {
		c.names[string(c.method)] = c.goName(c.method) // only of methods there are
	}
	if err := c.decoder.decode(c.params, body); err != nil {
		c.call.err = err
		return err
	}
	c.setContext(c.call, body)
	return nil
}

func (c *serverCodec) notFound(method string) *Error {
	hint := ""
	if c.opts.Service == "" && c.opts.Name == nil && !strings.Contains(method, ".") {
		hint = " (the server has no Service for names without a dot)"
	}
	return errorf(CodeMethodNotFound, "method not found: %.100s%s", method, hint)
}

// WriteResponse answers a call, or lets a notification end. net/rpc discards
// what it returns, so that whatever goes wrong is logged here.
func (c *serverCodec) WriteResponse(r *rpc.Response, body any) error {
	c.mu.Lock()
	call := c.running[r.Seq]
	delete(c.running, r.Seq)
	c.mu.Unlock()

	err := call.err
	if err == nil && r.Error != "" {
		err = errorFromText(r.Error)
	}
	if len(call.id) == 0 {
		if err != nil {
			c.log.drop("notification failed", nil, slog.String("method", r.ServiceMethod), slog.Any("error", err))
		}
		c.finish(call.exchange, nil, nil)
	} else {
		c.finish(call.exchange, call.id, c.response(call, r.ServiceMethod, err, body))
	}
	c.release(call)
	return nil
}

// response encodes the response to a call.
func (c *serverCodec) response(call *serverCall, method string, err *Error, result any) []byte {
	c.out.reset()
	if err == nil {
		c.out.b = appendResponse(c.out.b, call.id, "result")
		if failed := c.out.value(result); failed != nil {
			err = c.unsendable(method, failed)
		}
		c.out.b = append(c.out.b, '}')
	}
	if err != nil {
		c.out.b = appendError(c.out.b[:0], call.id, err)
	}
	if n, limit := len(c.out.b), c.opts.MaxMessageSize; n > limit {
		err = c.unsendable(method, fmt.Errorf("response of %d bytes exceeds the limit of %d", n, limit))
		c.out.b = appendError(c.out.b[:0], call.id, err)
	}
	if err != nil {
		c.stats.Errors.Add(1)
	}
	return c.out.b
}

// unsendable returns what is sent in place of a response that can't be.
func (c *serverCodec) unsendable(method string, err error) *Error {
	c.log.drop("response can't be sent", nil, slog.String("method", method), slog.Any("error", err))
	return errorf(CodeInternal, "internal error: %v", err)
}

// finish notes that an item is done, with its answer or with none. The last one
// of a message sends the reply.
func (c *serverCodec) finish(x *exchange, id, answer []byte) {
	if x.batch {
		c.mu.Lock()
		last, replaced := x.add(id, answer, c.opts.MaxMessageSize)
		c.mu.Unlock()
		if replaced {
			c.stats.Errors.Add(1)
			c.log.drop("response can't be sent: those of its batch exceed the limit", answer)
		}
		if !last {
			return
		}
		answer = x.answers
	}
	switch {
	case !x.expired || x.begun:
		c.reply(x.reply, answer)
	case x.notRun != nil:
		x.notRun()
	default:
		c.reply(x.reply, nil)
	}
}

// add adds an answer to a batch's, and ends the array with the last. Where the
// answers would get too long, an error stands in for this one; there is always
// room for those of the items that are left.
func (x *exchange) add(id, answer []byte, limit int) (last, replaced bool) {
	if answer != nil {
		x.reserved -= len(id) + standInSize
		replaced = len(answer) > len(id)+standInSize && len(x.answers)+len(answer)+len("[]")+x.reserved > limit
		if replaced {
			answer = appendError(nil, id, errorf(CodeInternal, "internal error: the batch's responses exceed the limit of %d bytes", limit))
		}
		separator := byte(',')
		if len(x.answers) == 0 {
			separator = '['
		}
		x.answers = append(append(x.answers, separator), answer...)
	}
	x.left--
	if x.left == 0 && x.answers != nil {
		x.answers = append(x.answers, ']')
	}
	return x.left == 0, replaced
}

func (c *serverCodec) reply(reply func([]byte) error, body []byte) {
	if err := reply(body); err != nil {
		c.lost(body, err)
	}
}

// lost notes that an answer can't be delivered, or that a request could not be given
// back.
func (c *serverCodec) lost(body []byte, why error) {
	c.stats.LostReplies.Add(1)
	c.log.drop("reply lost", body, slog.Any("error", why))
}

// release frees what a call held, its place last.
func (c *serverCodec) release(call *serverCall) {
	if call.cancel != nil {
		call.cancel()
	}
	if cap(call.id) > maxKeptID {
		call.id = nil
	}
	*call = serverCall{id: call.id[:0]}
	c.mu.Lock()
	c.free = append(c.free, call)
	c.mu.Unlock()
	<-c.places
}

// Close closes the Conn. ServeCodec calls it when the last call is answered, and
// discards what it returns.
func (c *serverCodec) Close() error {
	c.grace.close()
	if c.unfit {
		return nil
	}
	err := c.conn.Close()
	if err != nil {
		c.log.drop("Conn closed with an error", nil, slog.Any("error", err))
	}
	c.log.close()
	if c.err == nil {
		c.err = err
	}
	return err
}
