package amqpconn

import (
	"bytes"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/micromessaging/jsonrpc2"
)

// A deliverer turns the requests that were read into the Deliveries that the codec gets. Only
// the reading goroutine calls deliver. Any goroutine may call the Reply of a Delivery, and
// read the counters.
type deliverer struct {
	queue   string
	opts    *ListenOptions
	places  *places
	runs    *runs
	replier *replier
	isFatal func(address string) bool
	header  jsonrpc2.Header // of the last request

	poisoned, noAddress, refused atomic.Int64
}

// deliver makes a Delivery of a request.
func (d *deliverer) deliver(request delivery) jsonrpc2.Delivery {
	body := request.Body
	request.Body = nil // or Reply would keep it alive while the method runs
	if count, poison := request.isPoison(d.opts.MaxDeliveries); poison {
		return d.rejection(request, body, count)
	}
	d.places.use()
	end, err := d.begin(request, body)
	acknowledge := func([]byte) error { return d.replier.put(reply{request: end()}) }
	if err != nil {
		return jsonrpc2.Delivery{Body: body, Err: err, Reply: acknowledge}
	}
	d.header.Scan(body) // the codec refuses what is broken
	to, noAddress := destinationOf(&request, d.header.ID(), d.queue, d.isFatal)
	if noAddress != nil && d.header.WantsAnswer() {
		d.countUnanswerable(noAddress)
		return jsonrpc2.Delivery{Body: body, Header: &d.header, Err: noAddress, Reply: acknowledge}
	}
	from := originOf(request.Headers)
	return jsonrpc2.Delivery{Body: body, Header: &d.header, Deadline: request.deadline, Origin: from, Reply: func(answer []byte) error {
		if answer == nil {
			return acknowledge(nil)
		}
		if noAddress != nil {
			return errors.Join(noAddress, acknowledge(nil))
		}
		return d.replier.put(reply{
			destination: to,
			body:        bytes.Clone(answer),
			until:       time.Now().Add(replyPatience),
			request:     end(),
		})
	}}
}

// begin adds a request to those that run. end, called when it has run, removes it again and
// returns the delivery to acknowledge. With AtMostOnce begin acknowledges the request itself,
// and end returns none. An error says that this failed: the broker delivers the request again.
func (d *deliverer) begin(request delivery, body []byte) (end func() delivery, err error) {
	if d.opts.Guarantee != jsonrpc2.AtMostOnce {
		run := d.runs.begin(request, body)
		return func() delivery { return d.runs.end(run) }, nil
	}
	if err = request.Ack(false); err != nil {
		err = fmt.Errorf("amqpconn: request not acknowledged: %w", err)
	}
	return func() delivery { return delivery{} }, err
}

// countUnanswerable counts a request that can't be answered.
func (d *deliverer) countUnanswerable(err error) {
	switch err {
	case errNoAddress, errTooLong, errReserved:
		d.noAddress.Add(1)
	default:
		d.refused.Add(1)
	}
}

// rejection makes a Delivery of a request that was delivered too often: its Reply gives
// the request up.
func (d *deliverer) rejection(request delivery, body []byte, count int64) jsonrpc2.Delivery {
	d.poisoned.Add(1)
	return jsonrpc2.Delivery{
		Body: body,
		Err:  fmt.Errorf("amqpconn: request dropped after %d deliveries", count),
		Reply: func([]byte) error {
			request.acks.reject(request)
			return nil
		},
	}
}
