// NewClient takes no serving end.
package main

import (
	"log"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/amqpconn"
)

func main() {
	conn, err := amqpconn.Listen("amqp://localhost", "calc", nil)
	if err == nil {
		err = jsonrpc2.NewClient(conn, nil).Close()
	}
	log.Print(err)
}
