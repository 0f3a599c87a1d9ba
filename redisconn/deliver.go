package redisconn

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/internal/link"
	"github.com/micromessaging/jsonrpc2/redisconn/internal/hold"
)

// A deliverer turns the requests that were taken into Deliveries for the codec. ReadRequest
// alone uses it. The Reply of a Delivery may be called on any goroutine.
type deliverer struct {
	*shared
	replier *replier
	body    []byte          // of the last request; the next one overwrites it
	header  jsonrpc2.Header // of body
	clock   *clock
	asker   *link.Asker // asks for the broker's time
}

func newDeliverer(s *shared, r *replier) *deliverer {
	d := &deliverer{shared: s, replier: r, asker: link.NewAsker()}
	d.clock = &clock{ask: d.brokerTime, state: s.state}
	return d
}

// forget frees the buffers if the last request was long.
func (d *deliverer) forget() {
	if cap(d.body) > maxKept {
		d.body, d.header = nil, jsonrpc2.Header{}
	}
}

// deliver returns the Delivery of a request that was taken.
func (d *deliverer) deliver(taken delivery) jsonrpc2.Delivery {
	d.body = append(d.body[:0], taken.body...)
	d.header.Scan(d.body) // the codec answers a request that is broken
	list, err := d.replyList()
	out := jsonrpc2.Delivery{Body: d.body, Header: &d.header, Deadline: d.clock.deadline(d.header.Deadline()), Attempt: taken.attempt}
	switch {
	case err != nil && d.header.WantsAnswer():
		d.countUnanswerable(err)
		out.Err = err
	case taken.dead:
		out.Err = errDead(taken.attempt)
	}
	request := taken.held
	out.Reply = func(body []byte) error {
		switch {
		case body == nil:
			d.settle(request)
			return nil
		case err != nil:
			d.settle(request)
			return err
		}
		return d.replier.reply(request, list, body)
	}
	return out
}

// errDead returns the error for the caller of a dead request.
func errDead(attempts int) *jsonrpc2.Error {
	return &jsonrpc2.Error{
		Code:    jsonrpc2.CodeServer,
		Message: fmt.Sprintf("given up: its server died each of the %d times that it was started", attempts),
	}
}

var (
	errNoAddress = errors.New("redisconn: no reply list: neither a string reply_to nor a string id")
	errTooLong   = fmt.Errorf("redisconn: the reply list's name is longer than %d bytes", maxAddress)
)

// replyList returns the reply list of the last request. A stranger may have chosen it, so the
// error says why no answer is pushed onto it.
func (d *deliverer) replyList() (string, error) {
	list := d.header.ReplyTo()
	if list == "" {
		list = d.header.ID()
	}
	switch {
	case list == "":
		return "", errNoAddress
	case len(list) > maxAddress:
		return "", errTooLong
	case list == d.queue || strings.HasPrefix(list, d.own) || isOwnKey(list):
		return "", fmt.Errorf("redisconn: refused to reply to %q: it is a queue's own", list)
	case !strings.HasPrefix(list, d.opts.ReplyPrefix):
		return "", fmt.Errorf("redisconn: refused to reply to %q: it does not begin with %q", list, d.opts.ReplyPrefix)
	}
	return list, nil
}

// countUnanswerable counts a call that can't be answered, by the error of replyList.
func (d *deliverer) countUnanswerable(err error) {
	switch err {
	case errNoAddress, errTooLong:
		d.noAddress.Add(1)
	default:
		d.refused.Add(1)
	}
}

// settle settles a request that gets no answer, and frees its place.
func (d *deliverer) settle(request *hold.Request) {
	d.replier.settleRequest(request)
	d.places.Free(1)
}

// brokerTime asks for the broker's time. It gives up after maxClockWait, so that it does not
// delay a drain.
func (d *deliverer) brokerTime() (time.Time, error) {
	type answer struct {
		time time.Time
		err  error
	}
	ctx, cancel := context.WithTimeout(context.Background(), maxClockWait)
	defer cancel()
	told, ok := link.Ask(ctx, d.asker, func() (a answer) {
		a.time, a.err = brokerTime(ctx, d.rdb, d.queue)
		return a
	})
	if !ok {
		return time.Time{}, ctx.Err()
	}
	return told.time, told.err
}
