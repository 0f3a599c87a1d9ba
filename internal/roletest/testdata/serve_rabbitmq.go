// Serve takes no calling end.
package main

import (
	"context"
	"log"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/amqpconn"
)

func main() {
	conn, err := amqpconn.Dial("amqp://localhost", "calc", nil)
	if err == nil {
		err = jsonrpc2.Serve(context.Background(), nil, conn, nil)
	}
	log.Print(err)
}
