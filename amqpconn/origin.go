package amqpconn

import (
	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/micromessaging/jsonrpc2"
)

// An origin is the headers of a request, as a jsonrpc2.Origin.
type origin amqp.Table

// originOf returns the origin of a request, nil if it has no headers.
func originOf(headers amqp.Table) jsonrpc2.Origin {
	if len(headers) == 0 {
		return nil
	}
	return origin(headers)
}

// Header implements jsonrpc2.Origin.
func (o origin) Header(name string) string {
	switch value := o[name].(type) {
	case string:
		return value
	case []byte:
		return string(value)
	}
	return ""
}

// Peer implements jsonrpc2.Origin. RabbitMQ does not tell who has published a message.
func (o origin) Peer() jsonrpc2.Peer { return jsonrpc2.Peer{} }

// headersOf returns the headers of a request to publish, nil for none.
func headersOf(r *jsonrpc2.Request) (headers amqp.Table) {
	r.EachHeader(func(name, value string) {
		if headers == nil {
			headers = make(amqp.Table)
		}
		headers[name] = value
	})
	return headers
}
