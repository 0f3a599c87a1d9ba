package faulttest

import (
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2/internal/servicetest"
)

// A Ledger is a service that notes each run of a task in a file, which several
// processes may share.
type Ledger struct {
	path string
	file *os.File
	work time.Duration // how long a task takes
}

// A Task is the argument of a call.
type Task struct {
	N    int    // the number of the call, which no other call has
	Fill string `json:",omitempty"` // makes the request large
}

// taskTime is how long a task takes: long enough that some run when a fault begins.
const taskTime = 10 * time.Millisecond

func newLedger(t *testing.T) *Ledger {
	t.Helper()
	l, err := openLedger(filepath.Join(t.TempDir(), "ledger"), taskTime)
	require.NoError(t, err)
	t.Cleanup(func() { _ = l.file.Close() })
	return l
}

func openLedger(path string, work time.Duration) (*Ledger, error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	return &Ledger{path: path, file: file, work: work}, err
}

// Run notes a task, works on it and returns its number.
func (l *Ledger) Run(task Task, n *int) error {
	if _, err := l.file.WriteString(strconv.Itoa(task.N) + "\n"); err != nil {
		return err
	}
	if l.work > 0 {
		<-time.After(l.work)
	}
	*n = task.N
	return nil
}

// runs returns how often each number ran.
func (l *Ledger) runs(t *testing.T) map[int]int {
	t.Helper()
	text, err := os.ReadFile(l.path)
	require.NoError(t, err)
	return servicetest.Runs(t, text)
}
