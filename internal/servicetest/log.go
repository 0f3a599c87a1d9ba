package servicetest

import (
	"bytes"
	"log/slog"
	"strings"
	"sync"
)

// Quiet is a logger that discards everything.
var Quiet = slog.New(slog.DiscardHandler)

// A LogBook keeps what its Logger writes. Any number of goroutines may use it.
type LogBook struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

// Write is for the handler of Logger.
func (l *LogBook) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(b)
}

// Logger returns a logger that writes into the book.
func (l *LogBook) Logger() *slog.Logger { return slog.New(slog.NewTextHandler(l, nil)) }

// Count returns how many lines contain all words.
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
