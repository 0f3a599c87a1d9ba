package amqpconn

import (
	"hash/maphash"
	"sync"
)

// A runs knows the requests that run, so that none runs twice at once in this process. When
// a connection ends, or the broker's consumer_timeout is over, the broker delivers again all
// that was not acknowledged, also requests whose methods still run.
//
// Such a delivery can be found among the requests that run only by its contents. If several
// of them have the same contents, the delivery stands for any one: which one does not matter.
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

// A run is a request whose method runs.
type run struct {
	content content
	request delivery // the last one, which has to be acknowledged; runs.mu protects it
	next    *run     // another run with the same contents; runs.mu protects it
}

func newRuns() *runs {
	return &runs{seed: maphash.MakeSeed(), byContent: make(map[content]*run)}
}

// contentOf returns the content of a delivery. The body is apart: a deliverer removes it from
// the delivery.
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

// joins reports whether a delivery is of a request that already runs. The request came on an
// earlier channel, on which it can no longer be acknowledged: end then returns this delivery
// in its place.
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
