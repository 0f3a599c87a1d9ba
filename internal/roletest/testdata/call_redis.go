// NewClient takes no serving end.
package main

import (
	"log"

	"github.com/redis/go-redis/v9"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/redisconn"
)

func main() {
	conn, err := redisconn.Listen(redis.NewClient(&redis.Options{}), "calc", nil)
	if err == nil {
		err = jsonrpc2.NewClient(conn, nil).Close()
	}
	log.Print(err)
}
