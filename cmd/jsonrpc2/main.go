// Command jsonrpc2 calls services and looks after their queues, over Redis, RabbitMQ, HTTP,
// TCP and Unix sockets.
//
//	jsonrpc2 call METHOD [PARAMS]     call a method, and print its result
//	jsonrpc2 notify METHOD [PARAMS]   send a notification
//	jsonrpc2 bench METHOD [PARAMS]    make many calls, and print how fast they are
//	jsonrpc2 discover                 show the methods of a service
//	jsonrpc2 queue                    show what waits in a queue, and who serves it
//	jsonrpc2 servers                  list the servers of a queue
//	jsonrpc2 dead                     list, show, requeue or delete the dead requests of a queue
//	jsonrpc2 completion               print a script that completes commands in bash, zsh or fish
//
// jsonrpc2 help COMMAND tells the flags of a command, which stand before or behind its
// operands. Standard output has nothing but results, and with -o json they are for programs.
//
// The exit status tells a script whether it may call again:
//
//	0   done
//	1   the server answered with an error, or a command has failed
//	2   wrong usage
//	3   what was to run did certainly not run
//	4   it may have run
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/redis/go-redis/v9/logging"
)

func main() {
	logging.Disable() // go-redis logs every try; what this program prints has the cause
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // so that a second signal ends the process
	os.Exit(newApp(os.Stdin, os.Stdout, os.Stderr, os.Getenv).run(ctx, os.Args[1:]))
}
