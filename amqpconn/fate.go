package amqpconn

import (
	"errors"

	amqp "github.com/rabbitmq/amqp091-go"
)

// A tracked message is one on a channel in confirm mode. Its fate is reported.
//
// The library's stream of confirmations is of no use: a refusal of several
// messages also stands for those among them that were confirmed before.
type tracked[T any] struct {
	item         T
	number       int64 // of those on its channel
	size         int   // of its body
	confirmation *amqp.DeferredConfirmation
	messageID    string
	returned     bool
}

// A fate is what became of a published message. err is nil if the broker confirmed
// it, else it is errReturned, errRefused, or errUnconfirmed with a cause.
type fate[T any] struct {
	item T
	err  error
}

var (
	errReturned    = errors.New("there is no such queue")
	errRefused     = errors.New("the broker refused it")
	errUnconfirmed = errors.New("the connection ended before the broker confirmed it")
)
