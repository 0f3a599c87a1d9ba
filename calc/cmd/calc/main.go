// Command calc serves the example service over a broker, and calls it.
//
//	calc                        show it all on an embedded broker
//	calc serve [flags]          serve until SIGINT or SIGTERM
//	calc add [flags] A B        print A + B
//	calc subtract [flags] A B   print A - B
//
// The broker is that of -broker, else of $BROKER_URL, $REDIS_URL or
// $CLOUDAMQP_URL, the first that is set. The exit status is 1 for errors and 2
// for wrong usage.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	"github.com/micromessaging/jsonrpc2/calc"
)

const usage = `usage: calc                          show it all on an embedded broker
       calc serve [flags]            serve until SIGINT or SIGTERM
       calc add [flags] A B          print A + B
       calc subtract [flags] A B     print A - B

flags: -broker URL    redis://host:port/db, amqp://host:port/vhost, rediss://…, amqps://…,
                      or http://host:port/path, to call https://… too
                      (default $BROKER_URL, then $REDIS_URL, then $CLOUDAMQP_URL)
       -queue NAME    the queue's name (default "calc"); with HTTP the path is
       -timeout D     how long a call may take (default 30s)
       -reply list    one reply list or queue for all calls, or
       -reply id      one for each, for servers that know no other way
`

// errUsage is a wrong command line.
var errUsage = errors.New("usage")

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // so that a second signal ends the process
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	switch {
	case errors.Is(err, errUsage):
		fmt.Fprintf(os.Stderr, "calc: %v\n\n%s", err, usage)
		os.Exit(2)
	case err != nil:
		fmt.Fprintf(os.Stderr, "calc: %v\n", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	if len(args) == 0 {
		return demo(ctx, stdout)
	}
	switch command, args := args[0], args[1:]; command {
	case "serve":
		f, err := parse(args)
		if err != nil {
			return err
		}
		return serve(ctx, f, stderr)
	case "add":
		return call(ctx, args, stdout, (*calc.Client).Add)
	case "subtract":
		return call(ctx, args, stdout, (*calc.Client).Subtract)
	case "-h", "-help", "--help", "help":
		_, err := io.WriteString(stdout, usage)
		return err
	default:
		return fmt.Errorf("%w: there is no command %q", errUsage, command)
	}
}

// A method is one of the typed client's.
type method func(*calc.Client, context.Context, float64, float64) (float64, error)

// call calls a method. The operands come last, so that they can't be taken for
// flags where they are negative.
func call(ctx context.Context, args []string, stdout io.Writer, m method) error {
	if len(args) < 2 {
		return fmt.Errorf("%w: two numbers are wanted", errUsage)
	}
	flags, operands := args[:len(args)-2], args[len(args)-2:]
	var numbers [2]float64
	for i, operand := range operands {
		number, err := strconv.ParseFloat(operand, 64)
		if err != nil {
			return fmt.Errorf("%w: %q is not a number", errUsage, operand)
		}
		numbers[i] = number
	}
	f, err := parse(flags)
	if err != nil {
		return err
	}
	conn, closeBroker, err := f.dial()
	if err != nil {
		return err
	}
	defer closeBroker()
	client := calc.NewClient(conn)
	defer client.Close()
	ctx, cancel := context.WithTimeout(ctx, f.timeout)
	defer cancel()
	result, err := m(client, ctx, numbers[0], numbers[1])
	if err == nil {
		_, err = fmt.Fprintln(stdout, result)
	}
	return err
}

// flags are those of all commands.
type flags struct {
	broker  string
	queue   string
	timeout time.Duration
	reply   string
}

func parse(args []string) (f flags, err error) {
	set := flag.NewFlagSet("calc", flag.ContinueOnError)
	set.SetOutput(io.Discard)
	set.StringVar(&f.broker, "broker", firstEnv("BROKER_URL", "REDIS_URL", "CLOUDAMQP_URL"), "")
	set.StringVar(&f.queue, "queue", "calc", "")
	set.DurationVar(&f.timeout, "timeout", 30*time.Second, "")
	set.StringVar(&f.reply, "reply", "list", "")
	switch err := set.Parse(args); {
	case err != nil:
		return f, fmt.Errorf("%w: %v", errUsage, err)
	case set.NArg() > 0:
		return f, fmt.Errorf("%w: unexpected %q", errUsage, set.Arg(0))
	case f.broker == "":
		return f, fmt.Errorf("%w: no broker: set -broker or $BROKER_URL", errUsage)
	case f.queue == "":
		return f, fmt.Errorf("%w: the queue has no name", errUsage)
	case f.reply != "list" && f.reply != "id":
		return f, fmt.Errorf("%w: -reply is list or id, not %q", errUsage, f.reply)
	}
	return f, nil
}

func firstEnv(names ...string) string {
	for _, name := range names {
		if value := os.Getenv(name); value != "" {
			return value
		}
	}
	return ""
}
