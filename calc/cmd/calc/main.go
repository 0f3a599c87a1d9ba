// Command calc serves the example service over a broker, HTTP or a socket, and calls it.
//
//	calc                        show it all on an embedded broker
//	calc serve [flags]          serve until SIGINT or SIGTERM
//	calc add [flags] A B        print A + B
//	calc subtract [flags] A B   print A - B
//	calc version                print the version
//	calc help [command]         print the usage, or a command's own
//
// Flags stand before or behind the operands. The broker is that of -broker, else that of the
// first variable that is set: $BROKER_URL, $REDIS_URL, $CLOUDAMQP_URL. Its URL is one of
//
//	redis://host:port/db, rediss://…    Redis
//	amqp://host:port/vhost, amqps://…   RabbitMQ
//	http://host:port/path               HTTP; https://… only calls
//	tcp://host:port                     TCP
//	unix:///path/to.sock                a Unix socket
//
// serve waits for an absent broker, and says why it waits. The exit status is 1 for errors
// and 2 for wrong usage.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/redis/go-redis/v9/logging"
)

func main() {
	logging.Disable() // go-redis logs every try; the program's own errors have the cause
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // so that a second signal ends the process
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	if err == nil {
		return
	}
	fmt.Fprintf(os.Stderr, "calc: %v\n", err)
	if _, wrong := errors.AsType[usageError](err); wrong {
		fmt.Fprintln(os.Stderr, "calc -h shows the usage.")
		os.Exit(2)
	}
	os.Exit(1)
}

// run runs the command that args name, or the demo if there are none.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	if len(args) == 0 {
		return demo(ctx, stdout)
	}
	c, err := find(args[0])
	if err != nil {
		return err
	}
	in := invocation{stdout: stdout, stderr: stderr}
	in.flags, in.operands, err = c.parse(args[1:])
	switch {
	case errors.Is(err, flag.ErrHelp):
		_, err = io.WriteString(stdout, c.usage())
		return err
	case err != nil:
		return err
	}
	return c.run(ctx, in)
}
