package jsonrpc2

import (
	"errors"
	"fmt"
	"log/slog"
	"net/rpc"
)

// An incoming is the message that a server is reading its calls from.
type incoming struct {
	hasPlace bool       // a place is taken for the next call
	items    []envelope // of the message
	next     int        // index of the next item
	exchange *exchange  // of the message; &single for all but batches
	single   exchange
	call     *serverCall
	params   []byte // of call
	method   []byte // of call
	meta     []byte // of call
	seq      uint64

	*scratch // nil while one of many codecs waits for a message
}

// A scratch is what takes time to make, and is of no use while a codec waits for a message.
// The codecs of a serving take it from a pool.
type scratch struct {
	header  Header            // of the message, if the Conn has scanned none
	names   map[string]string // names of methods on the wire to those in Go
	decoder *paramsDecoder
	answer  []byte
}

func (s *serving) newScratch() *scratch {
	t := &scratch{names: make(map[string]string), decoder: newParamsDecoder()}
	t.decoder.strict = s.opts.Strict
	t.header.limit = s.opts.MaxBatch
	return t
}

// rest comes before the wait for a message. A codec that is alone takes a place first: while
// it has none, other servers of the queue can take the message. One of many codecs must not
// hold a place while it waits, perhaps for days. It gives back its place and its scratch.
func (c *serverCodec) rest() {
	c.in.items, c.in.params, c.in.method, c.in.meta = nil, nil, nil, nil // they would keep the last message alive
	if c.isAlone() {
		c.takePlace(c.ctx.Done())
		return
	}
	if c.in.hasPlace { // the last item did not need it
		<-c.places
		c.in.hasPlace = false
	}
	c.in.header.release()
	c.scratches.Put(c.in.scratch)
	c.in.scratch = nil
}

// resume comes after rest, when there is a message.
func (c *serverCodec) resume() {
	if c.in.scratch == nil {
		c.in.scratch = c.scratches.Get().(*scratch)
	}
}

// takePlace waits for a place for the next call, or until done is closed. Within a message
// done is nil: a batch that has begun is finished.
func (c *serverCodec) takePlace(done <-chan struct{}) {
	if c.in.hasPlace {
		return
	}
	select {
	case c.places <- struct{}{}:
		c.in.hasPlace = true
	case <-done: // ReadRequest then returns
	}
}

// takePlaceForItem waits for a place for an item of the message. One of many codecs waits
// only until its peer has gone, which reading ahead shows, or until the drain. In a drain it
// waits on if a part of the message has begun.
func (c *serverCodec) takePlaceForItem() {
	if c.isAlone() {
		c.takePlace(nil)
		return
	}
	if c.in.hasPlace {
		return
	}
	select {
	case c.places <- struct{}{}:
		c.in.hasPlace = true
		return
	default:
	}
	c.stream.readAhead(c.ctx)
	drained := c.ctx.Done()
	if c.in.exchange.begun {
		drained = nil
	}
	select {
	case c.places <- struct{}{}:
		c.in.hasPlace = true
	case <-c.in.exchange.ctx.Done():
	case <-drained:
	}
}

// unpack makes the items of a message the ones to serve. It answers a message that can't be
// served.
func (c *serverCodec) unpack(d Delivery) {
	c.in.next, c.in.items = 0, nil
	h := c.scan(d)
	if d.Err != nil {
		c.stats.dropped.Add(1)
		c.log.drop("message can't be served", d.Body, slog.Any("error", d.Err))
		c.reply(d.Reply, answerAll(h, d.Err))
		return
	}
	if err := c.check(h, d.Body); err != nil {
		c.refuse(d, err)
		return
	}
	c.in.items = h.items
	c.in.single = exchange{reply: d.Reply, notRun: d.NotRun, deadline: d.Deadline, ctx: d.Context, attempt: d.Attempt, origin: d.Origin}
	if d.Begun != nil && areNotifications(c.in.items) {
		c.in.single.onBegun = d.Begun
	}
	c.in.exchange = &c.in.single
	if h.batch {
		x := c.in.single
		x.batch, x.left = true, len(c.in.items)
		c.in.exchange = &x
		for i := range c.in.items {
			if e := &c.in.items[i]; e.wantsAnswer() {
				c.in.exchange.reserved += len(e.answerID()) + standInSize
			}
		}
	}
}

func areNotifications(items []envelope) bool {
	for i := range items {
		if !items[i].isNotification() {
			return false
		}
	}
	return true
}

// scan returns what a scan of the message has found. It takes the Conn's scan, if there is one
// that has all items, or shows that there are more than MaxBatch.
func (c *serverCodec) scan(d Delivery) *Header {
	h := d.Header
	if !h.isOf(d.Body) || h.isPartial() && h.count <= c.opts.MaxBatch {
		h = &c.in.header
		h.Scan(d.Body)
	}
	return h
}

var errEmptyBatch = errors.New("invalid request: empty batch")

// check returns why a message can't be served, nil if its items can.
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

// refuse answers a message with one error, since it can't be served.
func (c *serverCodec) refuse(d Delivery, err error) {
	code := int64(CodeInvalidRequest)
	if errors.Is(err, errSyntax) {
		code = CodeParse
	}
	c.stats.invalid.Add(1)
	c.log.drop("message refused", d.Body, slog.Any("error", err))
	c.in.answer = appendError(c.in.answer[:0], jsonNull, errorf(code, "%v", err))
	c.reply(d.Reply, c.in.answer)
}

// nextItem makes the next item a running call, or finishes it at once. It reports whether the
// item runs.
func (c *serverCodec) nextItem(r *rpc.Request) bool {
	item := &c.in.items[c.in.next]
	c.in.next++
	if item.isResponse() {
		c.stats.dropped.Add(1)
		c.log.drop("response in place of a request dropped", item.text)
		c.finish(c.in.exchange, nil, nil, nil)
		return false
	}
	if err := item.checkRequest(); err != nil {
		c.stats.invalid.Add(1)
		c.log.drop(err.Message, item.text)
		c.in.answer = appendError(c.in.answer[:0], item.answerID(), err)
		c.finish(c.in.exchange, item.answerID(), c.in.answer, nil)
		return false
	}
	c.takePlaceForItem()
	c.stats.begin(item)
	switch {
	case c.in.exchange.isGivenUp(): // perhaps while it waited for the place
		c.expire(item)
		return false
	case !c.in.hasPlace:
		c.turnAway(item)
		return false
	}
	c.start(item, r)
	if begun := c.in.exchange.onBegun; begun != nil && c.in.next == len(c.in.items) {
		begun()
	}
	return true
}

// expire finishes an item that nobody waits for, without running it. Its answer, an error,
// is sent if other items of its message have begun.
func (c *serverCodec) expire(item *envelope) {
	c.stats.expired.Add(1)
	c.log.drop("request whose caller has given up not run", item.text)
	c.in.exchange.expired = true
	if item.id == nil {
		c.finish(c.in.exchange, nil, nil, nil)
		return
	}
	c.in.answer = appendError(c.in.answer[:0], item.id, errorf(CodeServer, "not run: its caller had given up"))
	c.finish(c.in.exchange, item.id, c.in.answer, nil)
}

// turnAway answers an item that got no place before the drain.
func (c *serverCodec) turnAway(item *envelope) {
	if item.id == nil {
		c.log.drop("notification not run: the server is shutting down", item.text)
		c.finish(c.in.exchange, nil, nil, &c.stats.errors)
		return
	}
	c.in.answer = appendError(c.in.answer[:0], item.id, errorf(CodeServer, "not run: the server is shutting down"))
	c.finish(c.in.exchange, item.id, c.in.answer, &c.stats.errors)
}

// start makes an item a running call, which r then describes. The place that the codec has
// taken is the call's from then on.
func (c *serverCodec) start(item *envelope, r *rpc.Request) {
	c.in.seq++
	name, known := c.goName(item.method)
	r.Seq, r.ServiceMethod = c.in.seq, name
	c.in.params, c.in.method, c.in.meta = item.params, item.method, item.meta
	c.in.hasPlace = false
	call := c.calls.Get().(*serverCall)
	c.mu.Lock()
	call.exchange = c.in.exchange
	c.in.exchange.begun = true
	if !c.in.exchange.batch { // in the call, since the next message overwrites c.in.single
		call.single = *c.in.exchange
		call.exchange = &call.single
	}
	if item.id != nil { // copied, since the next message overwrites this one
		call.id = append(call.id[:0], item.id...)
	}
	if known { // else it is "" until net/rpc knows the method: see learn
		call.method = name
	}
	c.in.call, c.running[c.in.seq] = call, call
	c.mu.Unlock()
	c.arm()
}
