package jsonrpc2

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Stats counts what a codec did. Counters only rise, and may be read at any time.
type Stats struct {
	Calls         atomic.Int64 // client: calls handed to the Conn; server: calls begun
	Notifications atomic.Int64 // the same for notifications
	Errors        atomic.Int64 // calls answered with an error; client: also requests that may have run and failed on the way
	Timeouts      atomic.Int64 // client: calls and notifications ended by Timeout, calls ended by the deadline of their ctx
	Unsent        atomic.Int64 // client: calls and notifications that failed and did certainly not run
	Invalid       atomic.Int64 // received messages and items that are no request, or on a client no response
	Dropped       atomic.Int64 // other received messages and items that were dropped: nobody waits for them, or they can't be served
	Expired       atomic.Int64 // server: requests not run, since nobody waits for the answer any more
	LostReplies   atomic.Int64 // server: answers that could not be sent, and requests that could not be given back

	mu      sync.Mutex                // protects following
	servers map[*serverCodec]struct{} // that are not closed
}

// A dropLog logs what is dropped: one line a second at most, so that a flood of broken
// messages can't flood the log. Each line says how many before it were left out.
type dropLog struct {
	logger *slog.Logger

	mu       sync.Mutex // protects following
	next     time.Time  // no line is logged before
	unlogged int
}

const (
	dropLogInterval = time.Second
	maxQuote        = 200 // bytes of a message, or of an error, in a log line
)

func newDropLog(logger *slog.Logger) *dropLog {
	if logger == nil {
		logger = slog.Default()
	}
	return &dropLog{logger: logger}
}

// drop logs that body was dropped, and why.
func (l *dropLog) drop(why string, body []byte, attrs ...slog.Attr) {
	l.mu.Lock()
	now := time.Now()
	if now.Before(l.next) {
		l.unlogged++
		l.mu.Unlock()
		return
	}
	unlogged := l.unlogged
	l.unlogged, l.next = 0, now.Add(dropLogInterval)
	l.mu.Unlock()

	for i, attr := range attrs { // a stranger may have chosen these, too
		attrs[i].Value = slog.StringValue(quote(attr.Value.String()))
	}
	if body != nil {
		attrs = append(attrs, slog.Int("bytes", len(body)), slog.String("message", quote(body)))
	}
	if unlogged > 0 {
		attrs = append(attrs, slog.Int("unlogged_before", unlogged))
	}
	l.logger.LogAttrs(context.Background(), slog.LevelWarn, "jsonrpc2: "+why, attrs...)
}

// late logs, for debugging, an answer to a call that had ended: each call that timed out
// may have one.
func (l *dropLog) late(body []byte) {
	ctx := context.Background()
	if l.logger.Enabled(ctx, slog.LevelDebug) {
		l.logger.LogAttrs(ctx, slog.LevelDebug, "jsonrpc2: late or repeated reply dropped",
			slog.Int("bytes", len(body)), slog.String("message", quote(body)))
	}
}

// quote returns as much of a text as may be logged.
func quote[T string | []byte](text T) string {
	return string(text[:min(len(text), maxQuote)])
}

// excerpt is quote for the text of an error: it shows where it was cut off.
func excerpt(text []byte) string {
	if len(text) <= maxQuote {
		return string(text)
	}
	return strings.ToValidUTF8(quote(text), "") + "…"
}

// close logs how many were left out after the last line.
func (l *dropLog) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.unlogged > 0 {
		l.logger.Warn("jsonrpc2: dropped more", slog.Int("unlogged_before", l.unlogged))
		l.unlogged = 0
	}
}
