package redisconn

import (
	"encoding/json"
	"errors"
	"log/slog"
	"net"
	"os"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/micromessaging/jsonrpc2/internal/link"
)

// An announcer announces a server while it serves. The announcements of a queue are the
// members of one sorted set. A member's score is when the announcement ends, in Unix
// milliseconds by the clock of Redis. The announcer has one goroutine. No request or answer
// waits for it.
type announcer struct {
	*shared
	draining <-chan struct{} // the fetcher's
	period   time.Duration   // between two announcements

	// The goroutine's own.
	member  []byte // of the set
	clock   *clock
	cleaned time.Time   // when it last removed announcements that have ended
	listed  bool        // Redis may have the announcement
	err     error       // of the last command
	told    link.Causes // refusals that were logged
}

const (
	// announcePeriod is how often a server announces itself. It makes eight commands a
	// minute. With TIME and what cleanTime makes there are ten.
	announcePeriod = 15 * time.Second

	// announcedFor is how many periods an announcement lasts. If one attempt fails, the
	// next ones follow long before the announcement ends.
	announcedFor = 2

	// cleanTime is how often a server removes announcements that have ended.
	cleanTime = time.Minute

	// forbiddenPause is the pause before the next attempt if Redis refuses announcements.
	forbiddenPause = time.Minute
)

func newAnnouncer(s *shared, draining <-chan struct{}) *announcer {
	return &announcer{shared: s, draining: draining, period: announcePeriod, clock: newClock(s.broker)}
}

// run announces the server again and again until the drain. Then it withdraws the
// announcement.
func (a *announcer) run() {
	a.member = a.describe()
	var backoff link.Backoff
	for !a.isDraining() {
		a.err = a.announce()
		if a.err == nil || a.isForbidden() {
			a.connected.Store(true)
		}
		pause := a.period
		switch {
		case a.err == nil:
			a.told.Clear()
			backoff.Reset()
		case a.isForbidden():
			a.tell("server can't announce itself: clients can't know that it serves")
			pause = forbiddenPause
		default:
			a.reload()
			pause = backoff.Next()
		}
		a.wait(pause)
	}
	a.withdraw()
}

// describe returns the announcement. The set's member stays the same, and its score moves.
func (a *announcer) describe() []byte {
	host, _ := os.Hostname() // else it is empty
	member, _ := json.Marshal(Server{
		ID:     link.NewName(),
		Host:   host,
		PID:    os.Getpid(),
		Places: a.opts.Prefetch,
		Since:  time.Now().UTC().Truncate(time.Millisecond),
	}) // a Server always encodes
	return member
}

func (a *announcer) isDraining() bool {
	select {
	case <-a.draining:
		return true
	default:
		return false
	}
}

// wait waits for a pause. It returns early in a drain, or if Redis may have lost the
// announcement.
func (a *announcer) wait(pause time.Duration) {
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-a.reconnects:
	case <-a.draining:
	}
}

// isForbidden reports whether Redis refused the last command alone, as for want of a right, or
// does not tell its time. Other commands may work.
func (a *announcer) isForbidden() bool {
	return errors.Is(a.err, errNoTime) || faultOf(a.err) == listFault
}

// tell logs a refusal, once. While the connection is impaired it logs nothing: the log line
// about the connection tells more.
func (a *announcer) tell(text string) {
	if a.state.Cause() == nil && a.told.IsNew(a.err.Error()) {
		a.state.Logger.Warn(text, slog.Any("error", a.err))
	}
}

// lasting returns how long an announcement lasts.
func (a *announcer) lasting() time.Duration { return announcedFor * a.period }

// announce announces the server. Every cleanTime it also removes the announcements that have
// ended: those of servers that were killed.
func (a *announcer) announce() error {
	if err := a.clock.refresh(); err != nil {
		a.clock.again = time.Time{} // the next try asks again
		return err
	}
	now := a.clock.toBroker(time.Now())
	if now == 0 {
		return errNoTime
	}
	key, lasting := serversKey(a.queue), a.lasting()
	var add, expire unrepeated
	pipe(a.rdb, func(pipeline redis.Pipeliner) {
		if time.Since(a.cleaned) >= cleanTime {
			a.cleaned = time.Now()
			process(pipeline, "zremrangebyscore", key, "-inf", now)
		}
		add = process(pipeline, "zadd", key, now+lasting.Milliseconds(), a.member)
		expire = process(pipeline, "pexpire", key, lasting.Milliseconds())
	})
	a.listed = a.listed || !certainlyNotRun(add.Err(), false)
	if add.Err() == nil && isRefused(expire.Err()) {
		pipe(a.rdb, func(pipeline redis.Pipeliner) {
			process(pipeline, "expire", key, int64((lasting+time.Second-1)/time.Second))
		})
	}
	return add.Err()
}

// withdraw removes the announcement. It tries until Close, and once after Close unless Redis
// has not answered. An announcement that is left ends by itself.
func (a *announcer) withdraw() {
	var backoff link.Backoff
	for tried := false; a.listed; tried = true {
		if a.isClosed() && (tried || a.timedOut()) {
			return
		}
		a.err = a.ask("zrem", serversKey(a.queue), a.member).Err()
		switch {
		case a.err == nil:
			return
		case a.isForbidden():
			a.tell("server can't withdraw its announcement: clients take it for serving until that ends")
			return
		}
		a.reload()
		link.Wait(backoff.Next(), a.closed)
	}
}

// timedOut reports whether Redis did not answer the last command in time.
func (a *announcer) timedOut() bool {
	var timeout net.Error
	return errors.As(a.err, &timeout) && timeout.Timeout()
}

func (a *announcer) isClosed() bool {
	select {
	case <-a.closed:
		return true
	default:
		return false
	}
}
