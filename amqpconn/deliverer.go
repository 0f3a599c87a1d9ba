package amqpconn

import (
	"bytes"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/micromessaging/jsonrpc2"
)

// A deliverer makes of the requests that were read what the codec gets. The reading
// goroutine uses it.
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
	request.Body = nil // Reply is not to keep it for as long as the method runs
	if count, poison := request.isPoison(d.opts.MaxDeliveries); poison {
		return d.rejection(request, body, count)
	}
	d.places.use()
	end, err := d.begin(request, body)
	acknowledge := func([]byte) error { return d.replier.put(reply{request: end()}) }
	if err != nil {
		return jsonrpc2.Delivery{Body: body, Err: err, Reply: acknowledge}
	}
	d.header.Scan(body) // what is broken is for the codec
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

// begin adds a request to those that run. It returns what returns the delivery to
// acknowledge when it has run: with AtMostOnce that is done now. The error says that
// it could not be: the request will be delivered again.
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
