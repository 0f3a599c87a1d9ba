package jsonrpc2

import (
	"context"
	"errors"
	"time"
)

// A ClientConn carries requests away and brings answers back. It belongs to one
// codec, which opens it, and whose Close closes it. ReadReply and Inquire are each
// called by one goroutine at a time; WriteRequest, Err and Close by any.
//
// A ClientConn around another one implements all of it, and passes on what it does
// not change. See the package conntest for the suite that each has to pass.
type ClientConn interface {
	// Open is called once, before all else but Err and Close. A second call
	// returns ErrOpened and changes nothing. It does not wait for the broker.
	Open(Settings) error

	// WriteRequest takes a request over and never blocks: net/rpc holds a lock
	// meanwhile. An error means the same as r.Fail(error): ErrOverloaded when more
	// than 16 MiB wait, net.ErrClosed after Close. The Conn reads r.Body before it
	// returns, or calls r.Keep. Later it calls r.Sent when the peer has r, and hands
	// over a Reply or calls r.Fail. It need do nothing for an r that is GivenUp. For a
	// call the error is never ErrUnconfirmed. A Conn may have a limit of its own in
	// place of the 16 MiB.
	WriteRequest(r *Request) error

	// ReadReply returns the next answer. When ctx is done it returns ctx.Err(): the
	// codec cancels ctx whenever requests fail, and calls ReadReply again. No answer
	// may be lost by that. io.EOF says
	// that the Conn is closed, or that the other side is gone for good. Any other
	// error is final: a Conn that can reconnect does so and returns none.
	ReadReply(ctx context.Context) (Reply, error)

	// Inquire says what became of requests that were given up, and withdraws those
	// that still wait. WriteRequest has returned for each of them. One whose Handle
	// is nil came to this Conn within another request, and can't be withdrawn.
	// found[i] is appended to the error of the call. It wraps ErrNotRun if the request
	// was withdrawn, or never sent. A nil error, or a nil slice, says nothing. ctx lasts
	// half a second at most; Inquire returns when it is done. It is not called once
	// the Conn is closed.
	Inquire(ctx context.Context, requests []*Request) (found []error)

	// Err is nil while the Conn works, else it says what is wrong: it is for
	// readiness probes. It does no I/O. net.ErrClosed: after Close.
	Err() error

	// Close sends what was taken over, for 2 s at most, and calls Sent or Fail for
	// it: it need not send calls, which nobody waits for any more. It then makes ReadReply return io.EOF, and waits for the Conn's
	// goroutines. It is idempotent. The requests that have not ended by then the
	// codec ends afterwards: Close must not wait for their Contexts.
	Close() error
}

// A ServerConn brings requests and takes their answers. It belongs to one codec,
// which opens it, and whose Close closes it. ReadRequest is called by one goroutine
// at a time; Err and Close by any.
type ServerConn interface {
	// Open is like that of a ClientConn.
	Open(Settings) error

	// ReadRequest returns the next request, and waits while InFlight deliveries are
	// not settled. ctx is the same in each call. Its end is the drain: what was
	// fetched and not returned goes back at once, and ReadRequest returns ctx.Err().
	// Where nothing can go back, what has come is still returned before. io.EOF and
	// other errors are as ReadReply's.
	ReadRequest(ctx context.Context) (Delivery, error)

	// Err is like that of a ClientConn.
	Err() error

	// Close sends the answers that Reply took, for 2 s at most, tells
	// Settings.Lost of the rest, and waits for the Conn's goroutines. It is
	// idempotent. An error says that answers could not be sent.
	Close() error
}

// ErrOpened is what Open returns where another codec has the Conn. The calls, or
// the Serve, of the second codec fail with it; the first one works on.
var ErrOpened = errors.New("jsonrpc2: Conn already belongs to a codec")

// Settings are what a codec tells its Conn. The codec sets every field.
type Settings struct {
	// MessageSize is the limit of a message, in bytes. Of a longer one the Conn hands
	// over the beginning, of at least one byte more, for the codec to refuse.
	MessageSize int

	// InFlight is how many deliveries may be unsettled; 0 for a ClientConn.
	InFlight int

	// Lost is told of an answer that Reply took and that can't be delivered, and of
	// a request that could not be given back: the codec logs body, which is either,
	// and counts it. Any goroutine may call it, with locks held. It never blocks and
	// keeps nothing.
	Lost func(body []byte, why error)
}

// A Reply is a message with answers.
type Reply struct {
	Body []byte // the Conn's; valid until the next ReadReply

	// Request is what the message answers: nil where only the ids in Body tell. If it
	// is set, an error without an id is about this request.
	Request *Request

	// If Missing is not nil, no other message will answer Request: the calls in it
	// that Body leaves out fail with it. Its text begins with a sentinel's.
	Missing error
}

// A Delivery is a message with requests. The codec calls exactly one of Reply and
// NotRun, once, on any goroutine.
type Delivery struct {
	Body []byte // the Conn's; valid until the next ReadRequest

	// Header is the Conn's scan of Body, valid for as long. The codec scans Body
	// itself if it is nil. Who changes Body sets it to nil.
	Header *Header

	// Reply answers and settles the message; nil only settles it. It copies body
	// and never blocks. If the answer is lost already, it returns an error. If it is
	// lost later, Settings.Lost is told: never both.
	Reply func(body []byte) error

	// NotRun, if set, settles the message in place of Reply when nothing in it was
	// begun, since nobody waits for its answers any more.
	NotRun func()

	// Deadline is when nobody will wait for the answer any more, by the clock of
	// this machine; zero where that is not known. What has not begun by then is
	// settled and not run.
	Deadline time.Time

	// Context is done when the caller is known to be gone; nil where the transport
	// can't tell.
	Context context.Context

	// Attempt is how often the message was begun, with this time, as far as the
	// broker knows; 0 where it is not known.
	Attempt int

	// Err says that the message can't be served, as when nobody could be answered:
	// it is logged and settled, not run. The calls in it are answered if Err is, or
	// wraps, an *Error. The transport alone sets it, never what came over the wire.
	Err error
}
