package brokertest

import (
	"errors"
	"fmt"
	"os"
	"runtime/pprof"
	"strings"
	"sync"
	"testing"
)

// shared is the RabbitMQ node that the tests of a test binary share.
var shared struct {
	sync.Mutex
	dir  string
	host *erlangHost
	node *rabbitNode // nil when there is none
}

// SharedRabbitMQ returns a RabbitMQ node that the tests of a package share. It is for tests
// that make no faults and use queues of their own. The first call starts the node. [Main] or
// [Shutdown] ends it.
func SharedRabbitMQ(t testing.TB) *RabbitMQ {
	t.Helper()
	shared.Lock()
	defer shared.Unlock()
	if shared.node == nil {
		if err := startShared(); err != nil {
			t.Fatal(err)
		}
	}
	return &RabbitMQ{Addr: shared.node.addr(), t: t, node: shared.node}
}

// startShared is called with shared locked.
func startShared() error {
	dir, err := os.MkdirTemp("", "brokertest")
	if err != nil {
		return fmt.Errorf("brokertest: %w", err)
	}
	host, err := startErlangHost(dir)
	if err != nil {
		return errors.Join(err, os.RemoveAll(dir))
	}
	node, err := startRabbitNode(host, dir)
	if err != nil {
		return errors.Join(err, host.kill(), os.RemoveAll(dir))
	}
	shared.dir, shared.host, shared.node = dir, host, node
	return nil
}

// Shutdown ends the node of [SharedRabbitMQ], if there is one. A later call
// of SharedRabbitMQ starts another.
func Shutdown() error {
	shared.Lock()
	defer shared.Unlock()
	if shared.node == nil {
		return nil
	}
	err := errors.Join(shared.node.proc.kill(), shared.host.kill(), os.RemoveAll(shared.dir))
	shared.node = nil
	return err
}

// Main returns m with a Run that calls [Shutdown] after the tests, and waits until go-redis
// has noticed that its clients are closed. It is for goleak's VerifyTestMain, or for
//
//	os.Exit(brokertest.Main(m).Run())
func Main(m *testing.M) interface{ Run() int } { return main{m} }

type main struct{ tests *testing.M }

func (m main) Run() int {
	code := m.tests.Run()
	err := errors.Join(Shutdown(), poll(nil, goRedisDials))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return max(code, 1)
	}
	return code
}

// goRedisDials returns an error while a goroutine of go-redis dials a Redis that was away. Such
// a goroutine sleeps for a second at a time, which is longer than goleak waits, and looks only
// then whether its client is closed.
func goRedisDials() error {
	var stacks strings.Builder
	if err := pprof.Lookup("goroutine").WriteTo(&stacks, 2); err != nil {
		return fmt.Errorf("brokertest: %w", err)
	}
	if strings.Contains(stacks.String(), "pool.(*ConnPool).tryDial") {
		return errors.New("brokertest: go-redis dials for a client that no test has closed")
	}
	return nil
}
