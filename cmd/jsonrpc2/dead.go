package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/micromessaging/jsonrpc2"
)

const selectionHelp = `An ID is one of the list's column ID. The id that a client gave its request, of
the column REQUEST, stands for all requests that have it. A batch is one message:
it is found by the id and the method of each of its items, and handled as a whole.`

func (a *app) deadCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "dead",
		Short: "List, show, requeue or delete the dead requests of a queue",
		Long: `List, show, requeue or delete the dead requests of a queue: those that were given
up because they ended each server that took them. On RabbitMQ the queue must
have been created for that, by Queue.DeadLetter of the Go package amqpconn.`,
		Example: `  jsonrpc2 dead list -b redis://localhost:6379 -q calc
  jsonrpc2 dead show 0f1e2d3c4b5a6978
  jsonrpc2 dead requeue --method add --older-than 1h
  jsonrpc2 dead delete 0f1e2d3c4b5a6978 --yes`,
		Args: noSuchCommand,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(a.deadListCommand(), a.deadShowCommand(), a.deadRequeueCommand(), a.deadDeleteCommand())
	return c
}

func (a *app) deadListCommand() *cobra.Command {
	var s selection
	limit := defaultLimit
	c := &cobra.Command{
		Use:   "list",
		Short: "List the dead requests, newest first",
		Long: `List the dead requests, newest first: when each was given up, how often it was
started, and why it was given up. Listing changes nothing. What the broker does
not tell is "-": RabbitMQ does not tell how often a request was started.

With -o json each line has the whole request, and all are listed unless -n says
otherwise.`,
		Example: `  jsonrpc2 dead list -b redis://localhost:6379 -q calc
  jsonrpc2 dead list --method add --older-than 24h -n 0
  jsonrpc2 dead list -o json | jq -r .request_ids[]`,
		Args: noOperands,
		RunE: func(c *cobra.Command, _ []string) error {
			if a.output.isJSON() && !c.Flags().Changed("limit") {
				limit = 0
			}
			return a.deadList(c.Context(), &s, limit)
		},
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	s.defineFilters(c)
	c.Flags().IntVarP(&limit, "limit", "n", defaultLimit, "how many to list at most; 0: no limit")
	completes(c, "limit", cobra.ShellCompDirectiveNoFileComp)
	return c
}

func (a *app) deadShowCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "show ID...",
		Short: "Show dead requests",
		Long: `Show dead requests, as their clients sent them. On a terminal they are indented,
unless -o json says otherwise.

` + selectionHelp,
		Example: `  jsonrpc2 dead show 0f1e2d3c4b5a6978
  jsonrpc2 dead show 0f1e2d3c4b5a6978 -o json > request.json`,
		RunE: func(c *cobra.Command, ids []string) error { return a.deadShow(c.Context(), ids) },

		ValidArgsFunction: cobra.NoFileCompletions,
	}
}

func (a *app) deadRequeueCommand() *cobra.Command {
	return a.removeCommand(&removal{
		verb: "requeue", done: "requeued",
		asks: func(s *selection) bool { return s.all },
		run:  func(d jsonrpc2.DeadList) removeFunc { return d.Requeue },
	}, &cobra.Command{
		Use:   "requeue ID... | --all | [--method M] [--older-than D]",
		Short: "Move dead requests back into the queue",
		Long: `Move dead requests back into the queue, as new ones without a deadline, behind
those that wait. Their callers no longer wait for the answers.

` + selectionHelp + `

--all asks first. A process that is killed meanwhile loses no request, but one may
be in the queue and in the list then.`,
		Example: `  jsonrpc2 dead requeue -b redis://localhost:6379 -q calc 0f1e2d3c4b5a6978
  jsonrpc2 dead requeue --method add --older-than 1h
  jsonrpc2 dead requeue --all --yes`,
	})
}

func (a *app) deadDeleteCommand() *cobra.Command {
	return a.removeCommand(&removal{
		verb: "delete", done: "deleted",
		asks: func(*selection) bool { return true },
		run:  func(d jsonrpc2.DeadList) removeFunc { return d.Delete },
	}, &cobra.Command{
		Use:   "delete ID... | --all | [--method M] [--older-than D]",
		Short: "Delete dead requests",
		Long: `Delete dead requests for good. It asks first.

` + selectionHelp,
		Example: `  jsonrpc2 dead delete -b redis://localhost:6379 -q calc 0f1e2d3c4b5a6978
  jsonrpc2 dead delete --older-than 720h --yes`,
	})
}

type removeFunc func(context.Context, ...jsonrpc2.DeadRequest) (int, error)

// A removal is a command that removes requests from the list.
type removal struct {
	verb, done string
	asks       func(*selection) bool
	run        func(jsonrpc2.DeadList) removeFunc

	selection selection
	yes       bool
}

func (a *app) removeCommand(r *removal, c *cobra.Command) *cobra.Command {
	c.RunE = func(c *cobra.Command, ids []string) error { return a.remove(c.Context(), r, ids) }
	c.ValidArgsFunction = cobra.NoFileCompletions
	r.selection.defineFilters(c)
	c.Flags().BoolVar(&r.selection.all, "all", false, "all dead requests")
	c.Flags().BoolVarP(&r.yes, "yes", "y", false, "don't ask")
	return c
}

const (
	// listTimeout is how long a list may take: one at RabbitMQ may wait for another.
	listTimeout = time.Minute

	// removeTimeout is how long it may take to remove what is listed.
	removeTimeout = 5 * time.Minute

	// defaultLimit is how many requests are listed.
	defaultLimit = 100
)

// list returns the n newest dead requests, all if n is negative.
func (b *broker) list(ctx context.Context, n int) ([]jsonrpc2.DeadRequest, error) {
	ctx, cancel := context.WithTimeout(ctx, listTimeout)
	defer cancel()
	dead, err := b.dead.List(ctx, n)
	if err != nil {
		return nil, notRun(err)
	}
	return dead, nil
}

func (a *app) deadList(ctx context.Context, s *selection, limit int) error {
	if err := s.checkFilters(limit); err != nil {
		return err
	}
	b, err := a.broker()
	if err != nil {
		return err
	}
	defer b.close()
	n := -1
	if limit > 0 && !s.filters() {
		n = limit + 1 // one more tells that there are more
	}
	dead, err := b.list(ctx, n)
	if err != nil {
		return err
	}
	now := time.Now()
	entries := s.filter(entriesOf(dead), now)
	more := limit > 0 && len(entries) > limit
	if more {
		entries = entries[:limit]
	}
	if err := a.printEntries(entries, now); err != nil {
		return err
	}
	if more && !a.output.isJSON() {
		fmt.Fprintf(a.stderr, "There are more: -n 0 lists all.\n")
	}
	return nil
}

func (a *app) deadShow(ctx context.Context, ids []string) error {
	if len(ids) == 0 {
		return misused("no ID: write one that jsonrpc2 dead list shows")
	}
	b, err := a.broker()
	if err != nil {
		return err
	}
	defer b.close()
	dead, err := b.list(ctx, -1)
	if err != nil {
		return err
	}
	chosen, err := byID(entriesOf(dead), ids)
	if err != nil {
		return err
	}
	for _, e := range chosen {
		if err := a.showRequest(e.dead.Request); err != nil {
			return err
		}
	}
	return nil
}

// showRequest prints a message: on a terminal indented, else as it is.
func (a *app) showRequest(message []byte) error {
	text := bytes.Clone(message)
	if isTerminal(a.stdout) {
		var indented bytes.Buffer
		if !a.output.isJSON() && json.Indent(&indented, message, "", "  ") == nil {
			text = indented.Bytes()
		}
		if text = escaped(text); !json.Valid(message) {
			text = []byte(printable(string(message)))
		}
	}
	_, err := a.stdout.Write(append(text, '\n'))
	return err
}

// remove removes what is selected.
func (a *app) remove(ctx context.Context, r *removal, ids []string) error {
	if err := r.selection.check(ids); err != nil {
		return err
	}
	asks := r.asks(&r.selection) && !r.yes
	if asks {
		if err := a.canAsk(r.verb); err != nil {
			return err
		}
	}
	b, err := a.broker()
	if err != nil {
		return err
	}
	defer b.close()
	dead, err := b.list(ctx, -1)
	if err != nil {
		return err
	}
	chosen, err := r.selection.choose(entriesOf(dead), ids, time.Now())
	if err != nil {
		return err
	}
	if asks && len(chosen) > 0 {
		question := fmt.Sprintf("%s %s of queue %s?", r.verb, describeEntries(chosen), a.target.queue)
		if err := a.ask(ctx, question); err != nil {
			return err
		}
	}
	return a.removeNow(ctx, r, b, chosen)
}

// removeNow removes requests, and prints how many.
func (a *app) removeNow(ctx context.Context, r *removal, b *broker, chosen []entry) error {
	if len(chosen) == 0 {
		return a.printRemoved(r, 0)
	}
	requests := make([]jsonrpc2.DeadRequest, len(chosen))
	for i, e := range chosen {
		requests[i] = e.dead
	}
	ctx, cancel := context.WithTimeout(ctx, removeTimeout)
	defer cancel()
	n, err := r.run(b.dead)(ctx, requests...)
	if err == nil || n > 0 {
		if err := a.printRemoved(r, n); err != nil {
			return err
		}
	}
	switch {
	case errors.Is(err, jsonrpc2.ErrNoDeadList):
		return err
	case err != nil:
		return exitStatus{err, exitMayHaveRun}
	case n < len(chosen):
		return fmt.Errorf("%d of %d were no longer in the list", len(chosen)-n, len(chosen))
	}
	return nil
}

func (a *app) printRemoved(r *removal, n int) error {
	if a.output.isJSON() {
		return a.printJSON(map[string]int{r.done: n})
	}
	_, err := fmt.Fprintf(a.stdout, "%d %s\n", n, r.done)
	return err
}
