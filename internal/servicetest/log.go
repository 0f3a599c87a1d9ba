package servicetest

import (
	"bytes"
	"log/slog"
	"strings"
	"sync"
)

// Quiet is a logger for what a test does not look at.
var Quiet = slog.New(slog.DiscardHandler)

// A LogBook keeps what is logged.
type LogBook struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

// Write keeps what a handler writes.
func (l *LogBook) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(b)
}

// Logger returns a logger that writes into the book.
func (l *LogBook) Logger() *slog.Logger { return slog.New(slog.NewTextHandler(l, nil)) }

// Count returns how many lines contain all the words.
func (l *LogBook) Count(words ...string) (n int) {
	for line := range strings.Lines(l.String()) {
		n++
		for _, word := range words {
			if !strings.Contains(line, word) {
				n--
				break
			}
		}
	}
	return n
}

func (l *LogBook) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}
