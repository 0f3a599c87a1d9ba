package redisconn

import (
	"errors"
	"log/slog"
	"time"

	"github.com/micromessaging/jsonrpc2/internal/link"
)

// A lookout looks for announcements of servers before requests are pushed: see
// DialOptions.RequireServer. The client's sender alone uses it.
type lookout struct {
	*broker
	clock *clock // the outlet's

	assumed time.Time   // when it last found a server, or could not look and assumed one
	told    link.Causes // refusals that were logged
}

const (
	// lookTime is how long the lookout does not look again after it has found a server.
	lookTime = time.Second

	// reannounceTime is how long servers may take to announce themselves again after
	// Redis has lost their announcements: a period, and their longest backoff.
	reannounceTime = announcePeriod + 5*time.Second
)

// errNobody says that a request was not pushed.
var errNobody = errors.New("no server has announced itself: start one, or unset RequireServer if servers of another kind serve this queue")

func newLookout(b *broker, c *clock) *lookout {
	return &lookout{broker: b, clock: c}
}

// seesNobody reports whether it is certain that no server has announced itself.
func (l *lookout) seesNobody() bool {
	if time.Since(l.assumed) < lookTime || l.isUnsettled() {
		return false
	}
	n, err := l.count()
	if err == nil && n == 0 && l.clock.isStale() { // the clock may have been set since
		l.clock.again = time.Time{}
		n, err = l.count()
	}
	switch {
	case err != nil:
		l.failed(err)
	case n == 0:
		return !l.isUnsettled() // the connection may have failed during the look
	default:
		l.told.Clear()
	}
	l.assumed = time.Now()
	return false
}

// isUnsettled reports whether Redis may have lost the announcements, and servers may not have
// announced themselves again: the connection fails, or failed less than reannounceTime ago.
func (l *lookout) isUnsettled() bool {
	return l.state.Cause() != nil || l.recovered.IsWithin(reannounceTime)
}

// count returns how many servers have announced themselves.
func (l *lookout) count() (int64, error) {
	if err := l.clock.refresh(); err != nil {
		return 0, err
	}
	now := l.clock.toBroker(time.Now())
	if now == 0 {
		return 0, errNoTime
	}
	return l.ask(countServers(l.queue, now)...).Int64()
}

// failed handles the error of a look. If the connection failed, Redis may have lost the
// announcements. failed does not log that: the push that follows fails, too, and tells. It logs a
// refusal once.
func (l *lookout) failed(err error) {
	if !errors.Is(err, errNoTime) && faultOf(err) != listFault {
		l.recovered.Note(time.Now())
		return
	}
	if l.told.IsNew(err.Error()) {
		l.state.Logger.Warn("can't look for servers: requests are sent even if there is none", slog.Any("error", err))
	}
}
