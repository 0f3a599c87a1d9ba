package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/micromessaging/jsonrpc2/redisconn"
)

// A server is one that has announced itself.
type server = redisconn.Server

func (a *app) serversCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "servers",
		Short: "List the servers of a queue",
		Long: `List the servers of a queue, the oldest first: since when they serve, and how
many requests each takes at once. A server that was killed is listed for 30 s.
RabbitMQ tells only how many consumers there are.`,
		Example: `  jsonrpc2 servers -b redis://localhost:6379 -q calc`,
		Args:    noOperands,
		RunE:    func(c *cobra.Command, _ []string) error { return a.servers(c.Context()) },

		ValidArgsFunction: cobra.NoFileCompletions,
	}
}

func (a *app) servers(ctx context.Context) error {
	b, err := a.broker()
	if err != nil {
		return err
	}
	defer b.close()
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	if b.servers == nil {
		return a.consumers(ctx, b)
	}
	servers, err := b.servers(ctx)
	if err != nil {
		return notRun(err)
	}
	return a.printServers(servers, time.Now())
}

func (a *app) printServers(servers []server, now time.Time) error {
	t := &table{columns: []column{{"HOST", false}, {"PID", true}, {"PLACES", true}, {"SINCE", true}, {"ID", false}}}
	for _, s := range servers {
		if a.output.isJSON() {
			if err := a.printJSON(s); err != nil {
				return err
			}
		}
		t.add(clipped(s.Host, 64), fmt.Sprint(s.PID), fmt.Sprint(s.Places), ago(s.Since, now), clipped(s.ID, 64))
	}
	if a.output.isJSON() {
		return nil
	}
	return a.print(t)
}

// A consumerCount is what a broker tells that knows its consumers by their number alone.
type consumerCount struct {
	Consumers *int `json:"consumers"`
}

func (a *app) consumers(ctx context.Context, b *broker) error {
	l, err := b.look(ctx)
	if err != nil {
		return notRun(err)
	}
	if a.output.isJSON() {
		return a.printJSON(consumerCount{l.Servers})
	}
	t := &table{columns: []column{{"CONSUMERS", true}}}
	t.add(orDash(l.Servers))
	return a.print(t)
}
