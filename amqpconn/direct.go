package amqpconn

import (
	"errors"
	"fmt"
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/micromessaging/jsonrpc2/internal/link"
)

// A directLane publishes the answers to direct reply-to addresses. RabbitMQ ends the
// connection that publishes to an address which it can't decode, such as a forged one or one
// of another cluster. So the lane looks for an address, by a passive declaration, before the
// first answer goes there. RabbitMQ then says whether somebody listens there. If it can't
// decode the address, it ends the connection of the lane, and the lane remembers that.
type directLane struct {
	lane

	mu    sync.Mutex // protects following
	known map[string]finding
}

// A finding is what was found out about an address.
type finding struct {
	verdict verdict
	until   time.Time // then the address is unknown again
}

type verdict int

const (
	unknown verdict = iota // not looked for yet, or not found out
	alive                  // somebody listens there
	absent                 // nobody listens there
	fatal                  // a look or an answer ends the connection
)

const (
	findingFresh = time.Minute     // how long alive and fatal count
	absenceFresh = 5 * time.Second // how long absent counts
	maxFindings  = 4096            // how many are remembered: strangers choose addresses

	// maxSearches is how many addresses the writer looks for before the answers to known
	// addresses have another turn.
	maxSearches = 8
)

var errNobody = errors.New("nobody listens there")

func newDirectLane(d *dialer, s *settler) *directLane {
	ds := &directLane{known: make(map[string]finding)}
	ds.init(d, s)
	ds.send = ds.sendAll
	ds.abandon = s.abandon
	return ds
}

// sendAll publishes the answers whose addresses are known, then looks for some of
// the others.
func (d *directLane) sendAll(work []reply) (again []reply) {
	var ready, done []reply
	for _, r := range work {
		switch d.verdict(r.queue) {
		case alive:
			ready = append(ready, r)
		case absent:
			d.settler.undeliverable(r.queue, r.body, errNobody)
			done = append(done, r)
		case fatal:
			d.settler.undeliverable(r.queue, r.body, errFatalAddress)
			done = append(done, r)
		default:
			again = append(again, r)
		}
	}
	if len(ready) > 0 {
		sent, failed := d.sendReady(ready)
		done, again = append(done, sent...), append(again, failed...)
	}
	d.settler.acknowledge(done)
	if d.search(again) {
		link.Signal(d.kick)
	}
	return d.settler.unexpired(again)
}

// sendReady publishes answers to addresses at which somebody listens. They are not mandatory:
// RabbitMQ 3.10 returns each mandatory message to such an address, also one that it delivers.
func (d *directLane) sendReady(ready []reply) (done, again []reply) {
	s, err := d.open()
	if err != nil {
		return nil, ready
	}
	for _, f := range d.publish(s, ready, false) {
		switch {
		case f.err == nil:
			d.count(f.item)
			done = append(done, f.item)
		case errors.Is(f.err, errRefused):
			d.settler.undeliverable(f.item.queue, f.item.body, f.err)
			done = append(done, f.item)
		default:
			d.remember(f.item.queue, unknown) // this answer may have ended the connection
			again = append(again, f.item)
		}
	}
	return done, again
}

// search looks for some of the unknown addresses of answers. It reports whether it found
// something out.
func (d *directLane) search(work []reply) (found bool) {
	searches := 0
	for _, r := range work {
		if d.verdict(r.queue) != unknown {
			continue
		}
		if searches++; searches > maxSearches {
			return found
		}
		verdict := d.look(r.queue)
		if verdict == unknown { // there is no connection
			return found
		}
		d.remember(r.queue, verdict)
		found = true
	}
	return found
}

// look finds out about an address. It is unknown if there is no connection.
func (d *directLane) look(address string) verdict {
	s, err := d.open()
	if err != nil {
		return unknown
	}
	err = onChannel(s.conn, func(ch *amqp.Channel) error {
		_, err := ch.QueueDeclarePassive(address, false, false, false, false, nil)
		return err
	})
	switch {
	case err == nil:
		return alive
	case isCode(err, amqp.NotFound):
		return absent
	case isException(err):
		d.settler.state.Logger.Warn(fmt.Sprintf("reply address %.100q ended a connection: %v", address, err))
		return fatal
	}
	return unknown
}

// verdict returns what is known about an address.
func (d *directLane) verdict(address string) verdict {
	d.mu.Lock()
	defer d.mu.Unlock()
	f := d.known[address]
	if time.Now().After(f.until) {
		return unknown
	}
	return f.verdict
}

// isFatal reports whether an answer to an address is known to end the connection. Any
// goroutine may call it.
func (d *directLane) isFatal(address string) bool {
	return isDirect(address) && d.verdict(address) == fatal
}

// remember notes what was found out about an address. If too much is known, it forgets what
// is too old, and some of the rest if need be.
func (d *directLane) remember(address string, v verdict) {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := time.Now()
	if len(d.known) >= maxFindings {
		for address, f := range d.known {
			if now.After(f.until) || len(d.known) >= maxFindings {
				delete(d.known, address)
			}
		}
	}
	fresh := findingFresh
	if v == absent {
		fresh = absenceFresh
	}
	d.known[address] = finding{v, now.Add(fresh)}
}
