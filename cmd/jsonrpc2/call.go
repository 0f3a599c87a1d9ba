package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"net/rpc"
	"strings"

	"github.com/spf13/cobra"

	"github.com/micromessaging/jsonrpc2"
)

// A request is what the flags and operands say of what is to be called.
type request struct {
	service    string
	positional bool
	meta       []string
}

func (r *request) define(c *cobra.Command) {
	flags := c.Flags()
	flags.StringVar(&r.service, "service", "", "net/rpc `service` whose methods are sent by their bare names: with Calc, Calc.Add is sent as add")
	flags.BoolVar(&r.positional, "positional", false, "send an object's values as an array, in their order")
	completes(c, "service", cobra.ShellCompDirectiveNoFileComp)
	r.defineMeta(c)
}

func (r *request) defineMeta(c *cobra.Command) {
	c.Flags().StringArrayVar(&r.meta, "meta", nil, "`key=value` to send as metadata; may be given again")
	completes(c, "meta", cobra.ShellCompDirectiveNoFileComp)
}

const operandsHelp = `METHOD is the name on the wire, such as add. PARAMS is JSON, such as '[1,5.1]' or
'{"a":1,"b":5.1}', @FILE for a file, or - for standard input.`

func (a *app) callCommand() *cobra.Command {
	var r request
	var file string
	var parallel int
	c := &cobra.Command{
		Use:   "call METHOD [PARAMS]",
		Short: "Call a method, and print its result",
		Long: `Call a method, and print its result as a line of JSON. An error that the server
answers is printed on standard error, with its code and its data.

` + operandsHelp + `

With --batch FILE (- for standard input) each line is a call:
  {"method":"add","params":[1,5.1]}
For each there is a line on standard output, in the same order, one of
  {"result":6.1}
  {"error":{"code":-32601,"message":"…"}}
  {"failed":"…"}                        it did certainly not run
  {"failed":"…","may_have_run":true}
Calls that wait travel together as JSON-RPC batches, for servers that know them; with
-c 1 they travel one at a time. The exit status is the highest of all calls.`,
		Example: `  jsonrpc2 call -b redis://localhost:6379 -q calc add '[1,5.1]'
  jsonrpc2 call -b amqp://localhost -q calc --service Calc Calc.Add '{"a":1,"b":5.1}'
  jsonrpc2 call -b tcp://localhost:4567 add @params.json

  echo '[1,5.1]' | jsonrpc2 call -b http://localhost:4567/calc add -
  jsonrpc2 call -b redis://localhost:6379 --batch calls.jsonl -c 16 > answers.jsonl`,
		RunE: func(c *cobra.Command, args []string) error {
			if c.Flags().Changed("batch") {
				return a.callBatch(c.Context(), &r, file, parallel, args)
			}
			return a.call(c.Context(), &r, args)
		},
		ValidArgsFunction: a.completeCall(&r),
	}
	r.define(c)
	a.target.defineCalls(c)
	c.Flags().StringVar(&file, "batch", "", "`file` of calls, one a line; - for standard input")
	c.Flags().IntVarP(&parallel, "parallel", "c", 64, "with --batch: how many calls are under way at once")
	completes(c, "parallel", cobra.ShellCompDirectiveNoFileComp)
	return c
}

func (a *app) notifyCommand() *cobra.Command {
	var r request
	c := &cobra.Command{
		Use:   "notify METHOD [PARAMS]",
		Short: "Send a notification",
		Long: `Send a notification: a request without an answer. The command ends when the
broker or the server has it.

` + operandsHelp,
		Example: `  jsonrpc2 notify -b amqp://localhost -q log write '{"line":"hello"}'`,
		RunE: func(c *cobra.Command, args []string) error {
			return a.notify(c.Context(), &r, args)
		},
		ValidArgsFunction: a.completeCall(&r),
	}
	r.define(c)
	a.target.defineCalls(c)
	return c
}

func (a *app) call(ctx context.Context, r *request, args []string) error {
	return a.request(ctx, r, args, func(client *rpc.Client, method string, params any) error {
		result, err := jsonrpc2.Call[json.RawMessage](r.withMeta(ctx), client, method, params)
		if err != nil {
			return err
		}
		_, err = a.stdout.Write(append(escaped(compact(result)), '\n'))
		return err
	})
}

func (a *app) notify(ctx context.Context, r *request, args []string) error {
	return a.request(ctx, r, args, func(client *rpc.Client, method string, params any) error {
		if a.target.timeout > 0 {
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeout(ctx, a.target.timeout)
			defer cancel()
		}
		return jsonrpc2.Notify(r.withMeta(ctx), client, method, params)
	})
}

// request calls f with the operands and a client, which it closes.
func (a *app) request(ctx context.Context, r *request, args []string, f func(client *rpc.Client, method string, params any) error) error {
	method, params, err := a.operands(ctx, r, args)
	if err != nil {
		return err
	}
	client, done, err := a.client(r, nil)
	if err != nil {
		return err
	}
	defer done()
	return f(client, method, params)
}

// client returns a client, and what closes it. wrap, if set, goes around its Conn.
func (a *app) client(r *request, wrap func(jsonrpc2.ClientConn) jsonrpc2.ClientConn) (*rpc.Client, func(), error) {
	if err := r.check(); err != nil {
		return nil, nil, err
	}
	conn, done, err := a.target.dial()
	if err != nil {
		return nil, nil, err
	}
	if wrap != nil {
		conn = wrap(conn)
	}
	client := jsonrpc2.NewClient(conn, &jsonrpc2.ClientOptions{
		Service: r.service,
		Timeout: cmp.Or(a.target.timeout, -1), // of which 0 is the default
		Logger:  quiet,
	})
	return client, func() { _ = client.Close(); done() }, nil
}

// operands returns the method and the params.
func (a *app) operands(ctx context.Context, r *request, args []string) (method string, params any, err error) {
	switch len(args) {
	case 0:
		return "", nil, misused(`no method: write one, such as add '[1,5.1]'`)
	case 1:
		return args[0], nil, nil
	case 2:
	default:
		return "", nil, misused("too many operands: quote the params as one, such as '[1,5.1]'")
	}
	text, err := a.read(ctx, args[1])
	if err != nil {
		return "", nil, err
	}
	params, err = r.params(text)
	return args[0], params, err
}

// params returns params for the codec.
func (r *request) params(text []byte) (any, error) {
	text = bytes.TrimSpace(text)
	if !json.Valid(text) {
		return nil, misused(`the params are no JSON: write them like '[1,5.1]' or '{"a":1,"b":5.1}'`)
	}
	switch {
	case text[0] != '{' && text[0] != '[':
		return nil, misused("the params are neither an object nor an array: write '[%s]'", clipped(string(text), 64))
	case text[0] == '{' && r.positional:
		return values(text)
	}
	return json.RawMessage(text), nil
}

// values returns the values of an object, in their order.
func values(object []byte) ([]json.RawMessage, error) {
	decoder := json.NewDecoder(bytes.NewReader(object))
	if _, err := decoder.Token(); err != nil {
		return nil, err
	}
	all := []json.RawMessage{}
	for decoder.More() {
		if _, err := decoder.Token(); err != nil {
			return nil, err
		}
		var value json.RawMessage
		if err := decoder.Decode(&value); err != nil {
			return nil, err
		}
		all = append(all, value)
	}
	return all, nil
}

func (r *request) check() error {
	for _, entry := range r.meta {
		if !strings.Contains(entry, "=") {
			return misused("--meta %q has no =: write key=value", entry)
		}
	}
	return nil
}

// withMeta returns a ctx with the metadata of the flags.
func (r *request) withMeta(ctx context.Context) context.Context {
	if len(r.meta) == 0 {
		return ctx
	}
	meta := make(jsonrpc2.Meta)
	for _, entry := range r.meta {
		key, value, _ := strings.Cut(entry, "=")
		meta[key] = value
	}
	return jsonrpc2.WithMeta(ctx, meta)
}
