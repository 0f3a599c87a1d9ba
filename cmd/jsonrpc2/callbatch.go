package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/rpc"

	"github.com/micromessaging/jsonrpc2"
)

// maxCallers is how many calls may be under way at once.
const maxCallers = 10_000

// A batchCall is a line of a batch.
type batchCall struct {
	Method string          `json:"method"`
	Params json.RawMessage `json:"params"`
}

// A batchAnswer is a line of what comes of it.
type batchAnswer struct {
	Result     json.RawMessage `json:"result,omitempty"`
	Error      *jsonrpc2.Error `json:"error,omitempty"`
	Failed     string          `json:"failed,omitempty"`
	MayHaveRun bool            `json:"may_have_run,omitempty"`

	status int
}

// A batch is the calls of a file:
//
//	lines → begin → answers → print
//	          call ↗
type batch struct {
	request *request
	client  *rpc.Client
	answers chan chan batchAnswer // in the order of the lines; as many wait as may be under way
	stopped error                 // why not all lines were called; set before answers is closed
}

// callBatch makes the calls of a file, and prints what came of each in their order.
func (a *app) callBatch(ctx context.Context, r *request, file string, parallel int, args []string) error {
	switch {
	case len(args) > 0:
		return misused("with --batch the methods are in the file: leave out %q", args[0])
	case parallel < 1 || parallel > maxCallers:
		return misused("-c can't be %d: write a number from 1 to %d", parallel, maxCallers)
	}
	in, err := a.open(file)
	if err != nil {
		return err
	}
	defer in.Close()
	client, done, err := a.client(r, func(conn jsonrpc2.ClientConn) jsonrpc2.ClientConn { return jsonrpc2.Batch(conn, nil) })
	if err != nil {
		return err
	}
	defer done()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	b := &batch{request: r, client: client, answers: make(chan chan batchAnswer, parallel-1)}
	go b.begin(r.withMeta(ctx), lines(ctx, in, jsonrpc2.DefaultMaxMessageSize))
	return a.printBatch(b)
}

// begin begins the calls of all lines, until ctx is done.
func (b *batch) begin(ctx context.Context, all <-chan line) {
	defer close(b.answers)
	for {
		var l line
		var ok bool
		select {
		case l, ok = <-all:
		case <-ctx.Done():
		}
		switch {
		case ctx.Err() != nil:
			b.stopped = exitStatus{fmt.Errorf("not all lines were called: %w", context.Cause(ctx)), exitNotRun}
			return
		case !ok:
			return
		case l.err != nil:
			b.stopped = fmt.Errorf("not all lines were called: line %d: %w", l.number, l.err)
			return
		}
		answer := make(chan batchAnswer, 1)
		select {
		case b.answers <- answer:
			go func() { answer <- b.call(ctx, l) }()
		case <-ctx.Done(): // see above
		}
	}
}

// call makes the call of a line.
func (b *batch) call(ctx context.Context, l line) batchAnswer {
	call, params, err := b.request.parse(l.text)
	if err != nil {
		return batchAnswer{Failed: fmt.Sprintf("line %d: %v", l.number, err), status: exitUsage}
	}
	result, err := jsonrpc2.Call[json.RawMessage](ctx, b.client, call.Method, params)
	if err == nil {
		return batchAnswer{Result: result}
	}
	status := statusOf(err)
	if answer, ok := jsonrpc2.AsError(err); ok {
		return batchAnswer{Error: answer, status: status}
	}
	return batchAnswer{Failed: withoutPrefix(err), MayHaveRun: status == exitMayHaveRun, status: status}
}

func (r *request) parse(text []byte) (call batchCall, params any, err error) {
	if err := json.Unmarshal(text, &call); err != nil || call.Method == "" {
		return call, nil, errors.New(`no call: write it like {"method":"add","params":[1,5.1]}`)
	}
	if len(call.Params) > 0 {
		params, err = r.params(call.Params)
	}
	return call, params, err
}

// printBatch prints the answers in their order.
func (a *app) printBatch(b *batch) error {
	calls, failed, status := 0, 0, exitDone
	for answer := range b.answers {
		next := <-answer
		calls++
		if next.status != exitDone {
			failed++
			status = max(status, next.status)
		}
		if err := a.printJSON(next); err != nil {
			return err
		}
	}
	if b.stopped != nil {
		return exitStatus{b.stopped, max(status, statusOf(b.stopped))}
	}
	if failed > 0 {
		return exitStatus{fmt.Errorf("%d of %d calls failed", failed, calls), status}
	}
	return nil
}
