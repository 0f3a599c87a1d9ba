// Command benchmarks measures jsonrpc2 beside what one would take in its place:
// the codecs of net/rpc, other JSON-RPC 2.0 packages, and loops written by hand
// around the clients of the brokers.
//
//	go run .                  every row: name, value, bound, ok or short
//	go run . -quick           the same with fewer calls, within two minutes
//	go run . -rows 'Redis'    the rows whose names match
//	go run . -plot FILE.svg   the rows, and throughput and latency over the
//	                          number of callers, drawn into a file
//
// A row compares two sides in one run: they take turns, and the value is the
// median of the ratios of neighbours, so that what else the machine does meets
// both alike. Behind the verdict stand the least and the greatest of the ratios
// and both sides' own figures. Rows without a bound are there to be read.
//
// The brokers are those in REDIS_URL and AMQP_URL; where one is not set, a
// private one is started (redis-server, rabbitmq-server) and ended. A Redis that
// others use, too, has their commands counted in the row of the idle pair. The
// rows with Ruby need ruby and its redis package.
//
// # What is short
//
// On two cores, which the broker and both ends share:
//
// Redis, 1 caller: 1.24 of the naive loop's time. A call wakes seven goroutines
// (writer, fetcher, reader and method on the way, replier, fetcher and reader back)
// where the loop has two, and each may wake a thread: 11 futex calls a call, to 3.
// A writer that does not yield for a lone call gained nothing. Fetching on the
// reader's own goroutine is not possible on the calling side, where a timeout has
// to interrupt it.
//
// RabbitMQ, 1 caller: 1.08 to 1.15 of the loop's time: the same, and one more
// goroutine on the serving side, which notes when a request was delivered.
//
// RabbitMQ with Batch, 512 callers: 6.1 times the loop. Callers come back one by
// one, so that batches have 22 items; limits of 256 and 512 items in place of 100
// change nothing, more yields little (up to 4 yields: 5.6). What is left is spent
// evenly: 24 µs of processor time a call, a tenth of it in system calls, while the
// broker has the other core.
//
// HTTP, 2 callers: 0.77 to 0.82 of the other's time, nine tenths of which is
// net/http's own on both sides.
//
// The exit status is 1 if a row could not be measured. A short row is none such.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"regexp"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "benchmarks:", err)
		stop()
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) (err error) {
	flags := flag.NewFlagSet("benchmarks", flag.ExitOnError)
	quick := flags.Bool("quick", false, "make fewer calls")
	pattern := flags.String("rows", "", "measure the rows whose names match this `regexp`")
	file := flags.String("plot", "", "draw throughput and latency over the number of callers into this SVG `file`, too")
	_ = flags.Parse(args) // it exits
	wanted, err := regexp.Compile(*pattern)
	if err != nil {
		return err
	}
	env := &environment{ctx: ctx, effort: fullEffort}
	if *quick {
		env.effort = quickEffort
	}
	defer env.close()
	err = printRows(env, wanted)
	if *file != "" && ctx.Err() == nil {
		err = errors.Join(err, drawPlot(env, *file))
	}
	return err
}

// An environment is what the rows are measured in.
type environment struct {
	ctx    context.Context
	effort effort
	brokers
}
