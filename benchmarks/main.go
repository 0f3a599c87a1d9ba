// Command benchmarks measures jsonrpc2 beside what one could use in its place: the codecs of
// net/rpc, other JSON-RPC 2.0 packages, gRPC, NATS, and loops written by hand around the
// clients of the brokers.
//
//	go run .                  every row: name, value, bound, and ok or short; it takes
//	                          twenty minutes
//	go run . -quick           the same with fewer calls, within three minutes
//	go run . -rows 'Redis'    the rows whose names match
//	go run . -plot FILE.svg   the rows, and a plot of throughput and latency over the number
//	                          of callers
//	go run . -compare FOLDER  our time per call, beside that of another checkout
//
// The exit status is 1 if a row could not be measured. A row that is short does not count as
// such.
//
// # The rows
//
// Most rows compare two sides in one run. The sides take turns, so that what else the machine
// does affects both alike. The value is the median of the ratios, one for each round of turns.
// Behind the verdict are the least and the greatest ratio, and both sides' own figures. A row
// without a bound has no verdict.
//
// The other rows measure a transport of ours alone:
//
//   - the calls per second of 4,096 callers, beside those of 512, each in a process of its own;
//   - the time of a call, the 99th percentile beside the median;
//   - whether slow methods use all places of a server;
//   - what idle ends cost. These rows share one window of time, in which nothing is called.
//
// The brokers are those in REDIS_URL, AMQP_URL and NATS_URL. If one is not set, the command
// starts a private broker and ends it: the installed redis-server or rabbitmq-server, or a
// nats-server that go tool builds. The rows that count the commands of idle ends start a Redis
// of their own in any case. The rows with Ruby need ruby and its packages redis and bunny.
//
// # Comparing two checkouts
//
// To judge a change, measure it beside the commit before it:
//
//	git worktree add ../../before COMMIT
//	go run . -compare ../../before -rows 'Redis, 64' -within 1.03
//
// The sources in this folder measure both libraries, each in a process of its own, on the same
// brokers. If they do not compile with the other library, the benchmarks of that checkout
// measure it.
//
// The two take short turns, A B B A A B and so on, so that a drift of the machine's speed
// cancels out. The value is the median of 20 ratios of this checkout's time to the other's (8
// with -quick). "95 %" is the range that has the true median with that probability. If the
// bound is within that range, the verdict may be chance.
//
// # Rows near their bounds
//
// These were measured on two cores, which the broker and both ends share. A figure in
// parentheses behind something that was tried is its time beside that without it: 1.0 means
// that it did not help.
//
// Redis, 1 caller: 1.11 to 1.27 of the naive loop's time, so ok in one run and short in the
// next. Both send four commands a call. But a call here passes six goroutines, and in the loop
// one at each end. By timestamps, 15 µs of 138 pass in our code and net/rpc's, and 5 of 116 in
// the loop's. Each goroutine that becomes ready may also wake a thread, which takes the
// processor from another. With GOMAXPROCS=1 the row is 1.07. Tried in vain:
//
//   - popping on the goroutine that serves, or on the one that reads answers (both 1.0)
//   - a connection of its own for the fetcher (1.01)
//   - a push without a context of its own (1.0)
//   - popping answers only while some are due (1.11)
//
// Redis, 8 callers: 0.8 to 1.1 times the calls of NATS micro. The best loop has 0.72 to 0.82, and
// the wire floor 1.0 to 1.25.
//
// Redis, 64 and 512 callers: 2.0 to 2.3, and 3.0 to 4.0, times the wire floor, and the best loop
// with 64 callers 2.4 to 2.8 times. The floor neither encodes nor finds the caller of an answer.
// With 512 callers, net/rpc and the codec take 10 of 15 µs of processor time a call. go-redis
// and the kernel take most of the rest.
//
// Redis at least once, 64 callers: 0.71 to 0.78 of at most once, less on a faster machine.
// Without any HSET and HDEL in its two scripts it would be 0.80. Tried in vain:
//
//   - taking no more than 32, 16 or 10 requests at once (1.0)
//   - one HDEL for all fields of a settle (1.0), which could not tell which are no longer held
//   - as many answers beside the places as with at most once (1.0)
//
// Stream, 64 callers: 0.44 to 0.97 of the time of gob, which makes a system call for each
// message: where these cost little, gob is fast. A codec of net/rpc that encodes nothing, the
// row's floor, takes 0.35 to 0.41 of gob's time. Ours takes 2.0 to 2.6 times that of the floor,
// and with 512 callers 1.6 to 2.1 times. encoding/json makes a sixth of it; nothing else in the
// profile stands out. 1.4 of two processors are busy: net/rpc encodes one request, and reads one
// message, at a time, so the calls go from one end to the other as one wave. Tried in vain:
// smaller waves, by 1, 2 or 4 rounds of yielding in place of 16 (0.95 to 1.0, with more writes).
//
// Stream, 512 callers: 4.1 to 4.8 times the calls of gRPC-Go. The floor makes 5.5 to 7 times
// its calls.
//
// RabbitMQ, 4,096 callers: 0.74 of 512. The loop written by hand has 0.66.
//
// RabbitMQ with Batch, 512 callers: 6.9 to 8.8 times the loop in twenty runs, with a median of
// 7.3. No turn was below 6.1; batches that stayed small for good once made such turns. Of 14 µs
// of processor time a call, net/rpc and the codec take 11, as over a stream.
//
// Methods of 20 ms: RabbitMQ 0.87 to 0.90 of the limit, and 0.87 to 0.89 by hand. HTTP 0.79 to
// 0.89, and net/http alone, with constant texts, 0.85 to 0.93. Many places are taken at once and
// end at once, and a wave takes 20 ms and the time to answer it and to bring the next one. Tried
// in vain on RabbitMQ: to publish and acknowledge 16 answers at a time, so that the next requests
// come earlier (1.0).
//
// Tails, the 99th percentile over the median: streams 3.2 to 9.3, and the floor, which has a
// third of the median, 12 to 26. In both a batch waits for 2 to 4 ms now and then between two
// lines of code: its thread waits for one processor while the other is idle, for a tick of the
// kernel. Without the garbage collector streams have 3.2 to 4.2, gob 1.8 to 2.3 in place of 2.9 to
// 3.3. Redis 3.4 to 4.1, and the best loop 2.8 to 3.1. RabbitMQ 2.0 to 3.0.
//
// HTTP, 512 callers: 0.79 to 0.90 of 64, and net/http alone 0.72 to 0.86: the buffers and stacks
// of 320 connections exceed the processor's caches. With no more than 64 connections it is 1.0,
// but then slow methods have no more than 64 places. With a connection for each caller it was
// 0.7 to 0.86, and 4,096 callers had 0.57 of 512 in place of 0.95. With at most 64 requests that
// were sent in the last milliseconds it was 0.9 to 1.0; but 4,096 callers had 0.87 of 512, and
// slow methods waited where the processor was busy.
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
	_ = flags.Parse(args) // exits on an error
	wanted, err := regexp.Compile(*pattern)
	if err != nil {
		return err
	}
	if *onOrder {
		// Without this, a report to a parent that died would end this process before
		// measureOnOrder has closed what it opened.
		signal.Ignore(syscall.SIGPIPE)
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

// An environment has what all rows are measured with: how long, and on which brokers.
type environment struct {
	ctx    context.Context
	effort effort
	wanted *regexp.Regexp // names of rows; nil: all
	brokers
}

// wants reports whether to measure the row with this name.
func (e *environment) wants(name string) bool {
	return e.wanted == nil || e.wanted.MatchString(name)
}
