package amqpconn

import (
	"fmt"

	amqp "github.com/rabbitmq/amqp091-go"
)

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
