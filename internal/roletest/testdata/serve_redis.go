// Serve takes no calling end.
package main

import (
	"context"
	"log"

	"github.com/redis/go-redis/v9"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/redisconn"
)

func main() {
	conn, err := redisconn.Dial(redis.NewClient(&redis.Options{}), "calc", nil)
	if err == nil {
		err = jsonrpc2.Serve(context.Background(), nil, conn, nil)
	}
	log.Print(err)
}
