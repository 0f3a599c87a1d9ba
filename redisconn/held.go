package redisconn

import (
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/micromessaging/jsonrpc2/internal/link"
	"github.com/micromessaging/jsonrpc2/redisconn/internal/hold"
)

// A held is the source of a server with AtLeastOnce. Redis holds the requests until they are
// settled. If the server is silent, others take them over. The hold.Worker does the work; held
// turns its Requests into deliveries, and pushes into its commands.
type held struct {
	*shared
	events           *events
	world            *world
	worker           *hold.Worker // from start on
	repliesElsewhere bool         // answers go to other nodes than the requests

	back atomic.Int64 // requests to give back whose Release has not worked yet
}

// maxScriptBytes is how many bytes of requests a script handles at most, not counting the
// last request: Redis does nothing else meanwhile.
const maxScriptBytes = 1 << 20

func newHeld(s *shared, bury func(request string, attempts int)) *held {
	_, elsewhere := s.rdb.(*redis.ClusterClient)
	world := newWorld(s)
	return &held{
		shared:           s,
		events:           &events{shared: s, now: world.Now, bury: bury},
		world:            world,
		repliesElsewhere: elsewhere,
	}
}

// start joins the other servers of the queue.
func (h *held) start() {
	h.world.start()
	h.worker = hold.New(h.world, hold.Options{
		Keys:      hold.Keys{Queue: h.queue, Own: h.own},
		Name:      link.NewName(),
		Lease:     h.opts.Lease,
		MaxStarts: h.opts.MaxAttempts,
		MaxDead:   h.opts.MaxDead,
		MaxBytes:  maxScriptBytes,
		Block:     blockTime,
		Events:    h.events,
	})
}

// take implements source. Each delivery takes the body of its request.
func (h *held) take(n int) ([]delivery, error) {
	requests, err := h.worker.Fetch(n)
	if fatal := h.worker.Err(); fatal != nil {
		return nil, fatalError{fmt.Errorf("redisconn: queue %q: %w", h.queue, fatal)}
	}
	if err != nil {
		return nil, err
	}
	taken := make([]delivery, len(requests))
	for i, r := range requests {
		taken[i] = delivery{body: r.Body, held: r, attempt: r.Starts + 1}
		r.Body = "" // the delivery has it; r lives on until it is settled
	}
	return taken, nil
}

// stop ends a move that waits. After closeGrace it closes the connection of the move.
func (h *held) stop(done <-chan struct{}) {
	h.worker.Stop()
	until := time.Now().Add(closeGrace)
	for pause := time.Millisecond; link.Wait(pause, done); pause = min(2*pause, 100*time.Millisecond) {
		h.world.Unblock() // again and again: a move may have begun since the last time
		if time.Now().After(until) {
			h.world.breakMove()
		}
	}
}

func (h *held) begin(d delivery) bool {
	return d.held == nil || h.worker.Begin(d.held)
}

// giveBack implements source. A dead request has no hold.Request, and stays in the DeadList.
func (h *held) giveBack(requests []delivery) bool {
	var back []*hold.Request
	for _, d := range requests {
		if d.held != nil {
			back = append(back, d.held)
		}
	}
	h.back.Add(int64(len(back)))
	if err := h.worker.Release(back...); err != nil {
		h.impaired("giving requests back", err)
		return false
	}
	if n := h.back.Swap(0); n > 0 {
		h.state.Worked("giving requests back")
		h.givenBack.Add(n)
	}
	return true
}

var errUnsent = errors.New("redisconn: answers are unsent")

// leave gives back what was not begun, for closeGrace at most. Other servers take over what was
// begun and is not settled, since its answer could not be sent; errUnsent says so.
func (h *held) leave() error {
	if h.worker == nil {
		return nil
	}
	h.events.leaving.Store(true)
	defer h.world.close()
	until := time.Now().Add(closeGrace)
	var backoff link.Backoff
	for {
		gaveBack := h.giveBack(nil)
		left, err := h.worker.Leave()
		switch {
		case err == nil && left > 0:
			return errUnsent
		case err == nil && gaveBack:
			return nil
		}
		pause := backoff.Next()
		if time.Now().Add(pause).After(until) {
			return err
		}
		time.Sleep(pause)
	}
}

func (h *held) byScript() bool { return !h.repliesElsewhere }

// settling implements settler. The pushes settle requests of one generation, as a group does.
func (h *held) settling(list string, pushes []push) hold.Command {
	answers := make([]hold.Answer, len(pushes))
	for i, p := range pushes {
		answers[i] = hold.Answer{Request: p.held, Body: p.body}
	}
	return h.worker.SettleCommand(list, h.opts.ReplyTTL, answers)
}

// claim implements settler. A command settles requests of one generation, so there is one for
// each.
func (h *held) claim(pushes []push) (notHeld map[int]bool, err error) {
	notHeld = make(map[int]bool)
	for _, indices := range generations(pushes) {
		requests := make([]*hold.Request, len(indices))
		for i, at := range indices {
			requests[i] = pushes[at].held
		}
		reply, err := h.world.Do(hold.Mending, h.worker.ClaimCommand(requests))
		if err != nil {
			return nil, err
		}
		found, _ := hold.NotHeld(reply)
		for i := range found {
			notHeld[indices[i]] = true
		}
	}
	return notHeld, nil
}

// generations returns the indexes of the pushes of each generation. A push without a request
// is in none.
func generations(pushes []push) map[string][]int {
	of := make(map[string][]int)
	for i, p := range pushes {
		if p.held != nil {
			of[p.held.Gen()] = append(of[p.held.Gen()], i)
		}
	}
	return of
}

// dropping implements settler. Each push has a request.
func (h *held) dropping(pushes []push) []any {
	requests := make([]*hold.Request, len(pushes))
	for i, p := range pushes {
		requests[i] = p.held
	}
	return h.worker.DropArgs(requests)
}

func (h *held) settled(pushes ...push) {
	requests := make([]*hold.Request, 0, len(pushes))
	for _, p := range pushes {
		if p.held != nil {
			requests = append(requests, p.held)
		}
	}
	h.worker.Settled(requests...)
}
