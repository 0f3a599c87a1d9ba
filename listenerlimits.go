package jsonrpc2

import (
	"fmt"
	"log/slog"
	"net"
	"time"
)

// relieve cuts off connections until no more answers wait than MaxUnsent allows. Any goroutine
// may call it that holds none of our locks.
func (s *listening) relieve() {
	s.relief.Lock()
	defer s.relief.Unlock()
	for s.host.unsent.Load() > s.host.maxUnsent {
		slow, waiting := s.slowest()
		if slow == nil || s.host.unsent.Load() <= s.host.maxUnsent { // answers were sent meanwhile
			return
		}
		if !slow.out.cutOff(errSlow) { // all for this peer was sent meanwhile
			continue
		}
		s.counts.slow.Add(1)
		s.log.drop("connection cut off, since too many answers wait", nil,
			slog.Any("peer", slow.rwc.(net.Conn).RemoteAddr()), slog.String("waiting", fmt.Sprintf("%d bytes", waiting)))
	}
}

// slowest returns the connection to cut off first, and how many bytes wait for its peer.
func (s *listening) slowest() (slowest *StreamConn, waiting int) {
	heaviest := int64(0)
	s.eachCodec(func(c *serverCodec) {
		load := c.stream.out.load()
		if weight := load.weight(); weight > heaviest {
			slowest, waiting, heaviest = c.stream, load.bytes, weight
		}
	})
	return slowest, waiting
}

// endIdle ends the connections that are idle for too long, until the drain. It looks again
// when the next one may be idle for so long, but pauses for a sixteenth of IdleTimeout at
// least.
func (s *listening) endIdle() {
	limit := s.limits.IdleTimeout
	timer := time.NewTimer(limit)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
		case <-s.ctx.Done():
			return
		}
		timer.Reset(max(s.endIdleOnce(limit), limit/16))
	}
}

// endIdleOnce ends the connections that have been idle for limit or longer. It returns after
// how long the next one may be.
func (s *listening) endIdleOnce(limit time.Duration) (next time.Duration) {
	next = limit
	now := s.host.now()
	s.eachCodec(func(c *serverCodec) {
		since, ok := c.stream.idleSince()
		left := limit - (now - since)
		switch {
		case !ok || len(c.running) > 0:
		case left > 0:
			next = min(next, left)
		default:
			c.stream.endIdle()
		}
	})
	return next
}
