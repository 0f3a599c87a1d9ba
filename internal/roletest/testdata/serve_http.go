// Serve takes no calling end.
package main

import (
	"context"
	"log"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/httpconn"
)

func main() {
	conn, err := httpconn.Dial("http://localhost", nil)
	if err == nil {
		err = jsonrpc2.Serve(context.Background(), nil, conn, nil)
	}
	log.Print(err)
}
