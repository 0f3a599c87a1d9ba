package amqpconn

import (
	"fmt"
	"time"
)

// maxRefusal is after how long a channel is replaced on which every message is
// refused. When the leader of a quorum queue dies RabbitMQ 3.10 may go on to
// refuse what comes on channels that were opened before there was another leader.
const maxRefusal = 5 * time.Second

var errAllRefused = fmt.Errorf("amqpconn: all messages refused for %v", maxRefusal)

// refusals give a channel up when the broker refuses every message for long. The
// queue may be full instead: then another channel does no harm.
type refusals struct {
	giveUp func(error)
	since  time.Time // every message; zero: the last one was confirmed
}

// add adds what the broker said of a message.
func (r *refusals) add(confirmed bool) {
	switch {
	case confirmed:
		r.since = time.Time{}
	case r.since.IsZero():
		r.since = time.Now()
	case time.Since(r.since) >= maxRefusal:
		r.giveUp(errAllRefused)
	}
}
