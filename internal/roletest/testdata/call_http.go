// NewClient takes no serving end.
package main

import (
	"log"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/httpconn"
)

func main() {
	conn, err := httpconn.Listen(nil)
	if err == nil {
		err = jsonrpc2.NewClient(conn, nil).Close()
	}
	log.Print(err)
}
