package amqpconn

import (
	"errors"
	"fmt"
	"strings"

	amqp "github.com/rabbitmq/amqp091-go"
)

// isCode reports whether the broker refused something with a code.
func isCode(err error, code int) bool {
	var e *amqp.Error
	return errors.As(err, &e) && e.Code == code
}

// isException reports whether the broker ended a channel or a connection for what
// was sent on it.
func isException(err error) bool {
	var e *amqp.Error
	return errors.As(err, &e) && e.Server && e.Code != amqp.ConnectionForced
}

// closeError returns why a connection or a channel was closed. The library puts
// the text of a network error into its own: without the addresses in it, which
// differ from one connection to the next, it is the same for the same cause.
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

// A right is one of those that RabbitMQ knows. Each is a regular expression that
// the names of what it is for must match.
type right string

const (
	configure right = "configure" // to create
	write     right = "write"     // to publish, by way of an exchange
	read      right = "read"      // to consume
)

// exchange is what RabbitMQ calls the default exchange, which has no name.
const exchange = "amq.default"

// lacking names the right that is missing where the broker refused something for
// that.
func lacking(err error, r right, name string) error {
	if !isCode(err, amqp.AccessRefused) {
		return err
	}
	return fmt.Errorf("the right to %s %q is missing: %w", r, name, err)
}
