package amqpconn

import (
	"hash/maphash"
	"sync"
)

// A runs knows the requests that run, so that none runs twice at once in this
// process: when a connection ends, or the broker's consumer_timeout is over, the
// broker delivers again what was not acknowledged, though its method still runs.
//
// Nothing but their contents tells deliveries apart. Of requests with the same
// contents each that runs stands for one delivery, and it does not matter for
// which.
type runs struct {
	seed maphash.Seed

	mu        sync.Mutex // protects following
	byContent map[content]*run
}

// A content is what two deliveries of a request have in common.
type content struct {
	messageID, correlation, replyTo string
	length                          int
	hash                            uint64
}

// A run is a request whose method runs. request is its last delivery, which is
// to be acknowledged. The runs's mu protects it.
type run struct {
	content content
	request delivery
	next    *run // with the same contents
}

func newRuns() *runs {
	return &runs{seed: maphash.MakeSeed(), byContent: make(map[content]*run)}
}

func (rs *runs) contentOf(d *delivery, body []byte) content {
	return content{d.MessageId, d.CorrelationId, d.ReplyTo, len(body), maphash.Bytes(rs.seed, body)}
}

// begin adds a request that runs.
func (rs *runs) begin(d delivery, body []byte) *run {
	r := &run{content: rs.contentOf(&d, body), request: d}
	rs.mu.Lock()
	defer rs.mu.Unlock()
	r.next = rs.byContent[r.content]
	rs.byContent[r.content] = r
	return r
}

// end removes a request that has run, and returns the delivery to acknowledge.
func (rs *runs) end(r *run) delivery {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	first := rs.byContent[r.content]
	switch {
	case first != r:
		for first.next != r {
			first = first.next
		}
		first.next = r.next
	case r.next != nil:
		rs.byContent[r.content] = r.next
	default:
		delete(rs.byContent, r.content)
	}
	return r.request
}

// joins reports whether a delivery is one of a request that runs, and was delivered
// on an earlier connection. It is then acknowledged when that has run.
func (rs *runs) joins(d delivery) bool {
	if !d.Redelivered {
		return false
	}
	rs.mu.Lock()
	defer rs.mu.Unlock()
	for r := rs.byContent[rs.contentOf(&d, d.Body)]; r != nil; r = r.next {
		if r.request.acks != d.acks {
			d.Body = nil
			r.request = d
			return true
		}
	}
	return false
}
