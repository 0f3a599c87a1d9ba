package faulttest

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/internal/servicetest"
)

// notify sends notifications until the load is stopped.
func (l *load) notify() {
	for n := 1; ; n++ {
		err := jsonrpc2.Notify(context.Background(), l.client, "Ledger.Note", Task{N: n})
		l.mu.Lock()
		l.notified = append(l.notified, err)
		l.mu.Unlock()
		if !l.rest() {
			return
		}
	}
}

// Note notes a task. It is the method of the notifications.
func (l *Ledger) Note(task Task, _ *int) error {
	return appendLine(l.notesPath(), strconv.Itoa(task.N))
}

func (l *Ledger) notesPath() string { return l.path + ".notes" }

// notes returns how many of the notifications ran.
func (l *Ledger) notes(t *testing.T) int {
	t.Helper()
	text, err := os.ReadFile(l.notesPath())
	require.NoError(t, err)
	return len(servicetest.Runs(t, text))
}

func appendLine(path, line string) error {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = file.WriteString(line + "\n")
	return errors.Join(err, file.Close())
}

// counts returns what the client's stats must be: the counts of the ends that callers saw.
func (l *load) counts() jsonrpc2.ClientCounts {
	l.mu.Lock()
	defer l.mu.Unlock()
	c := jsonrpc2.ClientCounts{Calls: int64(len(l.ends)), Notifications: int64(len(l.notified))}
	for _, err := range l.ends {
		*endOf(&c, err, &c.Answered)++
	}
	for _, err := range l.notified {
		*endOf(&c, err, &c.Sent)++
	}
	return c
}

// endOf returns the member of c that counts err, or success if err is nil.
func endOf(c *jsonrpc2.ClientCounts, err error, success *int64) *int64 {
	switch {
	case err == nil:
		return success
	case errors.Is(err, jsonrpc2.ErrTimeout):
		return &c.Timeouts
	case errors.Is(err, jsonrpc2.ErrReplyLost):
		return &c.RepliesLost
	case errors.Is(err, jsonrpc2.ErrUnconfirmed):
		return &c.Unconfirmed
	case errors.Is(err, jsonrpc2.ErrBadReply):
		return &c.BadReplies
	case errors.Is(err, jsonrpc2.ErrReplyTooLarge):
		return &c.RepliesTooLarge
	}
	return &c.Unsent
}

// requireAddsUp requires that the client has counted each call and notification once, by
// how it ended for the caller, and that nothing is in flight.
func (l *load) requireAddsUp(t *testing.T, stats *jsonrpc2.ClientStats) {
	t.Helper()
	want, got := l.counts(), stats.Snapshot()
	want.Dropped, want.Invalid = got.Dropped, got.Invalid // callers don't see these
	require.Equal(t, want, got, "what the client has counted")
}

// noteCounts writes the counts of a server that has ended into a file that several processes
// may share.
func (l *Ledger) noteCounts(stats *jsonrpc2.ServerStats) error {
	line, err := json.Marshal(stats.Snapshot())
	if err != nil {
		return err
	}
	return appendLine(l.countsPath(), string(line))
}

func (l *Ledger) countsPath() string { return l.path + ".counts" }

// requireAddsUp requires that each server that has ended has counted each call and
// notification once, and no more calls than have begun.
func (l *Ledger) requireAddsUp(t *testing.T) {
	t.Helper()
	text, err := os.ReadFile(l.countsPath())
	require.NoError(t, err, "no server has ended")
	var calls, runs int64
	for line := range strings.Lines(string(text)) {
		var c jsonrpc2.ServerCounts
		require.NoError(t, json.Unmarshal([]byte(line), &c))
		require.Zero(t, c.InFlight, "what a server has counted: %s", line)
		require.Equal(t, c.Calls+c.Notifications, c.Answered+c.Errors+c.Done+c.Expired, "what a server has counted: %s", line)
		calls += c.Answered
	}
	for _, n := range l.runs(t) {
		runs += int64(n)
	}
	require.LessOrEqual(t, calls, runs, "answered, and did not run")
}
