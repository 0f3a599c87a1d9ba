package redisconn_test

import (
	"context"
	"fmt"
	"net/rpc"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/redisconn"
)

// Accounts is a service whose deposits happen once if all tries of a call come within ten
// minutes: for so long it remembers in Redis what each id has brought about.
type Accounts struct{ rdb redis.UniversalClient }

// A Deposit is the argument of Accounts.Deposit.
type Deposit struct {
	jsonrpc2.Context

	Account string
	Amount  int64
}

// depositOnce changes the account and remembers the result in one step. So a server that
// dies has done both or neither. The tags in braces keep the keys on one node of a Cluster.
var depositOnce = redis.NewScript(`
	local remembered = redis.call('GET', KEYS[2])
	if remembered then return tonumber(remembered) end
	local balance = redis.call('INCRBY', KEYS[1], ARGV[1])
	redis.call('SET', KEYS[2], balance, 'EX', 600)
	return balance`)

// Deposit adds to an account, and returns its balance after that.
func (a *Accounts) Deposit(d *Deposit, balance *int64) (err error) {
	id := jsonrpc2.CallFrom(d).ID // the same for each try of a call, and no other call's
	if id == "" {
		return &jsonrpc2.Error{Code: jsonrpc2.CodeInvalidRequest, Message: "a deposit is no notification"}
	}
	keys := []string{"{" + d.Account + "}", "{" + d.Account + "}:done:" + id}
	*balance, err = depositOnce.Run(d, a.rdb, keys, d.Amount).Int64()
	return err
}

// A client with jsonrpc2.Retry may send a call again that has run, if its policy says that
// it is Idempotent. This service remembers the ids of ten minutes, so its methods are idempotent.
// Here the same request comes twice.
func ExampleListen_remember() {
	broker, err := miniredis.Run()
	if err != nil {
		panic(err)
	}
	defer broker.Close()
	rdb := redis.NewClient(&redis.Options{Addr: broker.Addr()})
	defer rdb.Close()

	server := rpc.NewServer()
	if err := server.Register(&Accounts{rdb}); err != nil {
		panic(err)
	}
	conn, err := redisconn.Listen(rdb, "accounts", nil)
	if err != nil {
		panic(err)
	}
	ctx, drain := context.WithCancel(context.Background())
	served := make(chan error)
	go func() { served <- jsonrpc2.Serve(ctx, server, conn, nil) }()

	for _, id := range []string{"x-1", "x-1", "x-2"} {
		rdb.LPush(ctx, "accounts", fmt.Sprintf(
			`{"jsonrpc":"2.0","id":%q,"method":"Accounts.Deposit","params":{"Account":"Ann","Amount":10}}`, id))
		answer, err := rdb.BRPop(ctx, 0, id).Result()
		fmt.Println(answer, err)
	}

	drain()
	<-served
	// Output:
	// [x-1 {"jsonrpc":"2.0","id":"x-1","result":10}] <nil>
	// [x-1 {"jsonrpc":"2.0","id":"x-1","result":10}] <nil>
	// [x-2 {"jsonrpc":"2.0","id":"x-2","result":20}] <nil>
}
