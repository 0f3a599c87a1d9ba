package amqpconn

import (
	"errors"
	"fmt"
	"strings"

	amqp "github.com/rabbitmq/amqp091-go"
)

// isCode reports whether err is an AMQP error with a code.
func isCode(err error, code int) bool {
	var e *amqp.Error
	return errors.As(err, &e) && e.Code == code
}

// isException reports whether the broker ended a channel or a connection because of what
// was sent on it. With ConnectionForced it has other reasons, such as its own end.
func isException(err error) bool {
	var e *amqp.Error
	return errors.As(err, &e) && e.Server && e.Code != amqp.ConnectionForced
}

// closeError returns why a connection or a channel was closed. If that was a network error,
// the library has put its text into the Reason. closeError removes the addresses from the
// text: they differ from one connection to the next, and the same cause needs the same text.
func closeError(err *amqp.Error) error {
	if err == nil {
		return amqp.ErrClosed
	}
	if _, after, ok := strings.Cut(err.Reason, "->"); ok && !err.Server {
		if _, reason, ok := strings.Cut(after, ": "); ok {
			return &amqp.Error{Code: err.Code, Reason: reason}
		}
	}
	return err
}

// A right is one that RabbitMQ gives to a user, as a regular expression: it is for the
// queues and exchanges whose names match.
type right string

const (
	configure right = "configure" // to create
	write     right = "write"     // to publish, by way of an exchange
	read      right = "read"      // to consume
)

// exchange is what RabbitMQ calls the default exchange, which has no name.
const exchange = "amq.default"

// lacking adds to an error which right is missing, if the broker refused something for the
// lack of one. It returns any other error as it is.
func lacking(err error, r right, name string) error {
	if !isCode(err, amqp.AccessRefused) {
		return err
	}
	return fmt.Errorf("the right to %s %q is missing: %w", r, name, err)
}
