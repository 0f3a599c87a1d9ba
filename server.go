package jsonrpc2

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/rpc"
	"sync"
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
	*serving
	conn       ServerConn
	stream     *StreamConn // conn, under ServeListener; nil: the serving has no other codec
	openFailed bool        // another codec has conn
	err        error       // what ended conn, or the error of its Close; for reading after ServeCodec

	in incoming // the reading goroutine's own

	mu      sync.Mutex             // protects following, and what changes in exchanges
	running map[uint64]*serverCall // by net/rpc's Seq
}

// newServerCodec returns a codec with a serving of its own.
func newServerCodec(ctx context.Context, conn ServerConn, opts *ServerOptions) *serverCodec {
	return newServing(ctx, opts).newCodec(conn, nil)
}

// isAlone reports whether the serving has no other codec, and ends with this one.
func (c *serverCodec) isAlone() bool { return c.stream == nil }

// newCodec returns a codec for conn. stream is conn if the serving may have other codecs, else
// nil.
func (s *serving) newCodec(conn ServerConn, stream *StreamConn) *serverCodec {
	c := &serverCodec{serving: s, conn: conn, stream: stream}
	c.resume()
	c.running = make(map[uint64]*serverCall)
	c.err = conn.Open(Settings{MessageSize: s.opts.MaxMessageSize, InFlight: s.opts.MaxInFlight, Lost: c.lost})
	c.openFailed = c.err != nil
	s.enter(c)
	return c
}

// ReadRequestHeader returns the next call. It answers by itself what is no call: an error
// would end the serving. io.EOF makes ServeCodec wait for the running calls and then close
// the codec.
func (c *serverCodec) ReadRequestHeader(r *rpc.Request) error {
	if c.openFailed {
		return io.EOF
	}
	for {
		if c.in.next < len(c.in.items) {
			if c.nextItem(r) {
				return nil
			}
			continue
		}
		c.rest()
		d, err := c.conn.ReadRequest(c.ctx)
		if err != nil {
			c.connEnded(err)
			return io.EOF
		}
		c.resume()
		c.unpack(d)
	}
}

// connEnded notes the error that ended conn. A drain and the end of the other side are no
// errors. In a drain, the stream of a listener is still watched while calls run: the end of
// the peer ends their contexts.
func (c *serverCodec) connEnded(err error) {
	drained := c.ctx.Err() != nil && errors.Is(err, c.ctx.Err())
	if !drained && err != io.EOF {
		c.err = err
	}
	if drained && !c.isAlone() && c.runs() {
		c.stream.noticeEnd()
	}
}

// runs reports whether a call runs.
func (c *serverCodec) runs() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.running) > 0
}

// ReadRequestBody decodes the params. net/rpc calls it with a nil body if it does not know
// the method, and only then. Then, and if ReadRequestBody fails, net/rpc calls WriteResponse
// at once. That sends call.err in place of net/rpc's text.
func (c *serverCodec) ReadRequestBody(body any) error {
	if body == nil {
		c.in.call.err = c.notFound(unquote(c.in.method))
		return nil
	}
	if c.in.call.method == "" {
		c.learn()
	}
	if err := c.in.decoder.decode(c.in.params, body); err != nil {
		c.in.call.err = err
		return err
	}
	return c.begin(c.in.call, body)
}

// WriteResponse answers a call, or finishes a notification. net/rpc discards its error,
// so what goes wrong is logged here.
func (c *serverCodec) WriteResponse(r *rpc.Response, body any) error {
	if !c.isAlone() {
		c.stream.stir() // before the call is removed: the stream would seem idle
	}
	c.mu.Lock()
	call := c.running[r.Seq]
	delete(c.running, r.Seq)
	c.mu.Unlock()
	c.watch.ended.Add(1)
	out := c.encoders.Get().(*encoder)
	defer c.encoders.Put(out)

	err := call.err
	if err == nil && r.Error != "" {
		err = errorFromText(r.Error)
	}
	var answer []byte
	end := &c.stats.done
	if len(call.id) > 0 {
		answer, err = c.response(out, call, r.ServiceMethod, err, body)
		end = &c.stats.answered
	} else if err != nil {
		c.log.drop("notification failed", nil, slog.String("method", r.ServiceMethod), slog.Any("error", err))
	}
	if replaced := c.gather(call.exchange, call.id, answer); replaced != nil {
		err = replaced
	}
	if err != nil {
		end = &c.stats.errors
	}
	c.tell(call, err)
	end.Add(1) // before anybody learns of it
	c.settle(call.exchange, answer)
	c.release(call)
	return nil
}

// tell tells the server's Begin what has become of a call. A nil *Error becomes a nil error.
func (c *serverCodec) tell(call *serverCall, err *Error) {
	if err != nil {
		c.log.tell(call.onEnd, err)
	} else {
		c.log.tell(call.onEnd, nil)
	}
}

// response encodes the response to a call into out. It also returns the error in it, nil for none.
func (c *serverCodec) response(out *encoder, call *serverCall, method string, err *Error, result any) ([]byte, *Error) {
	out.reset()
	if err == nil {
		out.b = appendResponse(out.b, call.id, "result")
		if failed := out.value(result); failed != nil {
			err = c.unsendable(method, failed)
		}
		out.b = append(out.b, '}')
	}
	if err != nil {
		out.b = appendError(out.b[:0], call.id, err)
	}
	if n, limit := len(out.b), c.opts.MaxMessageSize; n > limit {
		err = c.unsendable(method, fmt.Errorf("response of %d bytes exceeds the limit of %d", n, limit))
		out.b = appendError(out.b[:0], call.id, err)
	}
	return out.b, err
}

// unsendable returns the error to send in place of a response that can't be sent.
func (c *serverCodec) unsendable(method string, err error) *Error {
	c.log.drop("response can't be sent", nil, slog.String("method", method), slog.Any("error", err))
	return errorf(CodeInternal, "internal error: %v", err)
}

// Close closes the Conn, and ends the serving if it has no other codec. ServeCodec calls it
// when the last call is answered, and discards what it returns.
func (c *serverCodec) Close() error {
	if c.isAlone() {
		c.stop()
		defer c.log.close()
	}
	defer c.leave(c)
	if c.openFailed {
		return nil
	}
	err := c.conn.Close()
	if err != nil && c.isAlone() {
		c.log.drop("Conn closed with an error", nil, slog.Any("error", err))
	}
	if c.err == nil {
		c.err = err
	}
	return err
}
