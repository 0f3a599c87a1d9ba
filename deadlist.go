package jsonrpc2

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"time"
)

// A DeadList holds the requests of a queue that were given up because they ended each server
// that took them. They stay until Requeue or Delete removes them; of too many the oldest are
// dropped. Package redisconn has one for Redis, and amqpconn one for RabbitMQ: their
// documentation says when a request is given up, and how many are kept.
//
// Its methods may be called by any goroutine, and by several processes at once. If a process
// is killed in one of them, no request is lost. Requeue may then have put back a request that
// is still in the list.
type DeadList interface {
	// Len returns how many requests are in the list.
	Len(ctx context.Context) (int, error)

	// List returns the n newest requests, newest first; all of them if n is negative. It
	// leaves the list as it is.
	List(ctx context.Context, n int) ([]DeadRequest, error)

	// Requeue moves requests back into the queue, as new ones without a deadline, behind
	// those that wait. It returns how many it has moved: the others were no longer in the
	// list. After an error it may have moved more.
	Requeue(ctx context.Context, dead ...DeadRequest) (int, error)

	// Delete removes requests. It returns how many it has removed: the others were no
	// longer in the list. After an error it may have removed more.
	Delete(ctx context.Context, dead ...DeadRequest) (int, error)
}

// ErrNoDeadList says that the queue of a [DeadList] keeps no dead requests. errors.Is finds it
// in what the methods return. Their text says what to do about it.
var ErrNoDeadList = errors.New("jsonrpc2: the queue keeps no dead requests")

// A DeadRequest is a request in a [DeadList], or a batch of requests that came as one message.
type DeadRequest struct {
	// Time is when it was given up, by the clock of the broker, on RabbitMQ to the second;
	// zero if that is unknown.
	Time time.Time

	// Attempts is how often it was started; 0 if that is unknown, as always on RabbitMQ.
	Attempts int

	// Reason says, in the words of the broker, why it was given up.
	Reason string

	// Request is the message as its client sent it.
	Request []byte

	// Handle is what its DeadList finds it by, in any process. Requeue and Delete look at
	// no other field. Its form is the DeadList's own, and it may be longer than Request.
	Handle string
}

// ID returns a name of the request for people: 16 hexadecimal digits, the same in each List
// and in every process. Two requests have one name only if their Handle is the same: then
// either may be taken for the other.
func (d DeadRequest) ID() string {
	sum := sha256.Sum256([]byte(d.Handle))
	return hex.EncodeToString(sum[:8])
}

// Method returns the method that was to be called; "" if the message names none. Of a batch
// it is that of the first item that names one.
func (d DeadRequest) Method() string {
	var h Header
	h.Scan(d.Request)
	for i := range h.items {
		if method := unquote(h.items[i].method); method != "" {
			return method
		}
	}
	return ""
}
