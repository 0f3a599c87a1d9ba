package jsonrpc2

import (
	"context"
	"errors"
	"time"
)

// A ClientConn is the calling end of a transport. A program that uses one makes it with
// the Dial of a transport, with DialStream or with NewStreamConn, and hands it to NewClient.
// Its methods are for those who write a transport.
//
// A ClientConn belongs to one codec, which opens it, and closes it in the end. One
// goroutine at a time calls ReadReply, and one at a time calls Inquire. Any number of
// goroutines may call WriteRequest, Err and Close at once.
//
// A ClientConn may wrap another one. It then implements all methods, and passes on what
// it does not change.
type ClientConn interface {
	// Open gives the Conn to a codec. It is called once, before all other methods but
	// Err and Close. A second call returns ErrOpened and changes nothing. Open does not
	// wait for the broker.
	Open(Settings) error

	// WriteRequest accepts a request, to be sent. It never blocks, since net/rpc holds a
	// lock meanwhile. Before WriteRequest returns, the Conn reads r.Body or calls r.Keep.
	// Later it calls r.Sent when the peer has r. In the end it returns a Reply to r from
	// ReadReply, or calls r.Fail. For an r that is GivenUp the Conn need do none of this.
	//
	// An error means that r was not accepted, and ends r as Fail would. It is
	// ErrOverloaded if more than 16 MiB would wait to be sent, or if r would exceed
	// another limit of the Conn. It is net.ErrClosed after Close. An error that begins
	// with no sentinel (see Request.Fail) stands for an ErrUnavailable. For a call it is
	// never ErrUnconfirmed.
	WriteRequest(r *Request) error

	// ReadReply returns the next message with answers. When ctx is done it returns
	// ctx.Err(), and loses no answer by that: the codec cancels ctx whenever requests
	// fail, and then calls ReadReply again. io.EOF says that the Conn is closed, or
	// that the other side is gone for good. Any other error is final, too: a Conn that
	// can reconnect does so and returns none.
	ReadReply(ctx context.Context) (Reply, error)

	// Inquire tells what became of requests that were given up, and withdraws those
	// that still wait. WriteRequest has returned for each of them. One whose Handle is
	// nil came to this Conn as a part of another (see JoinRequests), and can't be
	// withdrawn.
	//
	// found[i] is about requests[i]; the codec appends it to the error of the call. It
	// wraps ErrNotRun if the request was withdrawn or never sent. A nil error, or a nil
	// slice, says that nothing is known. Inquire returns when ctx is done, which is
	// after half a second at most. It is not called once the Conn is closed.
	Inquire(ctx context.Context, requests []*Request) (found []error)

	// Err returns nil while the Conn works, else what is wrong: net.ErrClosed after
	// Close. It does no I/O, and may be called at any time, as by a readiness probe.
	Err() error

	// Close sends the requests that WriteRequest accepted, and calls Sent or Fail for
	// them. It may leave out calls, since nobody waits for their answers. It may give up
	// after 2 s, and does so when 2 s pass without progress.
	//
	// Close then makes ReadReply return io.EOF, and waits for the Conn's goroutines.
	// It must not wait for the end of a request: the codec ends the requests that are left
	// only when Close has returned. A second Close does nothing.
	Close() error
}

// A ServerConn is the serving end of a transport. A program that uses one makes it with
// the Listen of a transport, or with NewStreamConn, and hands it to Serve. Its methods
// are for those who write a transport.
//
// A ServerConn belongs to one codec, which opens it, and closes it in the end. One
// goroutine at a time calls ReadRequest. Any number of goroutines may call Err and Close
// at once.
type ServerConn interface {
	// Open is like that of a ClientConn.
	Open(Settings) error

	// ReadRequest returns the next message with requests. A Conn that takes them from
	// a broker waits while Settings.InFlight deliveries are not settled, so that other
	// servers can take the rest. io.EOF and other errors mean the same as from
	// ClientConn.ReadReply.
	//
	// ctx is the same in each call. Its end is the drain: messages that were taken and
	// not returned go back to the broker at once, and ReadRequest returns ctx.Err().
	// A Conn that can't give them back may return them first.
	ReadRequest(ctx context.Context) (Delivery, error)

	// Err is like that of a ClientConn.
	Err() error

	// Close sends the answers that Reply accepted. It may give up after 2 s, and does so
	// when 2 s pass without progress: it then calls Settings.Lost for those that are
	// left, and returns an error. It waits for the Conn's goroutines. A second Close
	// does nothing.
	Close() error
}

// ErrOpened is for those who write a transport: Open returns it when another codec has
// the Conn. The calls, or the Serve, of the second codec then fail with it. The first
// codec works on.
var ErrOpened = errors.New("jsonrpc2: Conn already belongs to a codec")

// Settings are for those who write a transport: what a codec tells its Conn. The codec
// sets every field that is for its kind of Conn.
type Settings struct {
	// MessageSize is the limit of a message, in bytes. Of a longer message the Conn may
	// return the beginning alone, if that exceeds MessageSize, too: the codec then refuses
	// it.
	MessageSize int

	// InFlight is how many deliveries may be unsettled at once. It is 0 for a
	// ClientConn.
	InFlight int

	// Lost logs and counts what the Conn could not deliver: an answer that Reply accepted,
	// or a request that could not be given back. body is its text. Any goroutine may
	// call Lost, with locks held. It never blocks, and keeps neither argument.
	Lost func(body []byte, why error)

	// UnderWay returns how many calls and notifications have begun and not ended: a Conn
	// need not look for answers while there are none. A call has begun before its request
	// is written. UnderWay is nil for a ServerConn. Any goroutine may call it.
	UnderWay func() int
}

// A Reply is for those who write a transport: a message with answers.
type Reply struct {
	// Body is the message. It is the Conn's, and valid until the next ReadReply.
	Body []byte

	// Request is what the message answers. It is nil if the Conn knows only the ids in
	// Body. If it is set, an error without an id in Body is about this Request.
	Request *Request

	// Missing, if set, says that no other message will answer Request. The calls of
	// Request that have no answer in Body fail with it. Its text begins with that of a
	// sentinel.
	Missing error
}

// A Delivery is for those who write a transport: a message with requests. The codec settles
// each Delivery once, on any goroutine, by Reply or by NotRun. The Conn is then done with
// it: it may acknowledge the message, and no longer counts it as in flight.
type Delivery struct {
	// Body is the message. It is the Conn's, and valid until the next ReadRequest.
	Body []byte

	// Header is the Conn's scan of Body, and valid for as long. If it is nil, the codec
	// scans Body itself. A Conn that wraps another one and changes Body sets Header to
	// nil.
	Header *Header

	// Reply settles the message, and sends body as its answer; nil means no answer. It
	// copies body and never blocks. If the answer is already known to be lost, Reply
	// returns an error. If it is lost later, the Conn calls Settings.Lost. It never
	// does both.
	Reply func(body []byte) error

	// NotRun, if set, takes the place of Reply if nobody waits for the answer any more and
	// nothing in the message was begun.
	NotRun func()

	// Begun, if set, is called when all items of a message have begun, if all are
	// notifications. The Conn may then tell the sender. It must not block. The codec
	// settles the message later, as ever. If an item was not begun, since nobody waits
	// any more, the codec need not call Begun.
	Begun func()

	// Deadline is the time after which nobody waits for the answer, by the clock of
	// this machine. It is zero if it is not known. What has not begun by then is
	// settled and not run.
	Deadline time.Time

	// Context is done when the caller is known to be gone. It is nil if the transport
	// can't tell. A Context in a method's arguments is derived from it. If Begun is set
	// and all items of the message are notifications, the method's Context gets only the
	// values of Context: the sender need not wait for the end.
	Context context.Context

	// Attempt is how often the message has been begun, this time included, as far as
	// the broker knows. It is 0 if that is not known.
	Attempt int

	// Origin, if set, tells what else is known of the message. It is asked only where a
	// method or a BeginFunc may want to know.
	Origin Origin

	// Err, if set, says that the message can't be served, as when it names no place for
	// the answer. It is logged and settled, not run. If Err is or wraps an *Error, the
	// calls in the message are answered with that. The Conn makes it, and never takes
	// it from what was received.
	Err error
}

// An Origin is for those who write a transport: what is known of a message beside its body.
type Origin interface {
	// Header returns the value of a header of the message, "" if it has none. name is in
	// lower case.
	Header(name string) string

	// Peer returns who has sent the message, a zero Peer if that is not known.
	Peer() Peer
}
