package jsonrpc2

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"time"
)

// A dropLog logs what is dropped: one line a second at most, so that a flood of broken
// messages can't flood the log. Each line says how many before it were left out.
type dropLog struct {
	logger *slog.Logger

	mu       sync.Mutex // protects following
	next     time.Time  // when the next line may be logged
	unlogged int        // lines left out since the last one
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

// late logs an answer to a call that had ended. It is only a debug line: each call that timed
// out may have one.
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

// close logs how many lines were left out after the last one.
func (l *dropLog) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.unlogged > 0 {
		l.logger.Warn("jsonrpc2: dropped more", slog.Int("unlogged_before", l.unlogged))
		l.unlogged = 0
	}
}
