package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"
)

// A queueLook is what is known of a queue at one time. What a broker does not tell is nil.
type queueLook struct {
	Queue    string     `json:"queue"`
	Waiting  *int       `json:"waiting"`            // requests that no server has
	Deadline *time.Time `json:"deadline,omitempty"` // of the request that is next
	Running  *int       `json:"running"`            // requests that servers have
	Servers  *int       `json:"servers"`
	Dead     *int       `json:"dead"`

	// Between two looks, a second.
	WaitingRate *float64 `json:"waiting_per_second,omitempty"`
	DeadRate    *float64 `json:"dead_per_second,omitempty"`

	at time.Time
}

func (a *app) queueCommand() *cobra.Command {
	var watch bool
	var every time.Duration
	c := &cobra.Command{
		Use:   "queue",
		Short: "Show what waits in a queue, and who serves it",
		Long: `Show what waits in a queue, what runs, who serves it, and how many requests are
dead.

A look changes nothing, and costs the broker the same however long the queue is.
NEXT is how long the caller of the request that is next still waits. What the
broker does not tell is "-": RabbitMQ tells neither NEXT nor what runs, and
Redis knows what runs of those servers alone that serve at least once.

--watch looks again and again, and shows how fast the numbers change. If a look
fails it says so, and goes on.`,
		Example: `  jsonrpc2 queue -b redis://localhost:6379 -q calc
  jsonrpc2 queue -b amqp://localhost -q calc --watch --every 5s`,
		Args: noOperands,
		RunE: func(c *cobra.Command, _ []string) error {
			b, err := a.broker()
			if err != nil {
				return err
			}
			defer b.close()
			if watch {
				return a.watch(c.Context(), b, every)
			}
			l, err := b.lookNow(c.Context())
			if err != nil {
				return err
			}
			return a.printLook(l, false)
		},
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	c.Flags().BoolVarP(&watch, "watch", "w", false, "look again and again, until Ctrl-C")
	c.Flags().DurationVar(&every, "every", time.Second, "with --watch: how long between two looks")
	completes(c, "every", cobra.ShellCompDirectiveNoFileComp)
	return c
}

// askTimeout is how long a broker may take to answer a question.
const askTimeout = 10 * time.Second

func noOperands(c *cobra.Command, args []string) error {
	if len(args) > 0 {
		return misused("%s takes no operands: the queue is that of -q", c.CommandPath())
	}
	return nil
}

// lookNow looks at the queue.
func (b *broker) lookNow(ctx context.Context) (queueLook, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	l, err := b.look(ctx)
	if err != nil {
		return l, notRun(err)
	}
	l.at = time.Now()
	return l, nil
}

// watch looks until ctx is done. The first look must not fail.
func (a *app) watch(ctx context.Context, b *broker, every time.Duration) error {
	if every < 10*time.Millisecond {
		return misused("--every can't be %v: write 1s, for example", every)
	}
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	var last queueLook
	for {
		l, err := b.lookNow(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil && last.at.IsZero():
			return err
		case err != nil:
			a.report(err)
		default:
			l.setRates(last)
			if err := a.printLook(l, true); err != nil {
				return err
			}
			last = l
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// setRates sets how fast the numbers changed since the last look.
func (l *queueLook) setRates(last queueLook) {
	if last.at.IsZero() {
		return
	}
	seconds := l.at.Sub(last.at).Seconds()
	rate := func(now, then *int) *float64 {
		if now == nil || then == nil {
			return nil
		}
		r := float64(*now-*then) / seconds
		return &r
	}
	l.WaitingRate, l.DeadRate = rate(l.Waiting, last.Waiting), rate(l.Dead, last.Dead)
}

// clearScreen makes each look of a watch take the place of the one before.
const clearScreen = "\x1b[H\x1b[J"

func (a *app) printLook(l queueLook, watching bool) error {
	if a.output.isJSON() {
		return a.printJSON(l)
	}
	next := "-"
	if l.Deadline != nil {
		next = short(l.Deadline.Sub(l.at))
	}
	t := &table{columns: []column{{"QUEUE", false}, {"WAITING", true}, {"NEXT", true}, {"RUNNING", true}, {"SERVERS", true}, {"DEAD", true}}}
	row := []string{l.Queue, orDash(l.Waiting), next, orDash(l.Running), orDash(l.Servers), orDash(l.Dead)}
	if watching {
		t.columns = append(t.columns, column{"WAITING/S", true}, column{"DEAD/S", true})
		row = append(row, rateText(l.WaitingRate), rateText(l.DeadRate))
		if isTerminal(a.stdout) {
			if _, err := io.WriteString(a.stdout, clearScreen); err != nil {
				return err
			}
		}
	}
	t.add(row...)
	return a.print(t)
}

func rateText(rate *float64) string {
	if rate == nil {
		return "-"
	}
	return fmt.Sprintf("%+.1f", *rate)
}
