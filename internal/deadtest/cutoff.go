package deadtest

import (
	"errors"
	"net"
	"slices"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/internal/servicetest"
)

// A Dial makes connections.
type Dial func(network, addr string) (net.Conn, error)

var errCut = errors.New("cut off by the test")

func refuse(string, string) (net.Conn, error) { return nil, errCut }

// A cutter ends all connections at a write, as the broker sees a process that is killed there.
type cutter struct {
	mu      sync.Mutex // protects following
	left    int        // writes
	arrives bool       // the last of them
	cut     bool
}

func (c *cutter) dial(network, addr string) (net.Conn, error) {
	conn, err := net.Dial(network, addr)
	if err != nil {
		return nil, err
	}
	return cutConn{conn, c}, nil
}

type cutConn struct {
	net.Conn
	cutter *cutter
}

func (c cutConn) Write(p []byte) (int, error) {
	k := c.cutter
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.left > 0 {
		k.left--
		return c.Conn.Write(p)
	}
	if k.arrives && !k.cut {
		_, _ = c.Conn.Write(p)
	}
	k.cut = true
	_ = c.Close()
	return 0, errCut
}

// cutOff calls do with a list that is cut off at its first write, then at its second, and so
// on, until do is done before that: each time before the write and after it. check is called
// after each try, with what do returned.
func (s site) cutOff(t *testing.T, do func(jsonrpc2.DeadList) (int, error), check func(n int, err error)) {
	t.Helper()
	for _, arrives := range []bool{false, true} {
		cut := true
		writes := 0
		for ; cut; writes++ {
			k := &cutter{left: writes, arrives: arrives}
			n, err := do(s.List(t, k.dial))
			cut = k.cut
			check(n, err)
			if !cut {
				require.NoError(t, err)
			}
		}
		t.Logf("done with %d writes", writes-1)
	}
}

// A process that is killed while it moves a request loses none: the request is in the list or
// in the queue, or in both.
func testRequeueCutOff(t *testing.T, s site) {
	dead := s.bury(t, 3)
	others := []string{request(2), request(0)}
	s.cutOff(t, func(list jsonrpc2.DeadList) (int, error) {
		return list.Requeue(t.Context(), dead[1])
	}, func(n int, err error) {
		require.Equal(t, err == nil, n == 1, "moved %d: %v", n, err)
		listed, moved := s.settled(t, others)
		if err == nil {
			require.False(t, listed)
			require.True(t, moved)
		}
		require.True(t, listed || moved, "lost: %v", err)
		if !listed {
			dead = s.renew(t, dead)
		}
	})
}

func testDeleteCutOff(t *testing.T, s site) {
	dead := s.bury(t, 3)
	others := []string{request(2), request(0)}
	s.cutOff(t, func(list jsonrpc2.DeadList) (int, error) {
		return list.Delete(t.Context(), dead[1])
	}, func(n int, err error) {
		require.Equal(t, err == nil, n == 1, "deleted %d: %v", n, err)
		listed, moved := s.settled(t, others)
		require.False(t, err == nil && listed)
		require.False(t, moved)
		if !listed {
			dead = s.renew(t, dead)
		}
	})
}

func testListCutOff(t *testing.T, s site) {
	dead := s.bury(t, 3)
	s.cutOff(t, func(list jsonrpc2.DeadList) (int, error) {
		seen, err := list.List(t.Context(), -1)
		return len(seen), err
	}, func(n int, err error) {
		require.Equal(t, err == nil, n == 3)
		require.Equal(t, dead, s.dead(t))
	})
	require.Empty(t, s.Drain(t))
}

// settled waits until the others are in the list, in their order. It returns whether
// request(1) is in the list, in its place, and whether it is in the queue, and nothing else.
func (s site) settled(t *testing.T, others []string) (listed, moved bool) {
	t.Helper()
	all := slices.Insert(slices.Clone(others), 1, request(1))
	servicetest.Eventually(t, func() bool {
		seen := requests(s.dead(t))
		listed = slices.Equal(seen, all)
		return listed || slices.Equal(seen, others)
	})
	waiting := s.Drain(t)
	if len(waiting) == 0 {
		return listed, false
	}
	require.Equal(t, []string{request(1)}, waiting)
	return listed, true
}

// renew buries the same three again.
func (s site) renew(t *testing.T, dead []jsonrpc2.DeadRequest) []jsonrpc2.DeadRequest {
	t.Helper()
	_, err := s.list.Delete(t.Context(), dead...)
	require.NoError(t, err)
	return s.bury(t, 3)
}
