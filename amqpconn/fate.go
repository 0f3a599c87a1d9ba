package amqpconn

import (
	"errors"

	amqp "github.com/rabbitmq/amqp091-go"
)

// A tracked message was published on a channel in confirm mode. Its fate is reported.
//
// Each message has its own confirmation. The library also has one stream of confirmations
// for a channel. It is of no use here: if the broker refuses several messages at once, the
// stream also reports a refusal for those of them that the broker had confirmed before.
type tracked[T any] struct {
	item         T
	number       int64 // its place among the messages of its channel, from 1
	size         int   // bytes of its body
	confirmation *amqp.DeferredConfirmation
	messageID    string // the property by which a return names it
	returned     bool   // the broker has returned it, and will confirm it
}

// A fate is what became of a published message. err is nil if the broker has confirmed
// the message. Else it is errReturned, errRefused, or an errUnconfirmed with its cause.
type fate[T any] struct {
	item T
	err  error
}

var (
	errReturned    = errors.New("there is no such queue")
	errRefused     = errors.New("the broker refused it")
	errUnconfirmed = errors.New("the connection ended before the broker confirmed it")
)
