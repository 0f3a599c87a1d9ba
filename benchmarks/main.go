// Command benchmarks measures jsonrpc2 beside what one would take in its place:
// the codecs of net/rpc, other JSON-RPC 2.0 packages, gRPC, NATS, and loops
// written by hand around the clients of the brokers.
//
//	go run .                  every row: name, value, bound, ok or short; it
//	                          takes twenty minutes
//	go run . -quick           the same with fewer calls, within three minutes
//	go run . -rows 'Redis'    the rows whose names match
//	go run . -plot FILE.svg   the rows, and throughput and latency over the
//	                          number of callers, drawn into a file
//	go run . -compare FOLDER  our time per call, beside that of another checkout
//
// A row compares two sides in one run: they take turns, and the value is the
// median of the ratios of neighbours, so that what else the machine does meets
// both alike. Behind the verdict stand the least and the greatest of the ratios
// and both sides' own figures. Rows without a bound are there to be read.
//
// Other rows look at a transport of ours alone: what 4,096 callers reach of the
// calls per second of 512, either in a process of its own; how much longer the
// slowest hundredth of the calls takes than most; whether slow methods are in all
// places of a server; and what idle ends cost. The idle rows share one window of
// time, in which nothing is called.
//
// The brokers are those in REDIS_URL, AMQP_URL and NATS_URL; where one is not
// set, a private one is started and ended: redis-server and rabbitmq-server as
// they are installed, nats-server built of its module by go tool. The rows that
// count the commands of idle ends start a Redis of their own in any case. The
// rows with Ruby need ruby and its packages redis and bunny.
//
// # Comparing two checkouts
//
// To judge a change, have it measured beside the commit before it:
//
//	git worktree add ../../before COMMIT
//	go run . -compare ../../before -rows 'Redis, 64' -within 1.03
//
// The sources in this folder measure both, each in a process of its own, on the
// same brokers. The two take short turns, A B B A A B and so on, so that a drift
// of the machine's speed cancels out. The value is the median of 20 ratios, this
// checkout's time to the other's; 95 % is the range in which more pairs would find
// it. Where the bound lies within that range, the verdict may be chance. If the
// sources do not compile with the other checkout, its own benchmarks measure it.
//
// # What is at its bound
//
// On two cores, which the broker and both ends share:
//
// Redis, 1 caller: 1.11 to 1.27 of the naive loop's time: ok
// in one run and short in the next. Both send four commands
// a call. But a call here passes six goroutines, where the loop has one at each
// end: by timestamps 15 µs of 138 pass in our code and net/rpc's, 5 of 116 in the
// loop's, and each goroutine that is made ready may wake a thread, which takes the
// processor from another. With GOMAXPROCS=1 the row is 1.07. Tried in vain:
// to pop on the goroutine that serves, or on the one that reads answers (1.0 of
// the time, both); a connection of the fetcher's own (1.01); a push without a
// context of its own (1.0); to pop answers only while some are due (1.11).
//
// Redis, 64 and 512 callers: 2.0 and 3.0 to 4.0 times the wire floor, which neither
// encodes nor looks for the caller of an answer. With 512 callers net/rpc and the codec
// take 10 of 15 µs of processor time a call, go-redis and the kernel most of the rest.
//
// Redis at least once: with 64 callers 0.71 to 0.78 of at most once, the less the faster
// the machine is at the moment. Without any HSET and HDEL in its two scripts it would have
// 0.80. Tried in vain: to take no more than 32, 16 or 10 at once (1.0), to remove what a
// settle is about by one HDEL (1.0), which could not tell what is not held any more; as many
// answers beside the places as with at most once (1.0).
//
// Stream, 64 callers: 0.44 to 0.58 of the time of gob, the more the slower the machine is
// at the moment. Of two processors 1.4 are busy: the calls go from one end to the other
// as one wave. Tried in vain: to send smaller waves, after 1, 2 or 4 rounds of yielding in
// place of 16 (0.95 to 1.0, with more writes). The tail (99th percentile) is the collector's:
// a program with more in its memory collects less often.
//
// RabbitMQ, 4,096 callers: 0.74 of 512. The loop written by hand has 0.66.
//
// RabbitMQ with Batch, 512 callers: 6.9 to 8.8 times the loop in twenty runs, with a median of
// 7.3. No turn was below 6.1, where small batches once stayed small for good. Of 14 µs of processor
// time a call, 11 are what a stream takes for the same calls: net/rpc's and the codec's.
//
// Methods of 20 ms: RabbitMQ 0.87 to 0.90 and HTTP 0.86 to 0.88 of the limit. All places are
// taken at once and end at once, so a wave takes 20 ms and the time to answer it and to bring the
// next one: 2.9 ms for the 64 of RabbitMQ, 3.3 ms for the 256 of HTTP, on two processors.
//
// Tails, the 99th percentile over the median: streams 6.3 to 9.3, Redis 3.8 to 4.1, RabbitMQ 2.2
// to 3.0.
//
// HTTP, 512 callers: 0.90 of 64, since 320 connections have more buffers and stacks than
// the processor's caches. With no more than 64 connections it is 1.0, but then slow methods
// have no more than 64 places. With a connection for each caller it was 0.7 to 0.86, and
// 4,096 callers had 0.57 of 512 in place of 0.95.
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
	other := flags.String("compare", "", "compare this checkout with the one in this `folder`")
	within := flags.Float64("within", 1.03, "with -compare: the greatest `ratio` that is ok")
	onOrder := flags.Bool("measure", false, "measure what the lines on the standard input order, as -compare has two processes do")
	file := flags.String("plot", "", "draw throughput and latency over the number of callers into this SVG `file`, too")
	_ = flags.Parse(args) // it exits
	wanted, err := regexp.Compile(*pattern)
	if err != nil {
		return err
	}
	if *onOrder {
		signal.Ignore(syscall.SIGPIPE) // or a report to a parent that died ends this process before measureOnOrder closes all
		measureOnOrder(ctx, os.Stdin, os.Stdout)
		return nil
	}
	env := &environment{ctx: ctx, effort: fullEffort, wanted: wanted}
	if *quick {
		env.effort = quickEffort
	}
	defer env.close()
	if *other != "" {
		return compare(env, *other, *within)
	}
	err = printRows(env, allRows())
	if *file != "" && ctx.Err() == nil {
		err = errors.Join(err, drawPlot(env, *file))
	}
	return err
}

// An environment is what the rows are measured in.
type environment struct {
	ctx    context.Context
	effort effort
	wanted *regexp.Regexp // names of rows; nil: all
	brokers
}

// wants reports whether the row with a name is to be measured.
func (e *environment) wants(name string) bool {
	return e.wanted == nil || e.wanted.MatchString(name)
}
