package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/rpc"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"

	"github.com/micromessaging/jsonrpc2"
)

// A bench is many calls of one method.
type bench struct {
	callers int
	calls   int
	limit   time.Duration
	batch   bool

	client *rpc.Client
	method string
	params any

	begun atomic.Int64
	ended atomic.Int64

	mu     sync.Mutex // protects following
	times  []time.Duration
	errors map[string]int
	worst  error
}

func (a *app) benchCommand() *cobra.Command {
	var r request
	var b bench
	c := &cobra.Command{
		Use:   "bench METHOD [PARAMS]",
		Short: "Make many calls, and print how fast they are",
		Long: `Make many calls of one method, and print the calls per second, how long they
took, and what failed. Ctrl-C ends it, and prints what there is.

` + operandsHelp,
		Example: `  jsonrpc2 bench -b redis://localhost:6379 -q calc -c 64 -n 100000 add '[1,5.1]'
  jsonrpc2 bench -b amqp://localhost -q calc -n 0 -d 10s --batch add '[1,5.1]'`,
		RunE: func(c *cobra.Command, args []string) error {
			return a.bench(c.Context(), &b, &r, args)
		},
		ValidArgsFunction: a.completeCall(&r),
	}
	r.define(c)
	a.target.defineCalls(c)
	c.Flags().IntVarP(&b.callers, "callers", "c", 64, "how many calls are under way at once")
	c.Flags().IntVarP(&b.calls, "calls", "n", 10_000, "how many calls to make; 0: no limit")
	c.Flags().DurationVarP(&b.limit, "duration", "d", 0, "how long to make calls; 0: no limit")
	c.Flags().BoolVar(&b.batch, "batch", false, "join calls that wait into batches")
	for _, flag := range []string{"callers", "calls", "duration"} {
		completes(c, flag, cobra.ShellCompDirectiveNoFileComp)
	}
	return c
}

func (a *app) bench(ctx context.Context, b *bench, r *request, args []string) (err error) {
	switch {
	case b.callers < 1 || b.callers > maxCallers:
		return misused("-c can't be %d: write a number from 1 to %d", b.callers, maxCallers)
	case b.calls < 0 || b.limit < 0:
		return misused("-n and -d can't be negative")
	}
	if b.method, b.params, err = a.operands(ctx, r, args); err != nil {
		return err
	}
	client, done, err := a.client(r, func(conn jsonrpc2.ClientConn) jsonrpc2.ClientConn {
		if b.batch {
			return jsonrpc2.Batch(conn, nil)
		}
		return conn
	})
	if err != nil {
		return err
	}
	defer done()
	if b.limit > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, b.limit)
		defer cancel()
	}
	b.client, b.errors = client, make(map[string]int)
	show, remove := a.progress(b)
	took := b.run(ctx, r.withMeta(context.WithoutCancel(ctx)), show)
	remove()
	return a.printBench(b, took)
}

// lastCalls is how long the calls under way may take when a bench is ended.
const lastCalls = time.Second

// run makes the calls, until all are made or ctx is done. It waits for those under way, for
// lastCalls at most once ctx is done. each is the ctx of each call.
func (b *bench) run(ctx, each context.Context, show func()) time.Duration {
	start := time.Now()
	var callers sync.WaitGroup
	for range b.callers {
		callers.Go(func() { b.calling(ctx, each) })
	}
	ended := make(chan struct{})
	go func() { callers.Wait(); close(ended) }()
	ticker := time.NewTicker(200 * time.Millisecond)
	defer ticker.Stop()
	stopped := ctx.Done()
	var last <-chan time.Time
	for {
		select {
		case <-ticker.C:
			show()
		case <-stopped:
			stopped, last = nil, time.After(lastCalls)
		case <-last:
			_ = b.client.Close() // ends what is under way
			last = nil
		case <-ended:
			return time.Since(start)
		}
	}
}

// calling makes one call after the other.
func (b *bench) calling(ctx, each context.Context) {
	var times []time.Duration
	for ctx.Err() == nil {
		if n := b.begun.Add(1); b.calls > 0 && n > int64(b.calls) {
			break
		}
		begun := time.Now()
		_, err := jsonrpc2.Call[json.RawMessage](each, b.client, b.method, b.params)
		b.ended.Add(1)
		if err != nil {
			b.failed(err)
			continue
		}
		times = append(times, time.Since(begun))
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.times = append(b.times, times...)
}

// maxErrors is how many kinds of errors are told apart: a server may give each call its own.
const maxErrors = 20

// failed notes the error of a call.
func (b *bench) failed(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	name := kindName(err)
	if _, known := b.errors[name]; !known && len(b.errors) >= maxErrors {
		name = "other errors"
	}
	b.errors[name]++
	if b.worst == nil || statusOf(err) > statusOf(b.worst) {
		b.worst = err
	}
}

// A benchResult is what a bench prints. Times are in microseconds.
type benchResult struct {
	Calls     int            `json:"calls"`
	Answered  int            `json:"answered"`
	Seconds   float64        `json:"seconds"`
	PerSecond float64        `json:"calls_per_second"`
	Mean      float64        `json:"mean_us"`
	P50       float64        `json:"p50_us"`
	P90       float64        `json:"p90_us"`
	P99       float64        `json:"p99_us"`
	P999      float64        `json:"p999_us"`
	Max       float64        `json:"max_us"`
	Errors    map[string]int `json:"errors"`
}

func (b *bench) result(took time.Duration) benchResult {
	slices.Sort(b.times)
	r := benchResult{
		Calls: int(b.ended.Load()), Answered: len(b.times), Seconds: took.Seconds(), Errors: b.errors,
		PerSecond: float64(len(b.times)) / took.Seconds(),
		P50:       b.percentile(0.5), P90: b.percentile(0.9), P99: b.percentile(0.99), P999: b.percentile(0.999), Max: b.percentile(1),
	}
	var sum time.Duration
	for _, d := range b.times {
		sum += d
	}
	r.Mean = microseconds(sum) / float64(max(len(b.times), 1))
	return r
}

func (b *bench) percentile(p float64) float64 {
	if len(b.times) == 0 {
		return 0
	}
	return microseconds(b.times[min(int(p*float64(len(b.times))), len(b.times)-1)])
}

func microseconds(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }

func (a *app) printBench(b *bench, took time.Duration) error {
	r := b.result(took)
	if a.output.isJSON() {
		if err := a.printJSON(r); err != nil {
			return err
		}
	} else if err := a.printBenchText(r); err != nil {
		return err
	}
	if b.worst != nil {
		text := strings.TrimPrefix(describe(b.worst), "jsonrpc2: ")
		return exitStatus{fmt.Errorf("%d of %d calls failed, such as by: %s", r.Calls-r.Answered, r.Calls, text), statusOf(b.worst)}
	}
	return nil
}

func (a *app) printBenchText(r benchResult) error {
	t := &table{columns: []column{
		{"CALLS", true}, {"ANSWERED", true}, {"SECONDS", true}, {"CALLS/S", true},
		{"MEAN", true}, {"P50", true}, {"P90", true}, {"P99", true}, {"P99.9", true}, {"MAX", true},
	}}
	us := func(f float64) string {
		return time.Duration(f * float64(time.Microsecond)).Round(time.Microsecond).String()
	}
	t.add(fmt.Sprint(r.Calls), fmt.Sprint(r.Answered), fmt.Sprintf("%.2f", r.Seconds), fmt.Sprintf("%.0f", r.PerSecond),
		us(r.Mean), us(r.P50), us(r.P90), us(r.P99), us(r.P999), us(r.Max))
	if err := a.print(t); err != nil {
		return err
	}
	if len(r.Errors) == 0 {
		return nil
	}
	failures := &table{columns: []column{{"FAILED", true}, {"BY", false}}}
	for _, name := range slices.Sorted(maps.Keys(r.Errors)) {
		failures.add(fmt.Sprint(r.Errors[name]), name)
	}
	if _, err := io.WriteString(a.stdout, "\n"); err != nil {
		return err
	}
	return a.print(failures)
}

const clearLine = "\r\x1b[K"

// progress returns what shows on a terminal how far a bench is, and what removes that.
func (a *app) progress(b *bench) (show, remove func()) {
	if !isTerminal(a.stderr) {
		return func() {}, func() {}
	}
	start := time.Now()
	show = func() {
		ended, share := b.ended.Load(), ""
		if b.calls > 0 {
			share = fmt.Sprintf("%3d %%  ", 100*ended/int64(b.calls))
		}
		fmt.Fprintf(a.stderr, clearLine+"%s%d calls, %.0f/s ", share, ended, float64(ended)/time.Since(start).Seconds())
	}
	return show, func() { fmt.Fprint(a.stderr, clearLine) }
}
